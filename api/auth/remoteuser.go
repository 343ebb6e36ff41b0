package auth

import (
	"net/http"
	"unicode/utf8"
)

// RemoteUser believes a header in which a server in front says who the user is, as it
// has found out itself. Nobody else may reach this server: they could say anything.
// The user "admin" is an administrator.
type RemoteUser struct{ Header string }

// Authenticate returns the user that the header names. More than one of them is none:
// a server in front that adds its own behind the client's would let the client choose.
func (a RemoteUser) Authenticate(r *http.Request) (Identity, error) {
	values := r.Header.Values(a.Header)
	if len(values) != 1 || values[0] == "" || !utf8.ValidString(values[0]) {
		return Identity{}, ErrUnauthorized
	}
	return named(values[0]), nil
}

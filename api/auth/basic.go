package auth

import (
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Basic believes whatever name a request gives (RFC 7617) and checks no password:
// for trusted networks. The user "admin" is an administrator.
type Basic struct{}

// Authenticate returns the named user, who may be nameless.
func (Basic) Authenticate(r *http.Request) (Identity, error) {
	user, _, ok := credentials(r)
	if !ok {
		return Identity{}, ErrUnauthorized
	}
	return named(user), nil
}

// Challenge is the WWW-Authenticate header of a 401.
func (Basic) Challenge() string { return basicChallenge }

const basicChallenge = `Basic realm="Millrace", charset="UTF-8"`

// named is a user where there are no projects.
func named(user string) Identity {
	id := Identity{User: user, Creator: user}
	if user == "admin" {
		id.Roles = adminRoles
	}
	return id
}

var adminRoles = []string{"admin"}

// credentials reads an Authorization header. It is stricter than
// http.Request.BasicAuth: the text must be UTF-8.
func credentials(r *http.Request) (user, password string, ok bool) {
	scheme, payload, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(payload))
	if err != nil || !utf8.Valid(text) {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

// Package auth says who sends a request and what they may do. An [Authenticator]
// turns a request into an [Identity]; the rules in rules.go are the v1 API's, one
// line each, and an identity's [Permit] answers one of them.
package auth

import (
	"errors"
	"net/http"
	"strings"
)

// ErrUnauthorized says that a request carries no credentials, or bad ones.
var ErrUnauthorized = errors.New("credentials are missing or invalid")

// An UnavailableError says that it can't be told now who sends a request.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "cannot check credentials: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// A Challenger is an Authenticator that tells clients how to say who they are.
type Challenger interface {
	// Challenge returns the WWW-Authenticate header of a 401 (RFC 9110, 11.6.1).
	Challenge() string
}

// An Authenticator finds out who sends a request. It may be called concurrently.
type Authenticator interface {
	// Authenticate returns the caller. ErrUnauthorized blames the request; any other
	// error, such as an UnavailableError, says that it can't be told now, and the client
	// may try again.
	Authenticate(r *http.Request) (Identity, error)
}

// An Identity is who sends a request.
type Identity struct {
	User    string
	Project string   // empty where there are no projects
	Creator string   // how the caller is written down as an object's creator
	Roles   []string // compared without regard to case
	Scoped  bool     // listings show this caller only what is their project's

	Policies *Policies // say what the caller may do; nil: the v1 API's own
}

// Has says whether the identity has a role.
func (id *Identity) Has(role string) bool {
	for _, r := range id.Roles {
		if strings.EqualFold(r, role) {
			return true
		}
	}
	return false
}

// Account is who is charged for measures and sees their dead letters: the
// project, or the creator where there are no projects.
func (id *Identity) Account() string {
	if id.Project != "" {
		return id.Project
	}
	return id.Creator
}

// CreatedBy cuts a creator into the user and the project that it stands for.
func CreatedBy(creator string) (user, project string) {
	user, project, _ = strings.Cut(creator, ":")
	return user, project
}

package api

import (
	"net/http"
	"time"

	"millrace/api/auth"
)

// Guard lets those through to next who may do what a rule says, whatever the object;
// the others get the API's errors.
func (a *API) Guard(rule auth.Rule, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{API: a, w: w, r: r, began: time.Now()}
		q.bound()
		defer q.cancel()
		if err := q.authenticate(rule); err != nil {
			q.fail(err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authenticate finds out who the caller is, and whether a rule lets them pass.
func (q *request) authenticate(rule auth.Rule) (err error) {
	if q.who, err = q.auth.Authenticate(q.r.WithContext(q.ctx)); err != nil {
		return err
	}
	q.who.Policies = q.policies
	if rule != auth.Anyone && !q.who.Permit(rule).For("", "") {
		return forbidden()
	}
	return nil
}

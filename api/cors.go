package api

import (
	"net/http"
	"slices"
	"strings"
)

const (
	corsMethods = " OPTIONS GET HEAD POST PUT DELETE TRACE PATCH "
	corsExpose  = "Location, Link, Retry-After, Preference-Applied, " + headerPosition + ", " + headerLate
)

// corsHeaders are the request headers that a page may send, in lower case: the
// simple ones, those of the authentication modes, and those that we read.
var corsHeaders = map[string]bool{
	"accept": true, "accept-language": true, "cache-control": true, "content-language": true,
	"content-type": true, "expires": true, "last-modified": true, "pragma": true,
	"authorization": true, "x-auth-token": true, "x-subject-token": true, "x-user-id": true,
	"x-domain-id": true, "x-project-id": true, "x-roles": true,
	"prefer": true, "millrace-position": true, "content-encoding": true, "traceparent": true,
}

// cors sets the headers of cross-origin requests and says whether that is all
// there is to do: OPTIONS on any path is a preflight, and needs no credentials.
func (a *API) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || len(a.config.AllowedOrigins) == 0 {
		return r.Method == http.MethodOptions
	}
	h := w.Header()
	named := slices.Contains(a.config.AllowedOrigins, origin)
	allowed := named || slices.Contains(a.config.AllowedOrigins, "*")
	if r.Method != http.MethodOptions {
		if allowed {
			allowOrigin(h, origin, named)
			h.Set("Access-Control-Expose-Headers", corsExpose)
		}
		return false
	}
	method := r.Header.Get("Access-Control-Request-Method")
	headers := r.Header.Get("Access-Control-Request-Headers")
	if !allowed || method == "" || !strings.Contains(corsMethods, " "+method+" ") || !knownHeaders(headers) {
		return true
	}
	allowOrigin(h, origin, named)
	h.Set("Access-Control-Max-Age", "3600")
	h.Set("Access-Control-Allow-Methods", method)
	if headers != "" {
		h.Set("Access-Control-Allow-Headers", headers)
	}
	return true
}

// allowOrigin lets a page of the origin read the answer: with cookies and the like
// only where the configuration names it. Any page at all, with the credentials of
// whoever looks at it, nobody can mean.
func allowOrigin(h http.Header, origin string, named bool) {
	if !named {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
}

func knownHeaders(list string) bool {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && !corsHeaders[name] {
			return false
		}
	}
	return true
}

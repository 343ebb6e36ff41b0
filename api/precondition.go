package api

import (
	"net/http"
	"strings"

	"millrace/index"
)

// precondition compares a resource with the request's conditional headers (RFC 9110,
// 13): nil when it is to be answered as if there were none.
func precondition(r *http.Request, resource *index.Resource) error {
	tag, modified := etag(resource), instantOf(&resource.RevisionStart).Unix()
	failed := &failure{status: http.StatusPreconditionFailed, description: ""}
	if match := r.Header.Get("If-Match"); match != "" {
		if !lists(match, tag, false) {
			return failed
		}
	} else if since, err := http.ParseTime(r.Header.Get("If-Unmodified-Since")); err == nil && since.Unix() < modified {
		return failed
	}
	if none := r.Header.Get("If-None-Match"); none != "" {
		if !lists(none, tag, true) {
			return nil
		}
		if r.Method == http.MethodGet {
			return &failure{status: http.StatusNotModified}
		}
		return failed
	}
	if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && since.Unix() >= modified &&
		r.Method == http.MethodGet {
		return &failure{status: http.StatusNotModified}
	}
	return nil
}

// lists says whether a list of entity tags has one: * has all. Weak ones compare
// equal to strong ones only where that is asked for.
func lists(header, tag string, weakly bool) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for item := range strings.SplitSeq(header, ",") {
		item = strings.TrimSpace(item)
		if weakly {
			item = strings.TrimPrefix(item, "W/")
		}
		if item == tag {
			return true
		}
	}
	return false
}

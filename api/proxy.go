package api

import (
	"net/url"
	"strings"
)

// origin returns scheme and host of the request as the client sees them, and a
// prefix that a proxy has taken off. Proxies are believed only where the
// configuration says so.
func (q *request) origin() (scheme, host, prefix string) {
	scheme, host = "http", q.r.Host
	if q.r.TLS != nil {
		scheme = "https"
	}
	if !q.config.TrustProxyHeaders {
		return scheme, host, ""
	}
	h := q.r.Header
	replace := func(into *string, value string) {
		if value != "" {
			*into = value
		}
	}
	if forwarded := h.Get("Forwarded"); forwarded != "" {
		proto, by := parseForwarded(forwarded)
		replace(&scheme, proto)
		replace(&host, by)
	} else {
		replace(&scheme, firstOf(h.Get("X-Forwarded-Proto")))
		replace(&host, firstOf(h.Get("X-Forwarded-Host")))
	}
	if p := strings.Trim(h.Get("X-Forwarded-Prefix"), "/"); p != "" {
		prefix = "/" + p
	}
	return scheme, host, prefix
}

// base is the URL of everything that the API serves, without a slash at its end.
func (q *request) base() string {
	scheme, host, prefix := q.origin()
	return scheme + "://" + host + prefix + q.config.Prefix
}

// parseForwarded reads proto and host of the first element of a Forwarded header
// (RFC 7239).
func parseForwarded(header string) (proto, host string) {
	for pair := range strings.SplitSeq(firstOf(header), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "proto":
			proto = value
		case "host":
			host = value
		}
	}
	return proto, host
}

func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// escapeSegment writes a name as one segment of a URL's path.
func escapeSegment(name string) string { return url.PathEscape(name) }

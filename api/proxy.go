package api

import (
	"net/url"
	"strings"
)

// origin returns scheme and host of the request as the client sees them, and a
// prefix that a proxy has taken off. Proxies are believed only where the
// configuration says so, and only what can stand in a URL.
func (q *request) origin() (scheme, host, prefix string) {
	scheme, host = "http", q.r.Host
	if q.r.TLS != nil {
		scheme = "https"
	}
	if !q.config.TrustProxyHeaders {
		return scheme, host, ""
	}
	h := q.r.Header
	proto, by := firstOf(h.Get("X-Forwarded-Proto")), firstOf(h.Get("X-Forwarded-Host"))
	if forwarded := h.Get("Forwarded"); forwarded != "" {
		proto, by = parseForwarded(forwarded)
	}
	if p := strings.ToLower(proto); p == "http" || p == "https" {
		scheme = p
	}
	if isAuthority(by) {
		host = by
	}
	if p := strings.Trim(h.Get("X-Forwarded-Prefix"), "/"); p != "" && isPath(p) {
		prefix = "/" + p
	}
	return scheme, host, prefix
}

// isAuthority says whether a text can stand for a host, with or without a port, in a
// URL (RFC 3986, 3.2): nothing that would end the authority or put a user into it.
func isAuthority(text string) bool {
	if text == "" || len(text) > 255+len(":65535") {
		return false
	}
	u, err := url.Parse("http://" + text + "/")
	return err == nil && u.Host == text && u.User == nil && u.Hostname() != "" &&
		strings.IndexFunc(text, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._:[]%", r) }) < 0
}

// isPath says whether a text, without slashes around it, can be the beginning of a
// path: segments of unreserved characters and escapes, none of which leads elsewhere.
func isPath(text string) bool {
	for segment := range strings.SplitSeq(text, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	_, err := url.PathUnescape(text)
	return err == nil && strings.IndexFunc(text, func(r rune) bool {
		return !isAlphanumeric(r) &&
			!strings.ContainsRune("/-._~!$&'()*+,=:@%", r)
	}) < 0
}

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
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

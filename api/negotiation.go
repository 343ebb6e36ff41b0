package api

import (
	"net/http"
	"strconv"
	"strings"
)

const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
	typeHTML    = "text/html"
	typeText    = "text/plain"
)

// acceptsJSON says whether a request takes JSON for an answer.
func acceptsJSON(h http.Header) bool {
	header, present := accept(h)
	return !present || header == typeJSON || quality(header, typeJSON) > 0
}

// accept returns the Accept header, if there is one.
func accept(h http.Header) (header string, present bool) {
	switch values := h["Accept"]; len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], values[0] != ""
	default:
		return strings.Join(values, ","), true
	}
}

// quality returns what an Accept header thinks of a media type: the weight of the
// most specific range that covers it (RFC 9110, 12.5.1), 0 where none does.
func quality(header, mediaType string) float64 {
	kind, _, _ := strings.Cut(mediaType, "/")
	best, q := 0, 0.0
	for item := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		specific := 0
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case mediaType:
			specific = 3
		case kind + "/*":
			specific = 2
		case "*/*":
			specific = 1
		}
		if specific > best {
			best, q = specific, weight(parameters)
		}
	}
	return q
}

func weight(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// errorType chooses the media type for an error: problem details for those who
// name them, JSON for those who take it unless they like HTML better, HTML, and
// plain text for those who don't say, as command lines and tests do.
func errorType(h http.Header) string {
	header, present := accept(h)
	switch {
	case !present:
		return typeText
	case header == typeJSON:
		return typeJSON
	case strings.Contains(strings.ToLower(header), typeProblem) && quality(header, typeProblem) > 0:
		return typeProblem
	}
	asJSON, asHTML := quality(header, typeJSON), quality(header, typeHTML)
	switch {
	case asJSON > 0 && asJSON >= asHTML:
		return typeJSON
	case asHTML > 0:
		return typeHTML
	}
	return typeText
}

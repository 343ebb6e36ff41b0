package api

import (
	"net/url"
	"strings"

	"millrace/api/gnocchi"
)

// checkQuery refuses a query string that is not escaped as it must be: net/url would leave
// out the parameter that is wrong, so that a filter becomes none. A semicolon stands for
// itself.
func (q *request) checkQuery() error {
	raw := q.r.URL.RawQuery
	if strings.IndexByte(raw, ';') >= 0 {
		r, u := *q.r, *q.r.URL // they are the caller's
		u.RawQuery = strings.ReplaceAll(raw, ";", "%3B")
		r.URL, q.r = &u, &r
	}
	if strings.IndexByte(raw, '%') < 0 { // Fast path.
		return nil
	}
	if _, err := url.QueryUnescape(raw); err != nil {
		return badRequest("Unable to parse the query string: " + err.Error())
	}
	return nil
}

// scalar returns a query parameter that may be given once.
func scalar(values url.Values, name string) (value string, given bool, err error) {
	switch list := values[name]; len(list) {
	case 0:
		return "", false, nil
	case 1:
		return list[0], true, nil
	}
	return "", true, badArgument(name, "given more than once")
}

// flag reads a boolean query parameter.
func flag(values url.Values, name string, absent bool) (bool, error) {
	text, given, err := scalar(values, name)
	if err != nil || !given {
		return absent, err
	}
	value, err := gnocchi.ParseBool(name, text)
	if err != nil {
		return false, badRequest(err.Error())
	}
	return value, nil
}

// instant reads start or stop; absent is what it is when not given.
func (q *request) instant(values url.Values, name string, absent int64) (int64, error) {
	text, given, err := scalar(values, name)
	if err != nil || !given {
		return absent, err
	}
	t, err := gnocchi.ParseTime(text, q.now())
	if err != nil {
		return 0, badArgument(name, "Must be a datetime or a timestamp")
	}
	return t, nil
}

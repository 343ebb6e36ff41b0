package api

import (
	"errors"
	"net/url"
	"slices"
	"strconv"

	"millrace/index"
)

// limit reads the page size: at most MaxLimit, which is the default too.
func (q *request) limit(values url.Values) (int, error) {
	text, given, err := scalar(values, "limit")
	if err != nil || !given {
		return q.config.MaxLimit, err
	}
	n, err := strconv.ParseInt(text, 10, 64) // of what is out of range, the bound
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, badArgument("limit", "expected int for dictionary value @ data['limit']")
	}
	if n < 1 {
		return 0, badArgument("limit", "value must be at least 1 for dictionary value @ data['limit']")
	}
	return int(min(n, int64(q.config.MaxLimit))), nil
}

// page reads limit, marker and sort.
func (q *request) page(values url.Values, defaultSort ...string) (index.Page, error) {
	limit, err := q.limit(values)
	if err != nil {
		return index.Page{}, err
	}
	marker, _, err := scalar(values, "marker")
	if err != nil {
		return index.Page{}, err
	}
	sorts := slices.DeleteFunc(slices.Clone(values["sort"]), func(key string) bool { return key == "" })
	if len(sorts) == 0 {
		sorts = defaultSort
	}
	return index.Page{Limit: limit, Marker: marker, Sorts: sorts}, nil
}

// linkNext sets the Link header when a page is full, even if nothing follows: the
// request's own query, with what page and order it amounted to and the id of the
// page's last item.
func (q *request) linkNext(values url.Values, limit int, sorts []string, items int, last string) {
	if items < limit {
		return
	}
	values.Set("limit", strconv.Itoa(limit))
	values.Set("marker", last)
	if len(sorts) > 0 {
		values["sort"] = sorts
	}
	scheme, host, prefix := q.origin()
	q.w.Header().Set("Link", "<"+scheme+"://"+host+prefix+q.r.URL.EscapedPath()+"?"+values.Encode()+`>; rel="next"`)
}

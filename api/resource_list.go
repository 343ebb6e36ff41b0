package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"millrace/api/auth"
	"millrace/index"
)

// A resourceListing is a listing that a request asks for.
type resourceListing struct {
	search  index.Search
	page    index.Page
	details bool
	only    map[string]bool // keys; nil: all
}

// listing reads the parameters that all listings of resources have.
func (q *request) listing(values url.Values) (l resourceListing, err error) {
	l.search.Type = q.resourceType
	if l.page, err = q.page(values, index.DefaultSorts()...); err != nil {
		return l, err
	}
	if l.details, err = flag(values, "details", false); err != nil {
		return l, err
	}
	if l.search.History, err = flag(values, "history", false); err != nil {
		return l, err
	}
	for _, name := range values["attrs"] {
		if name != "" && l.only == nil {
			l.only = map[string]bool{}
		}
		if name != "" {
			l.only[name] = true
		}
	}
	return l, nil
}

// scope says whose resources the caller sees by a rule; nil: everybody's, as where
// there are no projects.
func (q *request) scope(r auth.Rule) (*index.Scope, error) {
	permit := q.who.Permit(r)
	if !q.who.Scoped || permit.Always() {
		return nil, nil
	}
	// A resource of somebody else, that has only its creator's or its own project in
	// common with the caller.
	const nobody = "\x00"
	s := &index.Scope{Project: q.who.Project, Owned: permit.For(nobody, q.who.Project),
		Created: permit.For(nobody+":"+q.who.Project, "")}
	if s.Project == "" || !s.Owned && !s.Created {
		return nil, &failure{status: http.StatusForbidden, description: "Insufficient privileges"}
	}
	return s, nil
}

// listResources answers GET /v1/resource/<type>.
func (q *request) listResources() error {
	values := q.r.URL.Query()
	l, err := q.listing(values)
	if err != nil {
		return err
	}
	if l.search.Scope, err = q.scope(auth.ListResource); err != nil {
		return err
	}
	return q.list(l, values)
}

// searchResources answers POST /v1/search/resource/<type>.
func (q *request) searchResources() error {
	values := q.r.URL.Query()
	l, err := q.listing(values)
	if err != nil {
		return err
	}
	where, _, err := q.condition(values, l.search.History)
	if err != nil {
		return err
	}
	l.search.Where, l.search.Type = where, q.resourceType
	if l.search.Scope, err = q.scope(auth.SearchResource); err != nil {
		return err
	}
	return q.list(l, values)
}

// condition reads the condition of a search: the body's, or where there is none the
// filter parameter's. Given says whether there is either.
func (q *request) condition(values url.Values, history bool) (e *index.Expr, given bool, err error) {
	filter, given, err := scalar(values, "filter")
	if err != nil {
		return nil, false, err
	}
	b, err := q.readBody(smallBody)
	if err != nil {
		return nil, false, err
	}
	defer b.release()
	if len(b.data) > 0 {
		if err := q.needType(typeJSON); err != nil {
			return nil, false, err
		}
		tree, err := parseJSON(b.data)
		if err != nil {
			return nil, false, err
		}
		err = q.asTypeIs(func() (err error) {
			e, err = q.conditionOf(tree, q.resourceType, history)
			return err
		})
		return e, true, err
	}
	if filter == "" {
		return nil, false, nil
	}
	err = q.asTypeIs(func() (err error) {
		e, err = q.filterOf(filter, q.resourceType, history)
		return err
	})
	return e, given, err
}

// listHistory answers GET /v1/resource/<type>/<id>/history.
func (q *request) listHistory() error {
	values := q.r.URL.Query()
	l, err := q.listing(values)
	if err != nil {
		return err
	}
	r, err := q.pathResource(auth.GetResource)
	if err != nil {
		return err
	}
	l.only, l.search.History = nil, true
	id, _ := q.resourceType.Field("id", true)
	l.search.Where = &index.Expr{Op: index.OpEq, Field: id, Value: [16]byte(r.ID)}
	return q.list(l, values)
}

// list answers with a page of resources. It is written as it is read.
func (q *request) list(l resourceListing, values url.Values) error {
	slot, _ := q.buffers.Get().(*[]byte)
	if slot == nil {
		slot = new([]byte)
	}
	buf := append((*slot)[:0], '[')
	defer func() {
		if cap(buf) <= keptBytes {
			*slot = buf[:0]
			q.buffers.Put(slot)
		}
	}()
	items, last := 0, ""
	own := map[string]*index.ResourceType{q.resourceType.Name: q.resourceType}
	if l.details {
		types, err := q.index.ResourceTypes(q.ctx)
		if err != nil {
			return err
		}
		for _, t := range types {
			own[t.Name] = t
		}
	}
	err := q.index.Resources(q.ctx, l.search, l.page, func(r *index.Resource) error {
		shown := q.resourceType
		if t := own[r.Type]; l.details && t != nil {
			shown = t
		}
		if items > 0 {
			buf = append(buf, ", "...)
		}
		buf = appendResource(buf, r, shown, true, l.only)
		items++
		last = l.marker(r)
		return nil
	})
	if err != nil {
		return err
	}
	if items > 0 {
		q.linkNext(values, l.page.Limit, l.page.Sorts, items, last)
	}
	buf = append(buf, ']')
	return q.bytes(http.StatusOK, typeJSON, buf)
}

// marker is where the page after r begins.
func (l *resourceListing) marker(r *index.Resource) string {
	if !l.search.History {
		return r.ID.String()
	}
	marker := r.ID.String() + "@" + strconv.FormatInt(r.Revision, 10)
	byID := len(l.page.Sorts) > 0 && strings.HasPrefix(l.page.Sorts[0], "id")
	if r.RevisionEnd == nil && !byID { // it may be a past state by the next page, and where it was matters
		marker += "@" + strconv.FormatInt(r.RevisionStart, 10)
	}
	return marker
}

// deleteResources answers DELETE /v1/resource/<type>: of those that a filter finds.
func (q *request) deleteResources() error {
	values := q.r.URL.Query()
	where, _, err := q.condition(values, false)
	if err != nil {
		return err
	}
	if where == nil {
		return badRequest("caution: the query can not be empty, or it will delete all the resources")
	}
	search := index.Search{Type: q.resourceType, Where: where}
	if search.Scope, err = q.scope(auth.DeleteResources); err != nil {
		return err
	}
	deleted, metrics, err := q.index.DeleteResources(q.ctx, search)
	if err != nil {
		return err
	}
	q.forgetAll(metrics)
	return q.json(http.StatusOK, map[string]any{"deleted": deleted})
}

package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A Search selects resources.
type Search struct {
	Type    *ResourceType // resources seen as of this type: the generic one is all of them
	Where   *Expr         // nil: all
	Scope   *Scope        // nil: everybody's
	History bool          // past states too
}

// A Scope is what somebody of a project may see: any of these.
type Scope struct {
	Project string
	Owned   bool // resources that belong to the project
	Created bool // resources that somebody of the project has created
}

// condition compiles the search.
func (s *Search) condition(d *dialect, old bool) (condition, error) {
	c := ofType(s.Type)
	if s.Scope != nil {
		c = c.and(s.Scope.condition())
	}
	matching, err := s.Where.condition(d, old)
	return c.and(matching), err
}

func (s *Scope) condition() condition {
	owned, created := where("project_id = ?", s.Project), endsWith("creator", ":"+s.Project)
	switch {
	case s.Owned && s.Created:
		return condition{"(" + owned.text + " OR (" + created.text + "))", append(owned.args, created.args...)}
	case s.Owned:
		return owned
	case s.Created:
		return created
	}
	return where("1 = 0")
}

// ofType is true of the resources that can be seen as of a type. Its number stands
// in the text, so that an index of the type's resources alone serves.
func ofType(t *ResourceType) condition {
	if t.Name == GenericType {
		return condition{}
	}
	return where("type_id = " + strconv.FormatInt(t.id, 10))
}

// Resources calls visit with every state of a resource that a search finds, in
// order, and stops with visit's error. It holds one row at a time, and visit may
// keep what it is given; it must not call the Index.
//
// The keys to sort by are those of [ResourceType.Field], as far as they can be
// sorted; directions and nulls are as in [Index.Metrics]. What is equal by all keys
// is sorted by id and revision. [DefaultSorts] are not what they seem to be, but the
// order in which the resources were created, unless there is history: a resource that is
// changed stays where it is, so that pages neither repeat nor miss any that is there
// all the while. With other keys one that changes may be missed, as it moves.
//
// The marker is the id of the last resource of the page before, with history
// id@revision, and for a present state, if possible, id@-1@ and its RevisionStart: it
// may be a past one by now. By default it may be of a resource that was deleted within
// the last hour. With a Scope it is of one that the Scope has.
func (x *Index) Resources(ctx context.Context, s Search, p Page, visit func(*Resource) error) error {
	l := listing{index: x, search: s, dialect: x.database.dialect}
	if err := l.parseSorts(p.Sorts); err != nil {
		return err
	}
	marker, err := l.marker(ctx, p.Marker)
	if err != nil {
		return err
	}
	return l.read(ctx, marker, p.Limit, visit)
}

// DefaultSorts is what clients are told of the order of resources by default.
func DefaultSorts() []string { return []string{"revision_start:asc", "started_at:asc"} }

// A listing is a search in an order.
type listing struct {
	index   *Index
	dialect *dialect
	search  Search
	fields  []Field // what is sorted by
	orders  []order // without columns
	byPlace bool    // the order in which they were created
}

func (l *listing) parseSorts(sorts []string) error {
	last := []string{"id"}
	if l.search.History {
		last = []string{"id", "revision"}
	}
	for _, sort := range slices.Concat(sorts, last) {
		name, direction := cutDirection(sort)
		f, ok := l.search.Type.Field(name, l.search.History)
		if !ok || !f.sorts() {
			return badSortKey(name)
		}
		o, err := parseOrder(sortKey{nullable: f.nullable}, direction)
		if err != nil {
			return err
		}
		again := slices.ContainsFunc(l.fields, func(g Field) bool { return g.Name == f.Name })
		unique := !l.search.History && slices.ContainsFunc(l.fields, func(g Field) bool { return g.Name == "id" })
		if !again && !unique { // else it makes no difference
			l.fields = append(l.fields, f)
			l.orders = append(l.orders, o)
		}
	}
	if n := len(sorts); n == 2 && !l.search.History && l.upBy("revision_start", "started_at") {
		l.fields = []Field{{Name: "place", Kind: FieldTime, column: "listed_at"}, l.fields[n]}
		l.orders, l.byPlace = l.orders[:2], true
	}
	return nil
}

// upBy says whether the first fields are these, ascending.
func (l *listing) upBy(names ...string) bool {
	for i, name := range names {
		if l.fields[i].Name != name || l.orders[i].descending {
			return false
		}
	}
	return true
}

// cutDirection cuts a sort at its last colon, if a direction may follow: names of
// attributes can have colons.
func cutDirection(sort string) (name, direction string) {
	if i := strings.LastIndexByte(sort, ':'); i >= 0 {
		return strings.TrimSpace(sort[:i]), strings.TrimSpace(sort[i+1:])
	}
	return strings.TrimSpace(sort), ""
}

// in returns the orders for the rows of one of the two tables.
func (l *listing) in(old bool) []order {
	orders := slices.Clone(l.orders)
	for i := range orders {
		orders[i].key.column = l.fields[i].expression(l.dialect, old)
	}
	return orders
}

func tableOf(old bool) string {
	if old {
		return "resource_history"
	}
	return "resources"
}

// read visits what comes after the marker, at most limit of it if that is positive.
func (l *listing) read(ctx context.Context, marker []any, limit int, visit func(*Resource) error) error {
	now, past := parts(l.in(false), marker), parts(l.in(true), marker)
	visited := 0
	for i := range now {
		if limit > 0 && visited == limit {
			break
		}
		query, args, err := l.query(now[i], past[i])
		if err != nil {
			return err
		}
		if limit > 0 {
			query += ` LIMIT ` + strconv.Itoa(limit-visited)
		}
		err = l.index.database.reading().rows(ctx, func(rows *sql.Rows) error {
			visited++
			r := new(Resource)
			if err := r.scan(ctx, l.index, rows); err != nil {
				return err
			}
			if err := visit(r); err != nil {
				return visitError{err}
			}
			return nil
		}, withMetrics(l.dialect, query), args...)
		if v, ok := errors.AsType[visitError](err); ok {
			return v.error
		}
		if err != nil {
			return l.index.failed("cannot list resources", err)
		}
	}
	return nil
}

// A visitError is an error of the caller's.
type visitError struct{ error }

// query reads a part of the present states, and with history the same part of the
// past ones.
func (l *listing) query(now, past part) (query string, args []any, err error) {
	c, err := l.search.condition(l.dialect, false)
	if err != nil {
		return "", nil, err
	}
	which := c.and(now.where)
	sorted := sortColumns(now.orders)
	query, args = selectStates(l.dialect, which, now.orders, false), which.args
	if l.search.History {
		if c, err = l.search.condition(l.dialect, true); err != nil {
			return "", nil, err
		}
		which = c.and(past.where)
		query += ` UNION ALL ` + selectStates(l.dialect, which, past.orders, true)
		args = slices.Concat(args, which.args)
		return query + ` ORDER BY ` + orderBy(sorted), args, nil
	}
	return query + ` ORDER BY ` + orderBy(now.orders), args, nil
}

// sortColumns are orders by the names that selectStates gives their columns.
func sortColumns(orders []order) []order {
	named := slices.Clone(orders)
	for i := range named {
		named[i].key.column = "s" + strconv.Itoa(i)
	}
	return named
}

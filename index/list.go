package index

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"millrace/ingest"
)

// A Page is a part of a listing.
type Page struct {
	Limit  int      // how many at most; 0: all
	Marker string   // the id of the last metric of the page before; "": the first page
	Sorts  []string // "key[:direction]", see [Index.Metrics]
}

// Metrics lists active metrics.
//
// The keys to sort by are id, name, unit, creator, archive_policy_name,
// resource_id and status; the directions asc (the default) and desc, where
// metrics without a value come last and first, and these with -nullsfirst or
// -nullslast. What is equal by all keys is sorted by id, as is everything when
// none is given. A page begins after the marker's metric wherever that is in the
// order, so pages neither repeat nor miss metrics when others come and go. By id, it may
// be of a metric that was deleted lately. An
// InvalidError names the key, direction or marker that makes no sense.
func (x *Index) Metrics(ctx context.Context, f Filter, p Page) ([]Metric, error) {
	orders, err := parseSorts(p.Sorts)
	if err != nil {
		return nil, err
	}
	marker, err := x.marker(ctx, p.Marker, f.Project, orders)
	if err != nil {
		return nil, err
	}
	table, nowhere, err := f.from(ctx, x.database.reading())
	if err != nil || nowhere {
		return nil, x.failed("cannot list metrics", err)
	}
	var metrics []Metric
	for _, part := range parts(orders, marker.values(orders)) {
		left := p.Limit - len(metrics)
		if p.Limit > 0 && left == 0 {
			break
		}
		query, args := part.query(table, f, left)
		err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
			var m Metric
			err := m.scan(rows)
			metrics = append(metrics, m)
			return err
		}, query, args...)
		if err != nil {
			return nil, x.failed("cannot list metrics", err)
		}
	}
	return metrics, nil
}

func invalidMarker(marker string) error {
	return &InvalidError{"Invalid pagination: `Invalid marker: `" + marker + "''"}
}

// marker returns the metric after which a page begins, nil at the beginning.
// With a project it is one that the project may see: else where the page begins would
// tell what others have.
func (x *Index) marker(ctx context.Context, marker string, project *string, orders []order) (*Metric, error) {
	if marker == "" {
		return nil, nil
	}
	invalid := invalidMarker(marker)
	id, err := ingest.ParseMetricID(marker)
	if err != nil {
		return nil, invalid
	}
	if len(orders) == 1 && orders[0].key.column == "id" {
		found := 0
		err := x.database.reading().row(ctx, []any{&found}, `SELECT count(*) FROM metrics WHERE id = ?`, id[:])
		if err == nil && found == 0 {
			err = invalid
		}
		return &Metric{ID: id}, x.failed("cannot find where a page begins", err)
	}
	found, err := x.Metrics(ctx, Filter{ID: &id, Project: project}, Page{})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, invalid
	}
	return &found[0], nil
}

// values returns the metric's values of the keys of an order; nil of no metric.
func (m *Metric) values(orders []order) []any {
	if m == nil {
		return nil
	}
	values := make([]any, len(orders))
	for i, o := range orders {
		values[i] = o.key.value(m)
	}
	return values
}

// A condition is a part of a WHERE clause with its arguments; "" is always true.
type condition struct {
	text string
	args []any
}

func where(text string, args ...any) condition { return condition{text, args} }

func (c condition) and(d condition) condition {
	switch {
	case d.text == "":
		return c
	case c.text == "":
		return d
	}
	return condition{c.text + " AND " + d.text, append(c.args[:len(c.args):len(c.args)], d.args...)}
}

// clause is the WHERE clause of the condition.
func (c condition) clause() string {
	if c.text == "" {
		return ""
	}
	return " WHERE " + c.text
}

// parts cuts what comes after the marker, which is given by its values of the
// orders' keys (nil: from the beginning), into at most two parts, to be read one
// after the other: what has the first key's value and what doesn't. Each is then a
// range of an index, if there is one, and no page costs more than another.
func parts(orders []order, marker []any) []part {
	first := orders[0]
	all := part{orders: orders}
	if !first.key.nullable {
		if marker != nil {
			all.where = first.from(marker[0]).and(after(orders, marker))
		}
		return []part{all}
	}
	valued := part{where(first.key.column + " IS NOT NULL"), slices.Clone(orders)}
	valued.orders[0].key.nullable = false
	nulls := part{where(first.key.column + " IS NULL"), orders[1:]}
	markerIsNull := false
	if marker != nil {
		if markerIsNull = marker[0] == nil; markerIsNull {
			nulls.where = nulls.where.and(after(orders[1:], marker[1:]))
		} else {
			valued.where = valued.where.and(first.from(marker[0])).and(after(valued.orders, marker))
		}
	}
	list := []part{valued, nulls}
	if first.nullsFirst {
		list = []part{nulls, valued}
	}
	if marker != nil && markerIsNull != first.nullsFirst { // the marker is in the second part
		list = list[1:]
	}
	return list
}

// A part of a listing is what satisfies a condition, in order.
type part struct {
	where  condition
	orders []order
}

// query reads the part: limit metrics of it, all if that isn't positive.
func (p part) query(from condition, f Filter, limit int) (query string, args []any) {
	where := f.condition().and(p.where)
	where.args = append(from.args[:len(from.args):len(from.args)], where.args...)
	query = `SELECT ` + metricColumns + ` FROM ` + from.text + ` WHERE ` + where.text + ` ORDER BY ` + orderBy(p.orders)
	if limit <= 0 {
		return query, where.args
	}
	return query + ` LIMIT ?`, append(where.args, limit)
}

// from is true of what isn't before the marker by its value of the first key. It
// follows from after, but in a form that an index can use.
func (o order) from(marker any) condition {
	if o.key.column == "id" {
		return condition{}
	}
	return where(o.key.column+o.beyond()+"= ?", marker)
}

// after is true of what comes after the marker: what is beyond it by one key and
// equal by the keys before.
func after(orders []order, marker []any) condition {
	var alternatives []string
	var args []any
	var equal condition
	for i, o := range orders {
		column, value := o.key.column, marker[i]
		var beyond condition
		switch {
		case value != nil && o.key.nullable && !o.nullsFirst:
			beyond = where("("+column+o.beyond()+"? OR "+column+" IS NULL)", value)
		case value != nil:
			beyond = where(column+o.beyond()+"?", value)
		case o.nullsFirst:
			beyond = where(column + " IS NOT NULL")
		}
		if beyond.text != "" {
			alternative := equal.and(beyond)
			alternatives = append(alternatives, alternative.text)
			args = append(args, alternative.args...)
		}
		if value == nil {
			equal = equal.and(where(column + " IS NULL"))
		} else {
			equal = equal.and(where(column+" = ?", value))
		}
	}
	return condition{"(" + strings.Join(alternatives, " OR ") + ")", args}
}

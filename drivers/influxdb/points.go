package influxdb

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// A point is one field of a point, as a query answers it.
type point struct {
	time    int64
	isValue bool
	value   float64
	special int // where it is no value
}

var bothFields = []string{"special", "value"}

// points queries fields of the measures of metrics in [from, to): all of them, or what a
// function of Flux makes of each series.
func (d *Driver) points(ctx context.Context, reads []*metricRead, function string, fields []string, from, to int64,
	visit func(*metricRead, *point) error) error {
	from, to = max(from, minTime), min(to, endTime)
	if len(reads) == 0 || from >= to {
		return nil
	}
	find := finder(reads)
	return d.query(ctx, d.pointsFlux(reads, function, fields, from, to), func(row *row) error {
		current, err := find(row)
		if err != nil {
			return err
		}
		p, err := pointOf(row)
		if err != nil {
			return err
		}
		if p.time < from || p.time >= to {
			return nil
		}
		return visit(current, &p)
	})
}

// finder returns what finds the metric that a row is of, which mostly is that of the last.
func finder(reads []*metricRead) func(*row) (*metricRead, error) {
	of := make(map[string]*metricRead, len(reads))
	for _, r := range reads {
		of[r.metric.String()] = r
	}
	var current *metricRead
	var metric string // of current
	return func(row *row) (*metricRead, error) {
		if id := row.at(row.metricAt); current == nil || string(id) != metric {
			metric = string(id)
			if current = of[metric]; current == nil {
				return nil, fmt.Errorf("InfluxDB answers with metric %q, which was not asked for", metric)
			}
		}
		return current, nil
	}
}

// pointsFlux is that query.
func (d *Driver) pointsFlux(reads []*metricRead, function string, fields []string, from, to int64) string {
	var b strings.Builder
	d.from(&b, from, to)
	fmt.Fprintf(&b, ` |> filter(fn: (r) => r._measurement == %q and (r._field == "%s"`, measures,
		strings.Join(fields, `" or r._field == "`))
	b.WriteString(") and (")
	for i, r := range reads {
		if i > 0 {
			b.WriteString(" or ")
		}
		b.WriteString(`r.metric == "` + r.metric.String() + `"`)
	}
	b.WriteString("))")
	if function != "" {
		b.WriteString(" |> " + call(function))
	}
	b.WriteString(` |> keep(columns: ["_time", "_value", "_field", "metric"])`)
	return b.String()
}

// pointOf reads a row.
func pointOf(r *row) (p point, err error) {
	if p.time, err = parseTime(r.at(r.timeAt)); err != nil {
		return p, err
	}
	switch field := r.at(r.fieldAt); string(field) {
	case "value":
		p.isValue = true
		p.value, err = parseValue(r.at(r.valueAt))
	case "special":
		p.special, err = strconv.Atoi(string(r.at(r.valueAt)))
	default:
		err = fmt.Errorf("InfluxDB answers with field %q, which was not asked for", field)
	}
	return p, err
}

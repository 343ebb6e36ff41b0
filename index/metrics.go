package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/ingest"
)

// A Metric is what the index knows about a metric. It never changes.
type Metric struct {
	ID       ingest.MetricID
	Name     *string // unique among the active metrics of a resource
	Unit     *string
	Creator  string // who created it: user, or user:project
	Policy   string // the archive policy's name
	Resource *[16]byte

	// What its labels are to say of its resource, when it is created; "": the
	// resource's id, and nothing. They are not read again: see Labels.
	LabelResource, LabelType string
}

// metricsPerStatement is how many metrics one statement creates or finds: enough
// to make the statement's own cost small, few enough for every database's limit
// on parameters.
const metricsPerStatement = 512

// CreateMetric adds a metric. An error that is ingest.ErrNoPolicy says that its
// archive policy doesn't exist, ErrNotFound that its resource doesn't, ErrExists that its resource has a metric of its
// name (or, of KindMetric, that its id is taken).
func (x *Index) CreateMetric(ctx context.Context, m Metric) error {
	return x.CreateMetrics(ctx, []Metric{m})
}

// CreateMetrics adds all the metrics or, with the error of one that CreateMetric
// would refuse, none. They are the caller's again when it returns. They share a
// transaction, which nobody else can write meanwhile: 10,000 take some 0.3 s.
func (x *Index) CreateMetrics(ctx context.Context, metrics []Metric) error {
	if len(metrics) == 0 {
		return nil
	}
	if err := checkDistinct(metrics); err != nil {
		return err
	}
	metrics = slices.Clone(metrics) // ctx may end before they are written
	var err error
	for range 3 { // what was in the way may be gone before it is found
		var refused []Metric
		err = x.writer.do(ctx, &change{
			apply: func(ctx context.Context, s session) (err error) {
				lost := findHomes(ctx, s, metrics)
				if refused, err = insertMetrics(ctx, s, metrics); err != nil {
					return err
				}
				return lost
			},
		})
		if f := x.database.dialect.fault(err); f != faultUnique && f != faultForeign {
			break
		}
		if why := whyRefused(ctx, x.database.reading(), refused); why != nil {
			err = why
			break
		}
	}
	return x.failed(fmt.Sprintf("cannot create %d metrics", len(metrics)), err)
}

// findHomes finds the resources of new metrics, or says with an error that one isn't
// there.
func findHomes(ctx context.Context, s session, metrics []Metric) error {
	n := naming{metrics: slices.DeleteFunc(slices.Clone(metrics), func(m Metric) bool { return m.Resource == nil })}
	homes, err := n.resources(ctx, s)
	if e, ok := errors.AsType[*UnknownResourcesError](err); ok {
		return &ObjectError{KindResource, e.IDs[0].String(), ErrNotFound}
	}
	if err != nil {
		return err
	}
	for i := range metrics {
		m := &metrics[i]
		if m.Resource == nil {
			continue
		}
		of := homes[*m.Resource]
		m.LabelResource, m.LabelType = cmp.Or(m.LabelResource, of.original), cmp.Or(m.LabelType, of.kind)
		if of.ended {
			s.effects.altered = append(s.effects.altered, m.ID) // it is remembered without that
		}
	}
	return nil
}

// checkDistinct finds metrics that are in each other's way.
func checkDistinct(metrics []Metric) error {
	if len(metrics) == 1 { // Fast path.
		return nil
	}
	type named struct {
		resource [16]byte
		name     string
	}
	ids := make(map[ingest.MetricID]bool, len(metrics))
	names := make(map[named]bool)
	for i := range metrics {
		m := &metrics[i]
		if ids[m.ID] {
			return &ObjectError{KindMetric, m.ID.String(), ErrExists}
		}
		ids[m.ID] = true
		if m.Resource == nil || m.Name == nil {
			continue
		}
		if names[named{*m.Resource, *m.Name}] {
			return &ObjectError{KindNamed, *m.Name, ErrExists}
		}
		names[named{*m.Resource, *m.Name}] = true
	}
	return nil
}

// insertMetrics inserts metrics. With an error it returns those that were in the
// statement which has failed.
func insertMetrics(ctx context.Context, s session, metrics []Metric) (refused []Metric, err error) {
	ctx = s.dialect.brief(ctx)
	for left := metrics; len(left) > 0; {
		some := left[:s.dialect.rowsOf(len(left))]
		left = left[len(some):]
		args := make([]any, 0, 8*len(some))
		for i := range some {
			m := &some[i]
			resource, resourceType := m.labels()
			args = append(args, m.ID[:], m.Name, m.Unit, m.Creator, m.Policy, resourceArg(m.Resource), resource, resourceType)
		}
		_, err := s.exec(ctx,
			`INSERT INTO metrics (id, name, unit, creator, archive_policy, resource, label_resource, label_type)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`+strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?)", len(some)-1), args...)
		if err != nil {
			return some, err
		}
	}
	s.effects.created = append(s.effects.created, metrics...)
	return nil, nil
}

func resourceArg(resource *[16]byte) any {
	if resource == nil {
		return nil
	}
	return resource[:]
}

// whyRefused finds the first of the metrics, distinct ones, that can't be created;
// nil when all of them can by now.
func whyRefused(ctx context.Context, s session, metrics []Metric) error {
	for i := range metrics {
		m := &metrics[i]
		var policies, same, named int
		err := s.row(ctx, []any{&policies, &same, &named}, `SELECT
			(SELECT count(*) FROM archive_policies WHERE name = ?),
			(SELECT count(*) FROM metrics WHERE id = ?),
			(SELECT count(*) FROM metrics WHERE resource = ? AND name = ? AND deleted_at IS NULL)`,
			m.Policy, m.ID[:], resourceArg(m.Resource), m.Name)
		switch {
		case err != nil:
			return err
		case policies == 0:
			return &ObjectError{KindPolicy, m.Policy, ErrNotFound}
		case same > 0:
			return &ObjectError{KindMetric, m.ID.String(), ErrExists}
		case named > 0:
			return &ObjectError{KindNamed, *m.Name, ErrExists}
		}
	}
	return nil
}

// Metric returns an active metric; ErrNotFound when there is none of that id.
func (x *Index) Metric(ctx context.Context, id ingest.MetricID) (Metric, error) {
	var m Metric
	found := false
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		found = true
		return m.scan(rows)
	}, `SELECT `+metricColumns+` FROM metrics WHERE id = ? AND deleted_at IS NULL`, id[:])
	switch {
	case err != nil:
		return Metric{}, x.failed("cannot find metric "+id.String(), err)
	case !found:
		return Metric{}, &ObjectError{KindMetric, id.String(), ErrNotFound}
	}
	return m, nil
}

const metricColumns = `id, name, unit, creator, archive_policy, resource`

// scan reads a row of metricColumns.
func (m *Metric) scan(rows *sql.Rows) error {
	var id, resource sql.RawBytes
	if err := rows.Scan(&id, &m.Name, &m.Unit, &m.Creator, &m.Policy, &resource); err != nil {
		return err
	}
	if resource != nil {
		m.Resource = new([16]byte)
		if err := scanUUID(m.Resource, resource); err != nil {
			return err
		}
	}
	return scanUUID((*[16]byte)(&m.ID), id)
}

func scanUUID(dst *[16]byte, column []byte) error {
	if len(column) != len(dst) {
		return fmt.Errorf("a UUID of %d bytes", len(column))
	}
	copy(dst[:], column)
	return nil
}

// ProjectOf returns the project of the resource that a metric belongs to; "" where
// there is none.
func (x *Index) ProjectOf(ctx context.Context, id ingest.MetricID) (project string, err error) {
	err = x.database.reading().rows(ctx, func(rows *sql.Rows) error { return rows.Scan(&project) },
		`SELECT coalesce(r.project_id, '') FROM metrics m JOIN resources r ON r.id = m.resource WHERE m.id = ?`, id[:])
	return project, x.failed("cannot find the resource of metric "+id.String(), err)
}

// inIDs returns "IN (?, …)" for the ids, and its arguments.
func inIDs(ids []ingest.MetricID) (in string, args []any) {
	args = make([]any, len(ids))
	for i := range ids {
		args[i] = ids[i][:]
	}
	return "IN (?" + strings.Repeat(", ?", len(ids)-1) + ")", args
}

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
}

// metricsPerStatement is how many metrics one statement creates or finds: enough
// to make the statement's own cost small, few enough for every database's limit
// on parameters.
const metricsPerStatement = 512

// CreateMetric adds a metric. An error that is ingest.ErrNoPolicy says that its
// archive policy doesn't exist, ErrExists that its resource has a metric of its
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
				refused, err = insertMetrics(ctx, s, metrics)
				return err
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
	for some := range slices.Chunk(metrics, metricsPerStatement) {
		args := make([]any, 0, 6*len(some))
		for i := range some {
			m := &some[i]
			args = append(args, m.ID[:], m.Name, m.Unit, m.Creator, m.Policy, resourceArg(m.Resource))
		}
		_, err := s.exec(ctx, `INSERT INTO metrics (id, name, unit, creator, archive_policy, resource)
			VALUES (?, ?, ?, ?, ?, ?)`+strings.Repeat(", (?, ?, ?, ?, ?, ?)", len(some)-1), args...)
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

// MarkDeleted takes a metric out of every view, Lookup included; ErrNotFound when
// it isn't in any. Its name is free again, its archive policy stays in use until Purge.
func (x *Index) MarkDeleted(ctx context.Context, id ingest.MetricID) error {
	return x.failed("cannot delete metric "+id.String(), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			marked, err := markDeleted(ctx, s, where("id = ?", id[:]))
			if err == nil && len(marked) == 0 {
				return &ObjectError{KindMetric, id.String(), ErrNotFound}
			}
			return err
		},
	}))
}

// markDeleted marks the active metrics of which a condition is true, and returns them.
func markDeleted(ctx context.Context, s session, which condition) (marked []ingest.MetricID, err error) {
	err = s.rows(ctx, func(rows *sql.Rows) error {
		var column, resource sql.RawBytes
		var id ingest.MetricID
		var of ResourceID
		if err := rows.Scan(&column, &resource); err != nil {
			return err
		}
		if resource != nil {
			if err := scanUUID((*[16]byte)(&of), resource); err != nil {
				return err
			}
			s.effects.renamed = append(s.effects.renamed, of)
		}
		err := scanUUID((*[16]byte)(&id), column)
		marked = append(marked, id)
		return err
	}, `UPDATE metrics SET deleted_at = ? WHERE deleted_at IS NULL AND `+which.text+` RETURNING id, resource`,
		append([]any{time.Now().UnixNano()}, which.args...)...)
	s.effects.deleted = append(s.effects.deleted, marked...)
	return marked, err
}

func scanID(rows *sql.Rows) (id ingest.MetricID, err error) {
	var column sql.RawBytes
	return id, errors.Join(rows.Scan(&column), scanUUID((*[16]byte)(&id), column))
}

// Deleted returns the metrics that are marked and not purged, the oldest mark
// first: those whose deletion a stop has interrupted.
func (x *Index) Deleted(ctx context.Context) ([]ingest.MetricID, error) {
	var ids []ingest.MetricID
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		id, err := scanID(rows)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM metrics WHERE deleted_at IS NOT NULL ORDER BY deleted_at, id`)
	if err != nil {
		return nil, x.failed("cannot list deleted metrics", err)
	}
	return ids, nil
}

// Purge forgets those of the metrics that are marked; the others stay as they are.
func (x *Index) Purge(ctx context.Context, ids ...ingest.MetricID) error {
	if len(ids) == 0 {
		return nil
	}
	ids = slices.Clone(ids)
	return x.failed(fmt.Sprintf("cannot purge %d metrics", len(ids)), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for some := range slices.Chunk(ids, metricsPerStatement) {
				in, args := inIDs(some)
				rows, err := s.exec(ctx, `DELETE FROM metrics WHERE deleted_at IS NOT NULL AND id `+in, args...)
				if err != nil {
					return err
				}
				s.effects.purged += rows
			}
			return nil
		},
	}))
}

// inIDs returns "IN (?, …)" for the ids, and its arguments.
func inIDs(ids []ingest.MetricID) (in string, args []any) {
	args = make([]any, len(ids))
	for i := range ids {
		args[i] = ids[i][:]
	}
	return "IN (?" + strings.Repeat(", ?", len(ids)-1) + ")", args
}

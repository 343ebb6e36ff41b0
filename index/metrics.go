package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// CreateMetrics adds all the metrics or, with the error of the first that
// CreateMetric would refuse, none. They are the caller's again when it returns.
func (x *Index) CreateMetrics(ctx context.Context, metrics []Metric) error {
	if len(metrics) == 0 {
		return nil
	}
	metrics = append([]Metric(nil), metrics...) // ctx may end before they are written
	return x.failed(fmt.Sprintf("cannot create %d metrics", len(metrics)), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for rest := metrics; len(rest) > 0; {
				n := min(len(rest), metricsPerStatement)
				if err := insertMetrics(ctx, s, rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		},
		committed: func() { x.cache.created(metrics) },
	}))
}

const insertMetric = `INSERT INTO metrics (id, name, unit, creator, archive_policy, resource) VALUES `

func insertMetrics(ctx context.Context, s session, metrics []Metric) error {
	const row = "(?, ?, ?, ?, ?, ?), "
	args := make([]any, 0, 6*len(metrics))
	for i := range metrics {
		m := &metrics[i]
		args = append(args, m.ID[:], m.Name, m.Unit, m.Creator, m.Policy, resourceArg(m.Resource))
	}
	statement := insertMetric + strings.TrimSuffix(strings.Repeat(row, len(metrics)), ", ")
	if _, err := s.exec(ctx, "SAVEPOINT some_metrics"); err != nil {
		return err
	}
	_, err := s.exec(ctx, statement, args...)
	if s.dialect.broken(err) != constraintNone {
		if _, err := s.exec(ctx, "ROLLBACK TO SAVEPOINT some_metrics"); err != nil {
			return err
		}
		return whyNot(ctx, s, metrics, err)
	}
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, "RELEASE SAVEPOINT some_metrics")
	return err
}

func resourceArg(resource *[16]byte) any {
	if resource == nil {
		return nil
	}
	return resource[:]
}

// whyNot finds the first of the metrics that breaks a constraint by inserting
// them one by one, into a transaction that is about to be rolled back.
func whyNot(ctx context.Context, s session, metrics []Metric, broken error) error {
	if len(metrics) > 1 {
		for i := range metrics {
			if err := insertMetrics(ctx, s, metrics[i:i+1]); err != nil {
				return err
			}
		}
		return broken
	}
	m := &metrics[0]
	if s.dialect.broken(broken) == constraintForeign {
		return &ObjectError{KindPolicy, m.Policy, ErrNotFound}
	}
	var same int
	if err := s.row(ctx, []any{&same}, `SELECT count(*) FROM metrics WHERE id = ?`, m.ID[:]); err != nil {
		return err
	}
	if same > 0 || m.Name == nil {
		return &ObjectError{KindMetric, m.ID.String(), ErrExists}
	}
	return &ObjectError{KindNamed, *m.Name, ErrExists}
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
			rows, err := s.exec(ctx, `UPDATE metrics SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL`,
				time.Now().UnixNano(), id[:])
			if err == nil && rows == 0 {
				return &ObjectError{KindMetric, id.String(), ErrNotFound}
			}
			return err
		},
		committed: func() { x.cache.deleted(id) },
	}))
}

// Deleted returns the metrics that are marked and not purged, the oldest mark
// first: those whose deletion a stop has interrupted.
func (x *Index) Deleted(ctx context.Context) ([]ingest.MetricID, error) {
	var ids []ingest.MetricID
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		var column sql.RawBytes
		var id ingest.MetricID
		err := errors.Join(rows.Scan(&column), scanUUID((*[16]byte)(&id), column))
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
	ids = append([]ingest.MetricID(nil), ids...)
	return x.failed(fmt.Sprintf("cannot purge %d metrics", len(ids)), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for rest := ids; len(rest) > 0; {
				n := min(len(rest), metricsPerStatement)
				in, args := inIDs(rest[:n])
				if _, err := s.exec(ctx, `DELETE FROM metrics WHERE deleted_at IS NOT NULL AND id `+in, args...); err != nil {
					return err
				}
				rest = rest[n:]
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

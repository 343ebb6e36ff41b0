package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/ingest"
)

// A metric goes in three steps. MarkDeleted takes it out of every view, here and in
// other processes. Told says that its delete record is in the log, so that no process
// has to send it again. PurgeTold forgets it when the log can bring nothing of it any
// more: until then its labels are known, and its id can't be had by another metric,
// which a record sent twice would delete.

// MarkDeleted takes a metric out of every view, Lookup included; ErrNotFound when
// it isn't in any. Its name is free again, its archive policy stays in use until Told.
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

// maxDeleted is how many metrics Deleted returns.
const maxDeleted = 10_000

// Deleted returns the metrics that are marked and not told, the oldest mark first and
// not more than 10,000: those whose deletion is under way, or was interrupted. Any
// process may send their delete records again.
func (x *Index) Deleted(ctx context.Context) ([]ingest.MetricID, error) {
	var ids []ingest.MetricID
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		id, err := scanID(rows)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM metrics WHERE deleted_at IS NOT NULL AND told_at IS NULL ORDER BY deleted_at, id LIMIT ?`,
		maxDeleted)
	if err != nil {
		return nil, x.failed("cannot list deleted metrics", err)
	}
	return ids, nil
}

// A Deletion is where in the log the delete record of a metric is.
type Deletion struct {
	Metric ingest.MetricID
	Sack   ingest.Sack
	Offset ingest.Offset
}

// Told notes that the delete records of marked metrics are durable in the log. Of two
// records for one metric the later counts. Others than marked metrics stay as they are.
func (x *Index) Told(ctx context.Context, deletions ...Deletion) error {
	deletions = slices.Clone(deletions)
	now := time.Now().UnixNano()
	return x.failed(fmt.Sprintf("cannot note %d deletions", len(deletions)), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for i := range deletions {
				d := &deletions[i]
				if _, err := s.exec(ctx, `UPDATE metrics SET told_at = ?, told_sack = ?, told_offset = ?, archive_policy = NULL
					WHERE id = ? AND deleted_at IS NOT NULL AND (told_offset IS NULL OR told_offset < ?)`,
					now, int(d.Sack), int64(d.Offset), d.Metric[:], int64(d.Offset)); err != nil {
					return err
				}
			}
			return nil
		},
	}))
}

// purgedAtOnce is how many metrics of a sack are forgotten in one transaction.
const purgedAtOnce = 4096

// PurgeTold forgets metrics whose deletion the log had been told before a time, and whose
// delete record has been applied: it lies before the watermark of its sack. It
// says how many; there may be more. Before should leave a back-end that loses its
// tail the time to do so.
func (x *Index) PurgeTold(ctx context.Context, applied ingest.Position, before time.Time) (purged int64, err error) {
	var sacks []ingest.Sack
	err = x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		var sack ingest.Sack
		err := rows.Scan(&sack)
		sacks = append(sacks, sack)
		return err
	}, `SELECT DISTINCT told_sack FROM metrics WHERE told_at IS NOT NULL AND told_at < ?`, before.UnixNano())
	if err != nil || len(sacks) == 0 {
		return 0, x.failed("cannot find told deletions", err)
	}
	err = x.writer.do(ctx, &change{apply: func(ctx context.Context, s session) error {
		purged = 0
		for _, sack := range sacks {
			if int(sack) >= len(applied) {
				continue
			}
			rows, err := s.exec(ctx, `DELETE FROM metrics WHERE id IN (SELECT id FROM metrics
				WHERE told_at IS NOT NULL AND told_sack = ? AND told_offset < ? AND told_at < ? LIMIT ?)`,
				int(sack), int64(applied[sack]), before.UnixNano(), purgedAtOnce)
			if err != nil {
				return err
			}
			purged += rows
		}
		s.effects.purged += purged
		return nil
	}})
	if err != nil {
		return 0, x.failed("cannot purge told deletions", err)
	}
	return purged, nil
}

// Purge forgets those of the metrics that are marked, whatever the log may still
// bring of them; the others stay as they are.
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

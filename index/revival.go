package index

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"millrace/ingest"
)

// endChanged tells caches that a resource has ended or no longer has.
func endChanged(s session, id ResourceID, metrics []NamedMetric) {
	s.effects.renamed = append(s.effects.renamed, id)
	for i := range metrics {
		s.effects.altered = append(s.effects.altered, metrics[i].ID)
	}
}

// Revive takes the end away from resources that have ended no later than the newest
// measure of one of their metrics, which makes a new revision of each. Measures has
// the time of the newest by metric.
func (x *Index) Revive(ctx context.Context, measures map[ingest.MetricID]int64) error {
	type ended struct {
		id ResourceID
		at int64
	}
	var late []ended
	ids := slices.Collect(maps.Keys(measures))
	for some := range slices.Chunk(ids, idsPerQuery) {
		in, args := inIDs(some)
		err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
			var metric, resource sql.RawBytes
			var id ingest.MetricID
			var e ended
			if err := rows.Scan(&metric, &resource, &e.at); err != nil {
				return err
			}
			if err := scanUUID((*[16]byte)(&id), metric); err != nil {
				return err
			}
			if err := scanUUID((*[16]byte)(&e.id), resource); err != nil {
				return err
			}
			if measures[id] >= e.at {
				late = append(late, e)
			}
			return nil
		}, `SELECT m.id, r.id, r.ended_at FROM metrics m JOIN resources r ON r.id = m.resource
			WHERE m.deleted_at IS NULL AND r.ended_at IS NOT NULL AND m.id `+in, args...)
		if err != nil {
			return x.failed("cannot find ended resources", err)
		}
	}
	if len(late) == 0 {
		return nil
	}
	return x.failed(fmt.Sprintf("cannot revive %d resources", len(late)), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for _, e := range late {
				var at *int64
				var began int64
				err := s.row(ctx, []any{&at, &began}, `SELECT ended_at, revision_start FROM resources WHERE id = ?`, e.id[:])
				if err == sql.ErrNoRows || err == nil && (at == nil || *at != e.at) {
					continue // it is gone, or has another end by now
				}
				if err != nil {
					return err
				}
				began = max(now(), began+1000)
				if err := keepState(ctx, s, e.id, began); err != nil {
					return err
				}
				_, err = s.exec(ctx, `UPDATE resources SET ended_at = NULL, revision_start = ? WHERE id = ?`, began, e.id[:])
				if err != nil {
					return err
				}
				theirs, err := metricsOf(ctx, s, e.id)
				if err != nil {
					return err
				}
				endChanged(s, e.id, theirs)
			}
			return nil
		},
	}))
}

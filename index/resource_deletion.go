package index

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"millrace/ingest"
)

// DeleteResource deletes a resource, seen as one of type t, its history and its
// metrics, and returns these: they are marked, as by MarkDeleted. Check looks at the
// resource before; its error ends it, and it may do what UpdateResource's edit may.
func (x *Index) DeleteResource(
	ctx context.Context, t *ResourceType, id ResourceID, check func(*Resource) error,
) ([]ingest.MetricID, error) {
	d := &deletion{}
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			r, err := x.resourceIn(ctx, s, t, id)
			if err != nil {
				return err
			}
			if err := check(&r); err != nil {
				return err
			}
			return d.apply(ctx, s, where("id = ?", id[:]))
		},
	})
	return d.result(err, x, "cannot delete resource "+id.String())
}

// DeleteResources deletes what a search finds, as DeleteResource does, and says how
// many resources that were.
func (x *Index) DeleteResources(ctx context.Context, search Search) (int, []ingest.MetricID, error) {
	found, err := search.condition(x.database.dialect, false)
	if err != nil {
		return 0, nil, err
	}
	d := &deletion{}
	err = x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error { return d.apply(ctx, s, found) },
	})
	metrics, err := d.result(err, x, "cannot delete resources")
	if err != nil {
		return 0, nil, err
	}
	return len(d.resources), metrics, nil
}

// A deletion is of resources. Its result may be looked at once it is committed.
type deletion struct {
	resources []ResourceID
	metrics   []ingest.MetricID
}

func (d *deletion) apply(ctx context.Context, s session, which condition) (err error) {
	d.resources, d.metrics = nil, nil
	if d.resources, err = readIDs(ctx, s, `SELECT id FROM resources`+which.clause(), which.args...); err != nil {
		return err
	}
	s.effects.renamed = append(s.effects.renamed, d.resources...)
	for some := range slices.Chunk(d.resources, idsPerQuery) {
		in, args := inIDs(some)
		metrics, err := markDeleted(ctx, s, condition{"resource " + in, args})
		if err != nil {
			return err
		}
		d.metrics = append(d.metrics, metrics...)
		_, err = s.exec(ctx, `INSERT INTO deleted_resources (id, listed_at, deleted_at)
			SELECT id, listed_at, CAST(? AS BIGINT) FROM resources WHERE id `+in+`
			ON CONFLICT (id) DO UPDATE SET deleted_at = excluded.deleted_at`, append([]any{time.Now().UnixNano()}, args...)...)
		if err != nil {
			return err
		}
		for _, table := range []string{"resource_history", "resources"} {
			if _, err := s.exec(ctx, `DELETE FROM `+table+` WHERE id `+in, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *deletion) result(err error, x *Index, what string) ([]ingest.MetricID, error) {
	if err != nil {
		return nil, x.failed(what, err)
	}
	return d.metrics, nil
}

// readIDs reads a query's only column, of ids.
func readIDs(ctx context.Context, s session, query string, args ...any) ([]ingest.MetricID, error) {
	var ids []ingest.MetricID
	err := s.rows(ctx, func(rows *sql.Rows) error {
		id, err := scanID(rows)
		ids = append(ids, id)
		return err
	}, query, args...)
	return ids, err
}

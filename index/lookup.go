package index

import (
	"context"
	"database/sql"
	"slices"

	"millrace/ingest"
)

// A MetricInfo is what accepting a measure needs to know about its metric.
type MetricInfo struct {
	Policy, Creator string
	Found           bool // false: there is no such metric
	Ended           bool // its resource has ended: see Index.Revive
}

// Lookup finds out about the metric of every entry and fills in infos, which is as
// long as entries; it returns the indexes of the entries whose metric doesn't
// exist, in order. Metrics that it has met before cost no SQL and no memory, the
// others one query for all of them; so nobody is refused whose metric was just
// created, be it by another process. A metric that this Index has deleted is
// missing at once, one that another process has, within Config.Refresh.
//
// An error that is ErrUnavailable says that the database can't be asked, and either
// had to be or should have been too long ago: see Config.Believe.
func (x *Index) Lookup(ctx context.Context, entries []ingest.Entry, infos []MetricInfo) (missing []int, err error) {
	if err := x.believable(); err != nil {
		return nil, err
	}
	unknown := x.cache.find(entries, infos)
	if len(unknown) == 0 { // Fast path.
		return nil, nil
	}
	ids := make([]ingest.MetricID, len(unknown))
	for n, i := range unknown {
		ids[n] = entries[i].Metric
	}
	told, err := x.ask(ctx, ids)
	if err != nil {
		return nil, x.failed("cannot look up metrics", err)
	}
	for _, i := range unknown {
		if infos[i] = told[entries[i].Metric]; !infos[i].Found {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// ask asks the database about metrics and lets the cache remember what it says. For
// those that are remembered to be missing it asks only whether any metric has been
// created since.
func (x *Index) ask(ctx context.Context, ids []ingest.MetricID) (map[ingest.MetricID]MetricInfo, error) {
	s := x.database.reading()
	if x.cache.knowsMissing(ids) {
		var creations int64
		if err := s.row(ctx, []any{&creations}, `SELECT creations FROM state`); err != nil {
			return nil, err
		}
		ids = x.cache.notKnownMissing(ids, creations)
	}
	x.metrics.askedAbout(ctx, len(ids))
	told := make(map[ingest.MetricID]MetricInfo, len(ids))
	for some := range slices.Chunk(ids, idsPerQuery) {
		asked := x.cache.now()
		creations, err := findMetrics(ctx, s, some, told)
		if err != nil {
			return nil, err
		}
		x.cache.add(asked, creations, some, told)
	}
	return told, nil
}

// idsPerQuery is below every database's limit on parameters.
const idsPerQuery = 1024

// findMetrics adds those of the metrics that are active, and says how many
// transactions have created metrics at the same moment.
func findMetrics(ctx context.Context, s session, ids []ingest.MetricID,
	found map[ingest.MetricID]MetricInfo) (creations int64, err error) {
	in, args := inIDs(ids)
	err = s.rows(ctx, func(rows *sql.Rows) error {
		var column sql.RawBytes
		var policy, creator sql.NullString
		var ended bool
		if err := rows.Scan(&creations, &column, &policy, &creator, &ended); err != nil || column == nil {
			return err
		}
		var id ingest.MetricID
		err := scanUUID((*[16]byte)(&id), column)
		found[id] = MetricInfo{policy.String, creator.String, true, ended}
		return err
	}, `SELECT creations, id, archive_policy, creator,
			EXISTS (SELECT 1 FROM resources WHERE resources.id = metrics.resource AND ended_at IS NOT NULL) FROM state
		LEFT JOIN metrics ON deleted_at IS NULL AND id `+in, args...)
	return creations, err
}

package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"millrace/ingest"
)

// A MetricInfo is what accepting a measure needs to know about its metric.
type MetricInfo struct {
	Policy, Creator string
	Found           bool // false: there is no such metric
}

// Lookup finds out about the metric of every entry and fills in infos, which is as
// long as entries; it returns the indexes of the entries whose metric doesn't
// exist, in order. Metrics that it has met before cost no SQL and no memory, the
// others one query for all of them. A metric created or deleted through this Index
// is seen so at once, what another process does within Config.CacheMissing if it
// is a creation.
func (x *Index) Lookup(ctx context.Context, entries []ingest.Entry, infos []MetricInfo) (missing []int, err error) {
	unknown := x.cache.find(entries, infos)
	if len(unknown) == 0 { // Fast path.
		return nil, nil
	}
	ids := make([]ingest.MetricID, len(unknown))
	for n, i := range unknown {
		ids[n] = entries[i].Metric
	}
	told, err := x.ask(ctx, x.cache.notKnownMissing(ids))
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

// ask asks the database about metrics and lets the cache remember what it says.
func (x *Index) ask(ctx context.Context, ids []ingest.MetricID) (map[ingest.MetricID]MetricInfo, error) {
	x.metrics.askedAbout(ctx, len(ids))
	told := make(map[ingest.MetricID]MetricInfo, len(ids))
	asked := x.cache.now()
	for some := range slices.Chunk(ids, idsPerQuery) {
		if err := findMetrics(ctx, x.database.reading(), some, told); err != nil {
			return nil, err
		}
	}
	x.cache.add(asked, ids, told)
	return told, nil
}

// idsPerQuery is below every database's limit on parameters.
const idsPerQuery = 1024

func findMetrics(ctx context.Context, s session, ids []ingest.MetricID, found map[ingest.MetricID]MetricInfo) error {
	in, args := inIDs(ids)
	return s.rows(ctx, func(rows *sql.Rows) error {
		var column sql.RawBytes
		var id ingest.MetricID
		info := MetricInfo{Found: true}
		err := errors.Join(rows.Scan(&column, &info.Policy, &info.Creator), scanUUID((*[16]byte)(&id), column))
		found[id] = info
		return err
	}, `SELECT id, archive_policy, creator FROM metrics WHERE deleted_at IS NULL AND id `+in, args...)
}

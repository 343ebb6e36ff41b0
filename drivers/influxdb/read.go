package influxdb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
)

// Read answers queries from raw measures; see ingest.Driver.
func (d *Driver) Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure,
	at ingest.Position) (ingest.Position, error) {
	if err := d.usable(ctx); err != nil {
		return nil, err
	}
	shown, err := d.position(ctx, queries, at)
	if err != nil {
		return nil, err
	}
	reads := readsOf(queries, dst)
	for chunk := range slices.Chunk(reads, d.config.ReadChunk) {
		if err := d.readChunk(ctx, chunk); err != nil {
			return nil, failed(fmt.Sprintf("read %d metrics", len(chunk)), err)
		}
	}
	return shown, nil
}

// position returns how far the sacks of queries, and those of at, have come: as far as at
// says, or the error is ErrBehind. Of sacks that are open here that is known.
func (d *Driver) position(ctx context.Context, queries []ingest.Query, at ingest.Position) (ingest.Position, error) {
	shown := make(ingest.Position, d.config.Sacks)
	wanted := make([]bool, d.config.Sacks)
	for sack, need := range at {
		if sack < len(wanted) && need > 0 {
			wanted[sack] = true
		}
	}
	for i := range queries {
		wanted[ingest.SackOf(queries[i].Metric, d.config.Sacks)] = true
	}
	need := func(sack ingest.Sack) ingest.Offset {
		if int(sack) < len(at) {
			return at[sack]
		}
		return 0
	}
	var ask []ingest.Sack
	for i := range wanted {
		sack := ingest.Sack(i)
		if !wanted[i] {
			continue
		}
		flushed, here := d.flushedHere(sack)
		shown[i] = flushed
		if !here || flushed < need(sack) {
			ask = append(ask, sack)
		}
	}
	if len(ask) > 0 {
		marks, err := d.readWatermarks(ctx, ask)
		if err != nil {
			return nil, err
		}
		for _, sack := range ask {
			if shown[sack] = max(shown[sack], marks[sack].Offset); shown[sack] < need(sack) {
				return nil, ingest.ErrBehind
			}
		}
	}
	return shown, nil
}

// readsAtOnce is how many queries of one read run at the same time.
const readsAtOnce = 4

// readChunk reads some metrics.
func (d *Driver) readChunk(ctx context.Context, reads []*metricRead) error {
	var first []*metricRead // what has to be known of them before they are read
	now := time.Now().UnixNano()
	for _, r := range reads {
		r.expires = slices.ContainsFunc(r.queries, (*queryRead).expires)
		if r.expires && !(d.isWindowed(r) && r.isNear(now)) {
			first = append(first, r)
		}
	}
	if err := d.findNewest(ctx, first); err != nil {
		return err
	}
	reads = slices.DeleteFunc(reads, func(r *metricRead) bool { return !r.plan() })
	var windowed, raw []*metricRead
	for _, r := range reads {
		if d.isWindowed(r) {
			windowed = append(windowed, r)
		} else {
			raw = append(raw, r)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, some := range alike(windowed) {
		group.Go(func() error {
			left, err := d.readWindows(ctx, some)
			if err != nil || len(left) == 0 {
				return err
			}
			return d.readRaw(ctx, left)
		})
	}
	for _, some := range alike(raw) {
		group.Go(func() error {
			if err := d.findBefore(ctx, some); err != nil {
				return err
			}
			return d.readRaw(ctx, some)
		})
	}
	return group.Wait()
}

// findNewest finds the newest measure of metrics whose rows expire: what they still show is
// counted from there.
func (d *Driver) findNewest(ctx context.Context, expiring []*metricRead) error {
	newest := make(map[*metricRead]int64)
	err := d.points(ctx, expiring, "last", []string{"value"}, minTime, endTime, func(r *metricRead, p *point) error {
		newest[r] = p.time
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range expiring {
		at, found := newest[r]
		r.expire(at, found)
	}
	return nil
}

// findBefore finds the measure before what is read of each metric, where a method looks
// at differences.
func (d *Driver) findBefore(ctx context.Context, reads []*metricRead) error {
	var rated []*metricRead
	for _, r := range reads {
		if slices.ContainsFunc(r.queries, func(q *queryRead) bool { return q.Method.IsRate() }) {
			rated = append(rated, r)
		}
	}
	from := reads[0].from
	values, specials := make(map[*metricRead]point), make(map[*metricRead]point)
	err := d.points(ctx, rated, "last", bothFields, minTime, from, func(r *metricRead, p *point) error {
		if p.isValue {
			values[r] = *p
		} else {
			specials[r] = *p
		}
		return nil
	})
	for r, p := range values {
		special := specialNone
		if s := specials[r]; s.time == p.time {
			special = s.special
		}
		r.raw = append(r.raw, ingest.Measure{Time: p.time, Value: valueOf(p.value, special)})
	}
	return err
}

// readRaw reads the measures of some metrics and gives them to their queries.
func (d *Driver) readRaw(ctx context.Context, reads []*metricRead) error {
	err := d.points(ctx, reads, "", bothFields, reads[0].from, reads[0].to, func(r *metricRead, p *point) error {
		if p.isValue {
			return r.add(p)
		}
		return r.addSpecial(p)
	})
	if err != nil {
		return err
	}
	for _, r := range reads {
		r.aggregate(true)
	}
	return nil
}

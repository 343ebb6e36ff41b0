package influxdb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"millrace/ingest"
)

// A catalog knows which metrics the measurement of descriptions has, of each sack: a sack's
// new owner follows what those are called, too, whether they have measures again or not. It
// is read once for the sacks that a process has taken over since, and each takes its part.
type catalog struct {
	read func(ctx context.Context, visit func(ingest.MetricID)) error

	turn   chan struct{} // capacity 1: somebody takes, or reads
	readAt time.Time
	bySack [][]ingest.MetricID // nil: taken
}

// take returns the metrics of a sack that were described before a time, and some that were
// described after it.
func (c *catalog) take(ctx context.Context, sack ingest.Sack, sacks int, before time.Time) ([]ingest.MetricID, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done(): // a sack that is given back doesn't wait for another's answer
		return nil, ctx.Err()
	}
	defer func() { <-c.turn }()
	if c.bySack == nil || c.bySack[sack] == nil || c.readAt.Before(before) {
		now, bySack := time.Now(), make([][]ingest.MetricID, sacks)
		for i := range bySack {
			bySack[i] = []ingest.MetricID{}
		}
		err := c.read(ctx, func(id ingest.MetricID) {
			of := ingest.SackOf(id, sacks)
			bySack[of] = append(bySack[of], id)
		})
		if err != nil {
			return nil, err
		}
		c.readAt, c.bySack = now, bySack
	}
	list := c.bySack[sack]
	c.bySack[sack] = nil
	return list, nil
}

// readDescribed visits the metrics that have a description.
func (d *Driver) readDescribed(ctx context.Context, visit func(ingest.MetricID)) error {
	var flux strings.Builder
	d.from(&flux, minTime, endTime)
	fmt.Fprintf(&flux, ` |> filter(fn: (r) => r._measurement == %q) |> keep(columns: ["metric"]) |> group()`+
		` |> distinct(column: "metric") |> keep(columns: ["_value"])`, descriptions)
	err := d.query(ctx, flux.String(), func(r *row) error {
		id, err := ingest.ParseMetricID(r.text("_value"))
		if err == nil { // else it isn't ours
			visit(id)
		}
		return nil
	})
	if err != nil {
		return failed("read which metrics are described", err)
	}
	return nil
}

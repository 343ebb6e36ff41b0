package influxdb

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

// A watermark's point has a time of its own for every tenure and day. So one tenure
// overwrites nothing of another's, which may be further; and the bucket's retention takes
// no watermark that is still written.
const (
	day = 24 * time.Hour
	// nonceRange is what the times of a day's points are spread over.
	nonceRange = time.Hour
)

// newNonce chooses the nanosecond of the day at which a tenure writes.
func newNonce() int64 { return rand.Int64N(int64(nonceRange)) }

// dayOf is when the day of a time begins.
func dayOf(now time.Time) int64 { return ingest.Floor(now.UnixNano(), day) }

// writeWatermark writes a watermark as a point at a time.
func (d *Driver) writeWatermark(ctx context.Context, sack ingest.Sack, w *ingest.Watermark, at int64) error {
	mark, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("cannot encode the watermark of sack %d: %w", sack, err)
	}
	line := fmt.Appendf(nil, "%s,sack=%d offset=%di,sacks=%di,deployment=", watermarks, sack, w.Offset, d.config.Sacks)
	line = appendText(line, d.config.Deployment)
	line = appendText(append(line, ",mark="...), string(mark))
	line = strconv.AppendInt(append(line, ' '), at, 10)
	if err := d.writeLines(ctx, append(line, '\n')); err != nil {
		return failed(fmt.Sprintf("write the watermark of sack %d", sack), err)
	}
	d.moved(sack, w.Offset)
	return nil
}

// A State is how far a bucket has come, and whose it is.
type State struct {
	Deployment string // its id; "": nothing was ever flushed, or it was of no deployment
	Watermarks map[ingest.Sack]ingest.Watermark
}

// Look returns the state of a bucket, whoever it belongs to.
func (d *Driver) Look(ctx context.Context) (State, error) {
	if err := d.usable(ctx); err != nil {
		return State{}, err
	}
	sacks := make([]ingest.Sack, d.config.Sacks)
	for i := range sacks {
		sacks[i] = ingest.Sack(i)
	}
	return d.look(ctx, sacks)
}

// readWatermarks reads the greatest watermark of each sack that has one, of our deployment.
func (d *Driver) readWatermarks(ctx context.Context, sacks []ingest.Sack) (map[ingest.Sack]ingest.Watermark, error) {
	s, err := d.look(ctx, sacks)
	if err == nil && s.Deployment != "" && d.config.Deployment != "" && s.Deployment != d.config.Deployment {
		err = ingest.Permanent(fmt.Errorf("bucket %q belongs to deployment %s, not to %s", d.config.Bucket, s.Deployment,
			d.config.Deployment))
	}
	return s.Watermarks, err
}

func (d *Driver) look(ctx context.Context, sacks []ingest.Sack) (State, error) {
	var flux strings.Builder
	d.from(&flux, minTime, endTime)
	fmt.Fprintf(&flux, ` |> filter(fn: (r) => r._measurement == %q`, watermarks)
	if len(sacks) < d.config.Sacks {
		flux.WriteString(" and (")
		for i, sack := range sacks {
			if i > 0 {
				flux.WriteString(" or ")
			}
			fmt.Fprintf(&flux, `r.sack == "%d"`, sack)
		}
		flux.WriteByte(')')
	}
	flux.WriteString(`) |> keep(columns: ["_time", "_value", "_field", "sack"])` +
		` |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")` +
		` |> sort(columns: ["offset"], desc: true) |> limit(n: 1)`)
	state := State{Watermarks: make(map[ingest.Sack]ingest.Watermark)}
	found := state.Watermarks
	err := d.query(ctx, flux.String(), func(r *row) error {
		sack, err := strconv.Atoi(r.text("sack"))
		if err != nil {
			return fmt.Errorf("a watermark is of sack %q, which is no number", r.text("sack"))
		}
		if n := r.text("sacks"); n != strconv.Itoa(d.config.Sacks) {
			return ingest.Permanent(fmt.Errorf("bucket %q belongs to a deployment of %s sacks, not of %d", d.config.Bucket, n,
				d.config.Sacks))
		}
		if of := r.text("deployment"); of != "" {
			state.Deployment = of
		}
		var w ingest.Watermark
		if err := json.Unmarshal([]byte(r.text("mark")), &w); err != nil {
			return fmt.Errorf("%w: the watermark of sack %d: %w", ingest.ErrCorrupted, sack, err)
		}
		if slices.Contains(sacks, ingest.Sack(sack)) && w.Offset >= found[ingest.Sack(sack)].Offset {
			found[ingest.Sack(sack)] = w
		}
		return nil
	})
	if err != nil {
		return State{}, failed("read watermarks", err)
	}
	return state, nil
}

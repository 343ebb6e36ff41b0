package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"millrace/api/gnocchi"
)

// An oracle writes to metrics of its own and knows what must be there.
type oracle struct {
	random  *rand.Rand
	metrics []string
	clock   int64         // seconds: of the next measures
	acked   []int64       // seconds whose measures, of every metric, must be there, ascending
	maybe   []int64       // … may be there
	refused error         // an answer that no good batch gets
	from    int64         // clock when this cycle began
	pace    time.Duration // between batches; 0: none
	total   int
	unknown int
}

const (
	oracleMetrics = 4
	oracleStart   = 1_700_000_000
	maxBatch      = 200 // measures of each metric
)

func newOracles(t *testing.T, p *server, seed uint64) []*oracle {
	t.Helper()
	ctx := t.Context()
	policy := map[string]any{
		"name": "oracle", "definition": []any{map[string]any{"granularity": 1}, map[string]any{"granularity": 60}},
		"aggregation_methods": []string{"sum", "count", "last"},
	}
	if _, err := p.do(ctx, "POST", "/archive_policy", nil, policy, nil); err != nil {
		t.Fatal(err)
	}
	oracles := make([]*oracle, 4)
	for i := range oracles {
		o := &oracle{random: rand.New(rand.NewPCG(seed, uint64(i+1))), clock: oracleStart, from: oracleStart}
		for range oracleMetrics {
			var made struct{ ID string }
			if _, err := p.do(ctx, "POST", "/metric", nil, map[string]string{"archive_policy_name": "oracle"},
				&made); err != nil {
				t.Fatal(err)
			}
			o.metrics = append(o.metrics, made.ID)
		}
		oracles[i] = o
	}
	return oracles
}

// valueAt is the value of every metric's measure at a second: it tells which it is.
func valueAt(second int64) float64 { return float64(second % 100_003) }

// write sends batch after batch until the server is gone. A batch of unknown outcome
// is sent again by the next cycle, or given up.
func (o *oracle) write(ctx context.Context, c *client) {
	for ctx.Err() == nil {
		n := int64(1 + o.random.IntN(maxBatch))
		body := []byte{'{'}
		for i, id := range o.metrics {
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, "%q:[", id)
			for s := range n {
				if s > 0 {
					body = append(body, ',')
				}
				body = append(body, `{"timestamp":"`...)
				body = gnocchi.AppendTime(body, (o.clock+s)*1e9)
				body = fmt.Appendf(body, `","value":%v}`, valueAt(o.clock+s))
			}
			body = append(body, ']')
		}
		_, err := c.do(ctx, "POST", "/batch/metrics/measures", nil, append(body, '}'), nil)
		refused, answered := errors.AsType[*apiError](err)
		switch {
		case err == nil:
			for s := range n {
				o.acked = append(o.acked, o.clock+s)
			}
			o.total += int(n) * oracleMetrics
			o.clock += n
			time.Sleep(o.pace)
		case answered && refused.status != 503:
			o.refused = err
			return
		default: // the outcome is unknown
			o.unknown += int(n) * oracleMetrics
			if o.random.IntN(2) == 0 {
				for s := range n {
					o.maybe = append(o.maybe, o.clock+s)
				}
				o.clock += n
			} // else the same measures are sent again, perhaps fewer or more of them
			return
		}
	}
}

// verifyChunk is how many seconds of a series are read and compared at a time.
const verifyChunk = 6000

// verify compares what the server holds with what it must hold: of this cycle second
// by second, and if full, everything, in minutes as well.
func (o *oracle) verify(ctx context.Context, c *client, full bool) error {
	from := o.from
	if full {
		from = oracleStart
	}
	from -= from % 60                                    // so that no minute is cut in two
	for ; from < o.clock+maxBatch; from += verifyChunk { // beyond the clock is what is about to be sent again
		must, may := set(o.acked, from, from+verifyChunk), set(o.maybe, from, from+verifyChunk)
		for s := o.clock; s < o.clock+maxBatch; s++ {
			may[s] = true
		}
		for _, id := range o.metrics {
			if err := verifySeconds(ctx, c, id, from, must, may, full); err != nil {
				return fmt.Errorf("metric %s: %w", id, err)
			}
		}
	}
	o.from = o.clock
	return nil
}

// set returns those of an ascending list of seconds that are in a range.
func set(seconds []int64, from, to int64) map[int64]bool {
	first, _ := slices.BinarySearch(seconds, from)
	last, _ := slices.BinarySearch(seconds, to)
	in := make(map[int64]bool, last-first)
	for _, s := range seconds[first:last] {
		in[s] = true
	}
	return in
}

// verifySeconds compares one chunk of one metric. A batch of unknown outcome may arrive
// between the seconds and the minutes; then the seconds have changed, and it compares again.
func verifySeconds(ctx context.Context, c *client, id string, from int64, must, may map[int64]bool,
	minutes bool) error {
	const tries = 5
	for try := 1; ; try++ {
		got, err := compareSeconds(ctx, c, id, from, must, may)
		if err != nil || !minutes {
			return err
		}
		wrong := verifyMinutes(ctx, c, id, from, got)
		if wrong == nil {
			return nil
		}
		again, err := compareSeconds(ctx, c, id, from, must, may)
		if err != nil {
			return err
		}
		if try == tries || maps.Equal(got, again) {
			return wrong
		}
	}
}

// compareSeconds compares the seconds that are there with those that must and may be.
func compareSeconds(ctx context.Context, c *client, id string, from int64,
	must, may map[int64]bool) (map[int64]float64, error) {
	got, err := readChunk(ctx, c, id, "last", "1", from)
	if err != nil {
		return nil, err
	}
	for s := range must {
		if v, ok := got[s]; !ok || v != valueAt(s) {
			return nil, fmt.Errorf("acknowledged at %d: %v, got %v, %v (%d rows)", s, valueAt(s), v, ok, len(got))
		}
	}
	for s, v := range got {
		if !must[s] && !may[s] || v != valueAt(s) {
			return nil, fmt.Errorf("%v at %d was never sent", v, s)
		}
	}
	return got, nil
}

// verifyMinutes recomputes counts and sums of minutes from the seconds that are there.
func verifyMinutes(ctx context.Context, c *client, id string, from int64, seconds map[int64]float64) error {
	counts, sums := map[int64]float64{}, map[int64]float64{}
	for s, v := range seconds {
		counts[s-s%60]++
		sums[s-s%60] += v
	}
	for method, want := range map[string]map[int64]float64{"count": counts, "sum": sums} {
		got, err := readChunk(ctx, c, id, method, "60", from)
		if err != nil {
			return err
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("%s of the minutes from %d on: %v, want %v", method, from, got, want)
		}
	}
	return nil
}

// readChunk returns a chunk of a series by the second, once everything has been applied.
func readChunk(ctx context.Context, c *client, id, method, granularity string, from int64) (map[int64]float64, error) {
	query := url.Values{
		"aggregation": {method}, "granularity": {granularity}, "refresh": {"true"},
		"start": {strconv.FormatInt(from, 10)}, "stop": {strconv.FormatInt(from+verifyChunk, 10)},
	}
	for deadline := time.Now().Add(startTimeout); ; {
		var rows []row
		_, err := c.do(ctx, "GET", "/metric/"+id+"/measures", query, nil, &rows)
		if isStatus(err, 503) && time.Now().Before(deadline) {
			continue // still applying what the log holds
		}
		if err != nil {
			return nil, err
		}
		got := make(map[int64]float64, len(rows))
		for _, r := range rows {
			got[r.at.Unix()] = r.value
		}
		return got, nil
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"millrace/api/gnocchi"
)

// TestKill ends a loaded server at random moments, again and again, and holds it to
// the promise: what was acknowledged is there, once, with the right value; what
// was not is there or is not; and no start needs a hand. MILLRACE_TEST_KILL_CYCLES
// says how often (20).
func TestKill(t *testing.T) {
	cycles := 20
	if text := os.Getenv("MILLRACE_TEST_KILL_CYCLES"); text != "" {
		var err error
		if cycles, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	if text := os.Getenv("MILLRACE_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MILLRACE_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	settings := []string{"MILLRACE_WORKER_FLUSH_INTERVAL=50ms"}
	p := start(t, dir, settings...)
	oracles := newOracles(t, &p.server, seed)
	kills := map[string]int{}
	for cycle := range cycles {
		stop, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		for _, o := range oracles {
			writing.Go(func() { o.write(stop, p.client) })
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		how := "SIGKILL"
		if random.IntN(5) == 0 {
			how = "SIGTERM"
			if err := p.terminate(); err != nil {
				t.Fatalf("cycle %d: the server did not stop cleanly: %v\n%s", cycle, err, p.log)
			}
		} else {
			p.kill()
		}
		cancel()
		writing.Wait()
		if random.IntN(4) == 0 { // and while it starts
			how += " and at start"
			early := launch(t, dir, settings...)
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
			early.kill()
		}
		kills[how]++
		p = start(t, dir, settings...)
		full := cycle == cycles-1 || cycle%25 == 24
		for _, o := range oracles {
			if err := o.verify(t.Context(), p.client, full); err != nil {
				t.Fatalf("cycle %d, after %s: %v\n%s", cycle, how, err, p.log)
			}
		}
	}
	total, unknown := 0, 0
	for _, o := range oracles {
		total += o.total
		unknown += o.unknown
	}
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir}, "check"); code != 0 {
		t.Errorf("check: %s%s", out, errOut)
	}
	t.Logf("suite: ack oracle under kill -9: %d cycles (%v), %d measures acknowledged, %d of unknown outcome, all as promised", cycles, kills, total, unknown)
}

// An oracle writes to metrics of its own and knows what must be there.
type oracle struct {
	random  *rand.Rand
	metrics []string
	clock   int64   // seconds: of the next measures
	acked   []int64 // seconds whose measures, of every metric, must be there
	maybe   []int64 // … may be there
	from    int64   // clock when this cycle began
	total   int
	unknown int
}

const (
	oracleMetrics = 4
	oracleStart   = 1_700_000_000
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
			if _, err := p.do(ctx, "POST", "/metric", nil, map[string]string{"archive_policy_name": "oracle"}, &made); err != nil {
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
		n := int64(1 + o.random.IntN(200))
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
		case answered && refused.status != 503:
			panic(fmt.Sprintf("a good batch is refused: %v", err))
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

// verify compares what the server holds with what it must hold: of this cycle second
// by second, and if full, everything, in minutes as well.
func (o *oracle) verify(ctx context.Context, c *client, full bool) error {
	from := o.from
	if full {
		from = oracleStart
	}
	must, may := make(map[int64]bool), make(map[int64]bool)
	for _, s := range o.acked {
		must[s] = true
	}
	for _, s := range o.maybe {
		may[s] = true
	}
	for s := o.clock; s < o.clock+200; s++ {
		may[s] = true // what is about to be sent again
	}
	for _, id := range o.metrics {
		got, err := o.read(ctx, c, id, "last", "1", from)
		if err != nil {
			return err
		}
		for s := range must {
			if s >= from && got[s] != valueAt(s) {
				return fmt.Errorf("metric %s: acknowledged at %d: %v, got %v (%d rows)", id, s, valueAt(s), got[s], len(got))
			}
		}
		for s, v := range got {
			if !must[s] && !may[s] || v != valueAt(s) {
				return fmt.Errorf("metric %s: %v at %d was never sent", id, v, s)
			}
		}
		if full {
			if err := o.verifyMinutes(ctx, c, id, got); err != nil {
				return err
			}
		}
	}
	o.from = o.clock
	return nil
}

// verifyMinutes recomputes counts and sums of minutes from the seconds that are there.
func (o *oracle) verifyMinutes(ctx context.Context, c *client, id string, seconds map[int64]float64) error {
	counts, sums := map[int64]float64{}, map[int64]float64{}
	for s, v := range seconds {
		counts[s-s%60]++
		sums[s-s%60] += v
	}
	for method, want := range map[string]map[int64]float64{"count": counts, "sum": sums} {
		got, err := o.read(ctx, c, id, method, "60", oracleStart-60)
		if err != nil {
			return err
		}
		for m, v := range want {
			if got[m] != v {
				return fmt.Errorf("metric %s: %s of the minute at %d: %v, want %v", id, method, m, got[m], v)
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("metric %s: %d minutes, want %d", id, len(got), len(want))
		}
	}
	return nil
}

// read returns a series by the second, once everything has been applied.
func (o *oracle) read(ctx context.Context, c *client, id, method, granularity string, from int64) (map[int64]float64, error) {
	query := url.Values{
		"aggregation": {method}, "granularity": {granularity}, "refresh": {"true"},
		"start": {strconv.FormatInt(from, 10)},
	}
	for deadline := time.Now().Add(time.Minute); ; {
		var rows [][3]json.RawMessage
		_, err := c.do(ctx, "GET", "/metric/"+id+"/measures", query, nil, &rows)
		if isStatus(err, 503) && time.Now().Before(deadline) {
			continue // still applying what the log holds
		}
		if err != nil {
			return nil, err
		}
		got := make(map[int64]float64, len(rows))
		for _, row := range rows {
			var at time.Time
			var value float64
			if err := errors.Join(json.Unmarshal(row[0], &at), json.Unmarshal(row[2], &value)); err != nil {
				return nil, err
			}
			got[at.Unix()] = value
		}
		return got, nil
	}
}

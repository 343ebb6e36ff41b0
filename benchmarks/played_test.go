package benchmarks

import (
	"context"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/carbonara"
	"millrace/ingest"
)

const playedSacks = 16

// usualPolicies are low, medium and high as a deployment has them.
func usualPolicies() policies {
	const day = 24 * time.Hour
	keep := func(granularity, timespan time.Duration) ingest.Definition {
		return ingest.Definition{Granularity: granularity, Points: int64(timespan / granularity), Timespan: timespan}
	}
	second, minute, hour := keep(time.Second, time.Hour), keep(time.Minute, 7*day), keep(time.Hour, 365*day)
	all := policies{}
	for name, definitions := range map[string][]ingest.Definition{
		"low": {keep(5*time.Minute, 30*day)}, "medium": {minute, hour}, "high": {second, minute, hour},
	} {
		all[name] = &ingest.ArchivePolicy{Name: name, Definitions: definitions, Methods: ingest.DefaultMethods()}
	}
	return all
}

type policies map[string]*ingest.ArchivePolicy

func (p policies) Policy(_ context.Context, name string) (*ingest.ArchivePolicy, error) {
	if policy := p[name]; policy != nil {
		return policy, nil
	}
	return nil, ingest.ErrNoPolicy
}

// A played deployment is Carbonara on a store, and a clock that its player turns on: as the
// worker does, each sack is given records, flushed, and maintained after each flush. All
// ages (of seals, garbage, orphans, views) are told by that clock, so hours are played in
// as long as the work in them takes.
type played struct {
	driver  *carbonara.Driver
	writers []ingest.SackWriter
	offsets []ingest.Offset
	ids     [][]ingest.MetricID // of each sack
	policy  string
	start   time.Time
	elapsed atomic.Int64 // nanoseconds
	applied atomic.Int64 // measures
}

func play(t *testing.T, store carbonara.Store, policy string, metrics int) *played {
	t.Helper()
	p := &played{
		writers: make([]ingest.SackWriter, playedSacks), offsets: make([]ingest.Offset, playedSacks),
		ids: make([][]ingest.MetricID, playedSacks), policy: policy, start: time.Now().Truncate(time.Hour),
	}
	for range metrics {
		id := ingest.NewMetricID()
		sack := ingest.SackOf(id, playedSacks)
		p.ids[sack] = append(p.ids[sack], id)
	}
	var err error
	if p.driver, err = carbonara.New(t.Context(), store, usualPolicies(), playedSacks, p.config()); err != nil {
		t.Fatal(err)
	}
	for sack := range p.writers {
		if p.writers[sack], _, err = p.driver.Open(t.Context(), ingest.Sack(sack)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, w := range p.writers {
			_ = w.Close()
		}
		_ = p.driver.Close()
	})
	return p
}

func (p *played) now() time.Time { return p.start.Add(time.Duration(p.elapsed.Load())) }

func (p *played) config() carbonara.Config {
	return carbonara.Config{ViewTTL: time.Second, Now: p.now}
}

// eachSack does something with all sacks, several at once.
func eachSack(ctx context.Context, t *testing.T, do func(ctx context.Context, sack int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for sack := range playedSacks {
		group.Go(func() error { return do(ctx, sack) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// apply gives a sack measures of the metrics ids[from:to], times n, step apart, the first
// at a moment.
func (p *played) apply(ctx context.Context, sack, from, to int, at time.Time, n int, step time.Duration) error {
	if from == to || n == 0 {
		return nil
	}
	record := ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: p.now()}
	measures := make([]ingest.Measure, 0, n*(to-from))
	for i := from; i < to; i++ {
		for k := range n {
			when := at.Add(time.Duration(k) * step).UnixNano()
			measures = append(measures, ingest.Measure{Time: when, Value: playedValue(i, when)})
		}
		record.Entries = append(record.Entries,
			ingest.Entry{Metric: p.ids[sack][i], Policy: p.policy, Measures: measures[len(measures)-n:]})
	}
	_, err := p.writers[sack].Apply(ctx, []ingest.Delivery{{Offset: p.offsets[sack], Record: record}})
	p.offsets[sack]++
	p.applied.Add(int64(len(measures)))
	return err
}

// flush makes what a sack was given durable, and does its housekeeping.
func (p *played) flush(ctx context.Context, sack int) error {
	if _, err := p.writers[sack].Flush(ctx, ingest.Watermark{Offset: p.offsets[sack]}); err != nil {
		return err
	}
	return p.writers[sack].Maintain(ctx)
}

// minutes plays a time in which every metric has a measure a minute, evenly spread, and
// every sack is flushed every interval.
func (p *played) minutes(t *testing.T, long, interval time.Duration) {
	t.Helper()
	end := p.elapsed.Load() + int64(long)
	for p.elapsed.Load() < end {
		from := time.Duration(p.elapsed.Load()) % time.Minute
		at := p.now()
		p.elapsed.Add(int64(interval))
		eachSack(t.Context(), t, func(ctx context.Context, sack int) error {
			n := len(p.ids[sack])
			first, last := int(int64(n)*int64(from)/int64(time.Minute)), int(int64(n)*int64(from+interval)/int64(time.Minute))
			if err := p.apply(ctx, sack, first, last, at, 1, time.Minute); err != nil {
				return err
			}
			return p.flush(ctx, sack)
		})
	}
}

// playedValue is a measure of a metric: half are noisy gauges of two decimals, a quarter
// counters, a quarter constants.
func playedValue(metric int, when int64) float64 {
	switch metric % 4 {
	case 0:
		return float64(when / int64(time.Second) * 3)
	case 1:
		return float64(metric)
	}
	return math.Round(rand.NormFloat64()*1000+5000) / 100
}

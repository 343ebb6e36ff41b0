package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/drivers/carbonara"
	"millrace/drivers/naive"
	"millrace/ingest"
)

// Owners has several processes believe that they own the same sack, all at once: each opens it,
// applies the log from where it stands, flushes, merges and seals, until it is told that it owns it
// no more, and opens it again. Nothing that a flush has confirmed may be missing where the sack is
// opened next, and in the end the log must be there, once. Open gives each its own client of
// one empty store.
func Owners(t *testing.T, records int, open func() carbonara.Store) {
	f := &fight{log: fightLog(records)}
	var running sync.WaitGroup
	drivers := make([]*carbonara.Driver, 3)
	for i := range drivers {
		d, err := carbonara.New(t.Context(), open(), crashPolicy(), 1, carbonara.Config{SealRows: 200, MergeWidth: 2})
		if err != nil {
			t.Fatal(err)
		}
		drivers[i] = d
	}
	for i, d := range drivers {
		running.Go(func() { f.own(t, d, rand.New(rand.NewPCG(uint64(records), uint64(i)))) })
	}
	running.Wait()
	if t.Failed() {
		return
	}
	if f.fenced.Load() == 0 {
		t.Error("nobody was ever told that another owns the sack")
	}
	oracle := naive.New(crashPolicy())
	judge, _, err := oracle.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge.Apply(t.Context(), f.log); err != nil {
		t.Fatal(err)
	}
	if _, err := judge.Flush(t.Context(), ingest.Watermark{Offset: ingest.Offset(records)}); err != nil {
		t.Fatal(err)
	}
	for _, d := range drivers {
		same(t, d, oracle)
	}
	sound(t, open())
	t.Logf("suite: %d owners of one sack at once: opened %d times, %d flushes, told %d times that it is another's",
		len(drivers), f.opened.Load(), f.flushed.Load(), f.fenced.Load())
}

// fightLog is measures of three metrics, each of which is a second after the one before, or a
// few seconds late.
func fightLog(records int) []ingest.Delivery {
	random := rand.New(rand.NewPCG(1, uint64(records)))
	log := make([]ingest.Delivery, records)
	for i := range log {
		r := ingest.Record{Kind: ingest.RecordMeasures}
		for m := range uint64(3) {
			e := ingest.Entry{Metric: metric(m), Policy: "crash"}
			for k := range 4 {
				at := int64(1000 + 4*i + k - random.IntN(3)*random.IntN(8))
				e.Measures = append(e.Measures, ingest.Measure{Time: at * 1e9, Value: float64(random.IntN(100))})
			}
			r.Entries = append(r.Entries, e)
		}
		log[i] = ingest.Delivery{Offset: ingest.Offset(i), Record: r}
	}
	return log
}

// A fight is one for a sack.
type fight struct {
	log                     []ingest.Delivery
	confirmed               atomic.Int64 // the highest watermark that a flush has confirmed
	opened, flushed, fenced atomic.Int64
}

// own opens the sack again and again, until all of the log is flushed.
func (f *fight) own(t *testing.T, d *carbonara.Driver, random *rand.Rand) {
	ctx := t.Context()
	for ctx.Err() == nil && !t.Failed() {
		confirmed := f.confirmed.Load()
		w, stored, err := d.Open(ctx, 0)
		if err != nil {
			f.lost(t, err)
			continue
		}
		f.opened.Add(1)
		if int64(stored.Offset) < confirmed {
			t.Errorf("the sack opens at %d, and %d had been confirmed", stored.Offset, confirmed)
		}
		err = f.work(ctx, w, stored.Offset, random)
		_ = w.Close()
		if err == nil {
			return
		}
		f.lost(t, err)
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // else nobody would come to anything
	}
}

// lost wants an error to be one that another owner can make.
func (f *fight) lost(t *testing.T, err error) {
	switch {
	case errors.Is(err, ingest.ErrFenced):
		f.fenced.Add(1)
	case errors.Is(err, carbonara.ErrChanged): // while it was opened
	default:
		t.Errorf("an owner failed: %v", err)
	}
}

func (f *fight) work(ctx context.Context, w ingest.SackWriter, at ingest.Offset, random *rand.Rand) error {
	for n := 0; int(at) < len(f.log); n++ {
		next := min(at+1+ingest.Offset(random.IntN(6)), ingest.Offset(len(f.log)))
		if _, err := w.Apply(ctx, f.log[at:next]); err != nil {
			return err
		}
		if _, err := w.Flush(ctx, ingest.Watermark{Offset: next}); err != nil {
			return err
		}
		at = next
		f.flushed.Add(1)
		for { // the highest of all
			was := f.confirmed.Load()
			if int64(at) <= was || f.confirmed.CompareAndSwap(was, int64(at)) {
				break
			}
		}
		if n%3 == 2 {
			if err := w.Maintain(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

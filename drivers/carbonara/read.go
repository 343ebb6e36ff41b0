package carbonara

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
)

// Read answers queries; see ingest.Driver.
func (d *Driver) Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure,
	at ingest.Position) (ingest.Position, error) {
	if err := d.usable(ctx); err != nil {
		return nil, err
	}
	for i := range queries {
		q := &queries[i]
		if _, ok := q.Policy.Find(q.Granularity); !ok || !q.Policy.Methods.Has(q.Method) {
			return nil, ingest.Permanent(fmt.Errorf("archive policy %q has no %s at granularity %s", q.Policy.Name, q.Method,
				q.Granularity))
		}
	}
	groups := d.bySack(len(queries), func(i int) ingest.MetricID { return queries[i].Metric })
	shown := make(ingest.Position, d.sacks)
	work := func(ctx context.Context, sack ingest.Sack, list []int) error {
		need := ingest.Offset(0)
		if int(sack) < len(at) {
			need = at[sack]
		}
		r := newSackRead(queries, list)
		var err error
		shown[sack], err = d.withState(ctx, sack, need, r.metrics, func(s *state) error { return r.answer(ctx, s, dst) })
		return err
	}
	if len(groups) == 1 {
		for sack, list := range groups {
			return shown, work(ctx, sack, list)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for sack, list := range groups {
		group.Go(func() error { return work(ctx, sack, list) })
	}
	return shown, group.Wait()
}

// A state is what a read sees of a sack: a manifest, and in the process of its owner
// the open table too, both of one moment.
type state struct {
	*view
	position ingest.Offset
	live     bool
	// Where live, of each metric asked for:
	buffered [][]ingest.Measure // in the order of the log: not sorted
	newest   []int64            // MinTime when there is none
	late     []uint64
	gone     []bool // deleted
}

// stateTries bounds how often a reader starts again.
const stateTries = 3

// withState calls read with the sack as it is now, and again with a newer state when
// a segment has been collected meanwhile, or seems to be damaged. It returns the
// position shown.
func (d *Driver) withState(ctx context.Context, sack ingest.Sack, need ingest.Offset, metrics []ingest.MetricID,
	read func(s *state) error) (ingest.Offset, error) {
	for try := 1; ; try++ {
		s, err := d.state(ctx, sack, need, metrics)
		if err == nil && s.position < need {
			return 0, fmt.Errorf("sack %d is at %d, and %d is asked for: %w", sack, s.position, need, ingest.ErrBehind)
		}
		if err == nil {
			if err = read(s); err == nil {
				return s.position, nil
			}
		}
		if again, verdict := d.met(sack, err, try == stateTries); !again {
			return 0, verdict
		}
	}
}

// state returns what a read of metrics, which ascend, may see of a sack now.
func (d *Driver) state(ctx context.Context, sack ingest.Sack, need ingest.Offset, metrics []ingest.MetricID) (*state,
	error) {
	slot := &d.views[sack]
	if w := slot.writer.Load(); w != nil {
		if s := w.snapshot(ctx, metrics); s != nil {
			return s, nil
		}
	}
	v, err := d.view(ctx, sack)
	if err == nil && v.manifest.Applied.Offset < need {
		slot.expire()
		v, err = d.view(ctx, sack)
	}
	if err != nil {
		return nil, err
	}
	return &state{view: v, position: v.manifest.Applied.Offset}, nil
}

// expire makes the next reader look at the store.
func (s *viewSlot) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = time.Time{}
}

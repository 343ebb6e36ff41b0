package carbonara

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A viewSlot is what a driver remembers of one sack.
type viewSlot struct {
	writer atomic.Pointer[writer] // who owns the sack in this process; nil when nobody does

	mu     sync.Mutex
	last   *view
	looked time.Time // when the request began that has shown last
	flight *look
}

// A look is a request for a manifest, for which several may wait.
type look struct {
	began time.Time
	done  chan struct{}
	view  *view
	err   error
}

// A view is one state of a sack, for reading.
type view struct {
	driver   *Driver
	sack     ingest.Sack
	version  Version
	manifest *manifest
	raw      []entry
	state    []entry
	sealed   []entry
	deleted  map[ingest.MetricID]bool
}

func (d *Driver) newView(sack ingest.Sack, version Version, m *manifest) *view {
	return &view{
		driver: d, sack: sack, version: version, manifest: m,
		raw: m.of(segment.Raw), state: m.of(segment.State), sealed: m.of(segment.Sealed), deleted: m.deleted(),
	}
}

// view returns the sack as it is on the store, or was not longer than ViewTTL ago. The
// manifest is read when it has changed.
func (d *Driver) view(ctx context.Context, sack ingest.Sack) (*view, error) {
	slot := &d.views[sack]
	for {
		began := d.config.Now()
		slot.mu.Lock()
		if age := began.Sub(slot.looked); slot.last != nil && age >= 0 && age < d.config.ViewTTL {
			defer slot.mu.Unlock()
			return slot.last, nil
		}
		l := slot.flight
		if l == nil {
			l = &look{began: began, done: make(chan struct{})}
			slot.flight = l
			last := slot.last
			slot.mu.Unlock()
			l.view, l.err = d.look(ctx, sack, last)
			slot.mu.Lock()
			if l.err == nil {
				slot.last, slot.looked = l.view, l.began
			}
			slot.flight = nil
			slot.mu.Unlock()
			close(l.done)
			return l.view, l.err
		}
		slot.mu.Unlock()
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// What began before this call may not show what had happened before it.
		if age := began.Sub(l.began); l.err == nil && age >= 0 && age < d.config.ViewTTL {
			return l.view, nil
		}
	}
}

// look reads the manifest, unless it is that of the last view.
func (d *Driver) look(ctx context.Context, sack ingest.Sack, last *view) (*view, error) {
	unless := Version("")
	if last != nil {
		unless = last.version
	}
	m, version, err := readManifest(ctx, d.store, sack, unless)
	if errors.Is(err, ErrUnchanged) {
		return last, nil
	}
	if err != nil {
		return nil, err
	}
	return d.newView(sack, version, m), nil
}

// lates finds the late counts of the metrics that group names.
func (v *view) lates(ctx context.Context, metrics []ingest.MetricID, group []int, late []uint64) error {
	at := make(map[ingest.MetricID][]int, len(group))
	for _, i := range group {
		late[i] = 0
		if !v.deleted[metrics[i]] {
			at[metrics[i]] = append(at[metrics[i]], i)
		}
	}
	ids := sortedMetrics(at)
	var mu sync.Mutex
	note := func(id ingest.MetricID, count uint64) {
		mu.Lock()
		defer mu.Unlock()
		for _, j := range at[id] {
			late[j] = max(late[j], count)
		}
	}
	fan := v.driver.newFan(ctx)
	for i := range v.state {
		seg := &v.state[i]
		within := heldBy(ids, seg)
		if len(within) == 0 {
			continue
		}
		fan.do(func(ctx context.Context) error {
			f, err := v.driver.files.open(ctx, v.sack, seg)
			if err == nil {
				err = f.FindState(ctx, within, func(i int, row segment.StateRow) error {
					note(within[i], row.Late)
					return nil
				})
			}
			return judgeError(ctx, v.sack, seg, err)
		})
	}
	for i := range v.raw {
		seg := &v.raw[i]
		fan.do(func(ctx context.Context) error {
			f, err := v.driver.files.open(ctx, v.sack, seg)
			if err == nil {
				var totals []segment.LateTotal
				totals, err = f.Lates()
				for _, l := range totals {
					note(l.Metric, l.Late)
				}
			}
			return judgeError(ctx, v.sack, seg, err)
		})
	}
	return fan.wait()
}

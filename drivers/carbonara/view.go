package carbonara

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A viewSlot is what a driver remembers of one sack's manifest.
type viewSlot struct {
	owned atomic.Pointer[manifest] // as committed by a writer of this process; for Stats

	mu   sync.Mutex
	last *view
}

// replace puts a writer's next manifest, or nil, in the place of its last one; not
// in that of another writer, who has opened the sack since.
func (s *viewSlot) replace(last, next *manifest) { s.owned.CompareAndSwap(last, next) }

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

// view returns the sack as it is now: the manifest is read each time, and decoded
// when it has changed.
func (d *Driver) view(ctx context.Context, sack ingest.Sack) (*view, error) {
	slot := &d.views[sack]
	name := manifestName(sack)
	got, err := d.store.Read(ctx, name, "", nil)
	if errors.Is(err, ErrNotFound) {
		return &view{driver: d, sack: sack, manifest: &manifest{Format: layoutVersion}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	slot.mu.Lock()
	last := slot.last
	slot.mu.Unlock()
	if last != nil && last.version == got.Version {
		return last, nil
	}
	m, err := decodeManifest(got.Data[0])
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	v := &view{
		driver: d, sack: sack, version: got.Version, manifest: m,
		raw: m.of(segment.Raw), state: m.of(segment.State), sealed: m.of(segment.Sealed), deleted: m.deleted(),
	}
	slot.mu.Lock()
	if slot.last == nil || slot.last.manifest.Version < m.Version {
		slot.last = v
	}
	slot.mu.Unlock()
	return v, nil
}

// viewTries bounds how often a reader starts again because a segment that its
// manifest names has been collected meanwhile.
const viewTries = 3

// withView calls read with the sack as it is now, and again with a newer view
// when a segment has gone meanwhile.
func (d *Driver) withView(ctx context.Context, sack ingest.Sack, read func(v *view) error) error {
	for try := 1; ; try++ {
		v, err := d.view(ctx, sack)
		if err != nil {
			return err
		}
		err = read(v)
		if err == nil || !errors.Is(err, ErrNotFound) || try == viewTries {
			return err
		}
	}
}

// late finds the late counts of the metrics that group names.
func (v *view) late(ctx context.Context, metrics []ingest.MetricID, group []int, late []uint64) error {
	at := make(map[ingest.MetricID][]int, len(group))
	for _, i := range group {
		if !v.deleted[metrics[i]] {
			at[metrics[i]] = append(at[metrics[i]], i)
		}
	}
	ids := sortedMetrics(at)
	for _, seg := range v.state {
		f, err := v.driver.files.open(ctx, v.sack, seg)
		if err != nil {
			return err
		}
		within := heldBy(ids, &seg)
		err = f.FindState(ctx, within, func(i int, row segment.StateRow) error {
			for _, j := range at[within[i]] {
				late[j] = max(late[j], row.Late)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, seg := range v.raw {
		f, err := v.driver.files.open(ctx, v.sack, seg)
		if err != nil {
			return err
		}
		totals, err := f.Lates()
		if err != nil {
			return err
		}
		for _, l := range totals {
			for _, j := range at[l.Metric] {
				late[j] = max(late[j], l.Late)
			}
		}
	}
	return nil
}

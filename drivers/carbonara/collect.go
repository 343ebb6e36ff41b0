package carbonara

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/ingest"
)

// purgeEvery is how often deleted metrics are looked for in old segments.
const purgeEvery = time.Hour

// collect deletes replaced segments that no reader can still need, and now and
// then the objects that nothing names: what a crash, or a flush that was tried
// twice, left behind.
func (w *writer) collect(ctx context.Context) error {
	c := &w.driver.config
	now := c.now()
	names := w.due(now)
	if err := w.delete(ctx, names); err != nil {
		return err
	}
	if len(names) > 0 {
		w.mu.Lock()
		w.collected = append(w.collected, names...)
		many := len(w.collected) > maxCollected
		w.mu.Unlock()
		if many { // a sack that is not written to would keep the names for ever
			if err := w.commit(ctx, func(*manifest) error { return nil }, nil); err != nil {
				return err
			}
		}
	}
	if w.collectors.opened.IsZero() {
		w.collectors.opened = now
	}
	// A little later than others: what they were doing when they were fenced is old then.
	if now.Sub(w.collectors.opened) < c.Grace || now.Sub(w.collectors.collected) < c.CollectEach {
		return nil
	}
	w.collectors.collected = now
	return w.collectOrphans(ctx)
}

// due lists the garbage that is old enough and has not been deleted yet.
func (w *writer) due(now time.Time) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, g := range w.manifest.Garbage {
		if now.Sub(g.Since) >= w.driver.config.Grace && !slices.Contains(w.collected, g.Name) {
			names = append(names, g.Name)
		}
	}
	return names
}

// maxCollected is how many deleted names may wait in the manifest for the next
// change of it.
const maxCollected = 100

// dropCollected takes garbage that has been deleted off a manifest.
func (w *writer) dropCollected(m *manifest) {
	w.mu.Lock()
	gone := w.collected
	w.collected = nil
	w.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	set := make(map[string]bool, len(gone))
	for _, name := range gone {
		set[name] = true
	}
	m.Garbage = slices.DeleteFunc(m.Garbage, func(g garbage) bool { return set[g.Name] })
}

func (w *writer) delete(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = sackPrefix(w.sack) + name
	}
	w.driver.files.forget(full)
	if err := w.driver.store.Delete(ctx, full); err != nil {
		return fmt.Errorf("cannot delete %d segments of sack %d that are no longer used: %w", len(names), w.sack, err)
	}
	w.driver.stats.garbage.Add(uint64(len(names)))
	return nil
}

// collectOrphans deletes old objects of the sack that the manifest doesn't name. Only
// the owner of the present epoch may: it alone knows what is about to be named. That
// it is the owner is seen after the list was made, so nothing in the list is a later
// owner's. (Their age is a second line of defence only: clocks differ.)
func (w *writer) collectOrphans(ctx context.Context) error {
	objects, err := w.driver.store.List(ctx, sackPrefix(w.sack))
	if err != nil {
		return fmt.Errorf("cannot list sack %d: %w", w.sack, err)
	}
	stored, _, err := readManifest(ctx, w.driver.store, w.sack)
	if err != nil {
		return err
	}
	w.mu.Lock()
	m, flushing := w.manifest, slices.Clone(w.flushing)
	w.mu.Unlock()
	if stored.Epoch != m.Epoch {
		return fmt.Errorf("sack %d is at epoch %d, ours is %d: %w", w.sack, stored.Epoch, m.Epoch, ingest.ErrFenced)
	}
	named := m.names()
	maps.Copy(named, stored.names())
	for _, name := range flushing {
		named[name] = true
	}
	now := w.driver.config.now()
	var orphans []string
	for _, o := range objects {
		name := strings.TrimPrefix(o.Name, sackPrefix(w.sack))
		if strings.HasSuffix(name, ".parquet") && !named[name] && now.Sub(o.Modified) >= w.driver.config.Grace {
			orphans = append(orphans, name)
		}
	}
	if err := w.delete(ctx, orphans); err != nil {
		return err
	}
	w.driver.stats.orphans.Add(uint64(len(orphans)))
	return nil
}

// purge makes deleted metrics disappear from segments that no merge has rewritten
// since, and then forgets their tombstones.
func (w *writer) purge(ctx context.Context, m *manifest) (did bool, err error) {
	c := &w.driver.config
	now := c.now()
	if now.Sub(w.collectors.purged) < min(purgeEvery, c.Tombstone) {
		return false, nil
	}
	due := make(map[ingest.MetricID]tombstone)
	for _, t := range m.Tombstones {
		if now.Sub(t.At) >= c.Tombstone {
			due[t.Metric] = t
		}
	}
	w.collectors.purged = now
	if len(due) == 0 {
		return false, nil
	}
	if w.isAside(m.Segments) {
		return false, nil
	}
	for _, s := range m.of(kindSealed) {
		holds, err := w.holds(ctx, &s, due)
		if err != nil {
			return false, err
		}
		if holds {
			if err := w.mergeSealed(ctx, []segment{s}, s.Level); err != nil {
				return false, err
			}
		}
	}
	if err := w.sealNow(ctx); err != nil { // rewrites all raw and state segments without them
		return false, err
	}
	return true, w.commit(ctx, func(m *manifest) error {
		m.Tombstones = slices.DeleteFunc(m.Tombstones, func(t tombstone) bool { _, ok := due[t.Metric]; return ok })
		return nil
	}, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for id := range due {
			delete(w.deleted, id)
		}
	})
}

// holds says whether a sealed segment has rows of any of the metrics.
func (w *writer) holds(ctx context.Context, seg *segment, metrics map[ingest.MetricID]tombstone) (bool, error) {
	f, err := w.open(ctx, *seg)
	if err != nil {
		return false, err
	}
	var wants []sealedWant
	for _, id := range heldBy(sortedMetrics(metrics), seg) {
		p, err := w.driver.policies.Policy(ctx, metrics[id].Policy)
		if err != nil {
			return true, nil // its granularities are not known: rewrite to be sure
		}
		gs := p.Granularities()
		slices.Reverse(gs)
		for _, g := range gs {
			for _, method := range p.Methods.List() {
				wants = append(wants, sealedWant{id, g, method, ingest.MinTime, ingest.MaxTime})
			}
		}
	}
	if len(wants) == 0 {
		return false, nil
	}
	found := false
	err = f.findSealed(ctx, wants, func(int, []ingest.Measure) error { found = true; return nil })
	return found, err
}

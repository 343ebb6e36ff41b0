package carbonara

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// collect deletes replaced segments that no reader can still need, and now and
// then the objects that nothing names: what a crash, or a flush that was tried
// twice, left behind.
func (w *writer) collect(ctx context.Context) error {
	c := &w.driver.config
	now := c.Now()
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
		if now.Sub(g.Since) >= w.driver.garbage && !slices.Contains(w.collected, g.Name) {
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
	w.driver.damaged.forget(full...)
	for batch := range slices.Chunk(full, max(1, w.driver.store.Traits().DeleteBatch)) {
		if err := w.confirm(ctx); err != nil {
			return err
		}
		if err := w.driver.store.Delete(ctx, batch); err != nil {
			return fmt.Errorf("cannot delete %d segments of sack %d that are no longer used: %w", len(batch), w.sack, err)
		}
		w.driver.stats.garbage.Add(uint64(len(batch)))
	}
	return nil
}

// collectOrphans deletes old objects of the sack that the manifest doesn't name. Only
// the owner may: it alone knows what is about to be named. That it is the owner is
// seen after the list was made, so nothing in the list is a later owner's. (Their age
// is a second line of defence only: clocks differ.)
func (w *writer) collectOrphans(ctx context.Context) error {
	objects, err := w.driver.store.List(ctx, sackPrefix(w.sack))
	if err != nil {
		return fmt.Errorf("cannot list sack %d: %w", w.sack, err)
	}
	if err := w.confirm(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	named, unnamed := w.manifest.names(), maps.Clone(w.unnamed)
	w.mu.Unlock()
	now := w.driver.config.Now()
	var orphans []string
	for _, o := range objects {
		name := strings.TrimPrefix(o.Name, sackPrefix(w.sack))
		if strings.HasSuffix(name, segmentSuffix) && !named[name] && !unnamed[o.Name] &&
			now.Sub(o.Modified) >= w.driver.config.Grace {
			orphans = append(orphans, name)
		}
	}
	if err := w.delete(ctx, orphans); err != nil {
		return err
	}
	w.driver.stats.orphans.Add(uint64(len(orphans)))
	return nil
}

package carbonara

import (
	"context"
	"errors"
	"slices"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// purgeEvery is how often deleted metrics are looked for in old segments.
const purgeEvery = time.Hour

// maxTombstones is how many deleted metrics are remembered for as long as the
// configuration says. The oldest of more are forgotten after a part of that: every
// flush writes their ids.
const (
	maxTombstones  = 10_000
	tombstoneParts = 24
)

// purge makes deleted metrics disappear from segments that no merge has rewritten
// since, and then forgets their tombstones.
func (w *writer) purge(ctx context.Context) (did bool, err error) {
	now := w.driver.config.Now()
	if now.Sub(w.collectors.purged) < min(purgeEvery, w.driver.config.Tombstone) {
		return false, nil
	}
	w.collectors.purged = now
	w.choosing.Lock()
	m := w.current()
	due := w.dueTombstones(m, now)
	if due == 0 || w.isAside(m.Segments) {
		w.choosing.Unlock()
		return false, nil
	}
	w.alone = true // no merge beside it
	w.choosing.Unlock()
	defer func() {
		w.choosing.Lock()
		defer w.choosing.Unlock()
		w.alone = false
	}()
	known := make(map[ingest.MetricID]string) // the archive policies of those of which there was something
	for _, t := range m.Tombstones[:due] {
		if t.Policy != "" {
			for _, id := range t.Metrics {
				known[id] = t.Policy
			}
		}
	}
	if len(known) > 0 {
		if err := w.rewriteWithout(ctx, m, known); err != nil {
			return false, err
		}
	}
	return true, w.commit(ctx, func(m *manifest) error {
		m.Tombstones = m.Tombstones[due:] // none but purge takes any away
		return nil
	}, func() {
		for _, t := range m.Tombstones[:due] {
			for _, id := range t.Metrics {
				delete(w.deleted, id)
			}
		}
	})
}

// dueTombstones counts the tombstones, from the oldest, that have stood long enough.
func (w *writer) dueTombstones(m *manifest, now time.Time) (due int) {
	metrics := 0
	for _, t := range m.Tombstones {
		metrics += len(t.Metrics)
	}
	for _, t := range m.Tombstones {
		age, enough := now.Sub(t.At), w.driver.config.Tombstone
		if metrics > maxTombstones {
			enough /= tombstoneParts
		}
		if age < enough {
			break
		}
		metrics -= len(t.Metrics)
		due++
	}
	return due
}

// rewriteWithout rewrites all segments that may hold metrics, without what is deleted.
func (w *writer) rewriteWithout(ctx context.Context, m *manifest, metrics map[ingest.MetricID]string) error {
	ids := sortedMetrics(metrics)
	for _, s := range m.of(segment.Sealed) {
		holds, err := w.holds(ctx, &s, heldBy(ids, &s), metrics)
		if err != nil {
			return err
		}
		if holds {
			if err := w.mergeSealed(ctx, []entry{s}, s.Level); err != nil {
				return err
			}
		}
	}
	return w.sealNow(ctx, w.current()) // which rewrites all raw and state segments
}

// worthLooking is how many metrics are looked up in a segment before it is rewritten.
const worthLooking = 256

// holds says whether a sealed segment has rows of any of the metrics, or may have.
func (w *writer) holds(ctx context.Context, seg *entry, ids []ingest.MetricID,
	policies map[ingest.MetricID]string) (bool, error) {
	if len(ids) == 0 || len(ids) > worthLooking {
		return len(ids) > 0, nil
	}
	f, err := w.open(ctx, *seg)
	if err != nil {
		return false, err
	}
	var wants []segment.Want
	for _, id := range ids {
		p, err := w.driver.policies.Policy(ctx, policies[id])
		if errors.Is(err, ingest.ErrNoPolicy) {
			return true, nil // its granularities are not known
		}
		if err != nil {
			return false, err
		}
		gs := p.Granularities()
		slices.Reverse(gs)
		for _, g := range gs {
			for _, method := range p.Methods.List() {
				wants = append(wants, segment.Want{
					Metric: id, Granularity: g, Method: method, From: ingest.MinTime, To: ingest.MaxTime,
				})
			}
		}
	}
	found := false
	err = f.FindSealed(ctx, wants, func(int, []ingest.Measure) error { found = true; return nil })
	if err != nil {
		return false, &segmentError{seg.Name, err}
	}
	return found, nil
}

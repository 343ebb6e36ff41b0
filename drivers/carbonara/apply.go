package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// Apply judges records and buffers their measures; see ingest.SackWriter.
func (w *writer) Apply(ctx context.Context, records []ingest.Delivery) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	// A flush whose outcome is unknown speaks of the buffer as it was.
	if err := w.settle(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.resolved)
	var rejects []ingest.Reject
	for i := range records {
		d := &records[i]
		if d.Offset < w.next {
			continue
		}
		if d.Err == nil {
			var err error
			switch d.Record.Kind {
			case ingest.RecordMeasures:
				rejects, err = w.judge(ctx, d, rejects)
			case ingest.RecordDelete:
				w.bury(d)
			}
			if err != nil {
				return nil, err
			}
		}
		w.next = d.Offset + 1
	}
	return rejects, nil
}

// A bump is what a record does to a metric's newest timestamp, once all of it has
// been judged.
type bump struct {
	metric uint32
	newest int64
}

// judge buffers what is in time of a record: everything is judged against the
// state before the record, also where a metric has several entries in it.
func (w *writer) judge(ctx context.Context, d *ingest.Delivery, rejects []ingest.Reject) ([]ingest.Reject, error) {
	w.bumps = w.bumps[:0]
	name, policy := "", uint32(0)
	for i := range d.Record.Entries {
		e := &d.Record.Entries[i]
		if i == 0 || e.Policy != name {
			name = e.Policy
			policy = w.table.rules(name)
		}
		rules, err := w.resolve(ctx, policy)
		if err != nil {
			return nil, err
		}
		if rules.policy == nil {
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i, Reason: fmt.Sprintf("archive policy %q does not exist", name)})
			continue
		}
		if len(e.Measures) == 0 || w.deleted[e.Metric] {
			continue
		}
		at := w.table.place(e.Metric)
		s := &w.table.metrics[at]
		s.policy = policy
		horizon := max(rules.horizon(s.newest), s.sealed)
		newest, late := int64(ingest.MinTime), 0
		for _, m := range e.Measures {
			if m.Time < horizon {
				late++
				continue
			}
			newest = max(newest, m.Time)
			w.table.add(at, m)
		}
		if late > 0 {
			w.table.count(at, late)
			w.driver.stats.late.Add(uint64(late))
		}
		if late < len(e.Measures) {
			w.bumps = append(w.bumps, bump{at, newest})
		}
		w.table.flushed += int64(len(e.Measures) - late)
	}
	for _, b := range w.bumps {
		s := &w.table.metrics[b.metric]
		s.newest = max(s.newest, b.newest)
	}
	return rejects, nil
}

// resolve asks the index once per Apply for a policy as it is now.
func (w *writer) resolve(ctx context.Context, policy uint32) (*policyRules, error) {
	rules := w.table.policies[policy]
	for int(policy) >= len(w.resolved) {
		w.resolved = append(w.resolved, false)
	}
	if w.resolved[policy] {
		return rules, nil
	}
	p, err := w.driver.policies.Policy(ctx, rules.name)
	if errors.Is(err, ingest.ErrNoPolicy) {
		p, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up archive policy %q: %w", rules.name, err)
	}
	rules.set(p)
	w.resolved[policy] = true
	return rules, nil
}

// bury forgets a metric and keeps it dead: measures that were accepted before
// everybody knew must not bring it back.
func (w *writer) bury(d *ingest.Delivery) {
	id := d.Record.Metric
	policy, _ := w.table.forget(id)
	if w.deleted[id] {
		return
	}
	w.deleted[id] = true
	i := slices.IndexFunc(w.buried, func(t tombstone) bool { return t.Policy == policy })
	if i < 0 {
		i = len(w.buried)
		w.buried = append(w.buried, tombstone{At: w.driver.config.now().UTC(), Policy: policy})
	}
	w.buried[i].Metrics = append(w.buried[i].Metrics, id)
	w.buriedCount++
}

// Buffered says how many bytes await the next Flush, roughly.
func (w *writer) Buffered() int64 {
	w.mu.Lock() // Maintain may find out that the last flush has happened, or that we are fenced
	defer w.mu.Unlock()
	return int64(len(w.table.buffer))*bufferedSize + int64(len(w.table.counted)+w.buriedCount)*bufferedSize
}

// protect keeps a segment that a flush is about to write from being collected as an
// orphan before a manifest names it.
func (w *writer) protect(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushing = append(w.flushing, name)
}

// encodeBuffer writes the buffer into raw segments, cut by metric where they
// would be larger than the store takes.
func (w *writer) encodeBuffer(ctx context.Context) ([]entry, error) {
	w.mu.Lock()
	t, from := w.table, w.manifest.Applied.Offset
	w.flushing = nil
	w.mu.Unlock()
	if len(t.touched) == 0 && len(t.counted) == 0 {
		return nil, nil
	}
	enc := w.driver.rawEncoder()
	out := w.newSink(enc, entry{Info: segment.Info{Kind: segment.Raw}, From: from, To: w.next})
	out.naming = w.protect
	enc.Late(t.lateTotals())
	for _, touched := range t.ordered() {
		w.scratch = t.run(touched.metric, w.scratch)
		s := &t.metrics[touched.metric]
		if err := out.addRaw(ctx, segment.RawRun{Metric: s.id, Policy: t.policies[s.policy].name, Measures: w.scratch}); err != nil {
			return nil, err
		}
	}
	if err := out.close(ctx, true); err != nil {
		return nil, err
	}
	w.driver.encoders.Put(enc)
	if n := len(out.segments); n > 0 {
		out.segments[n-1].Measures = t.flushed
	}
	return out.segments, nil
}

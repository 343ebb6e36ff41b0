package carbonara

import (
	"context"
	"fmt"
	"slices"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// Apply judges records and buffers their measures; see ingest.SackWriter. Readers
// of the open table may come between two records.
func (w *writer) Apply(ctx context.Context, records []ingest.Delivery) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	// A flush whose outcome is unknown speaks of the buffer as it was.
	if err := w.settle(ctx); err != nil {
		return nil, ingest.Unharmed(err)
	}
	if err := w.resolve(ctx, records); err != nil {
		return nil, ingest.Unharmed(err)
	}
	var rejects []ingest.Reject
	for i := range records {
		var err error
		if rejects, err = w.applyOne(&records[i], rejects); err != nil {
			return nil, err
		}
	}
	return rejects, nil
}

func (w *writer) applyOne(d *ingest.Delivery, rejects []ingest.Reject) ([]ingest.Reject, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended != nil: // it was found out by the housekeeping
		return nil, w.ended
	case d.Offset < w.next:
		return rejects, nil
	case d.Err != nil:
	case d.Record.Kind == ingest.RecordMeasures:
		rejects = w.judge(d, rejects)
	case d.Record.Kind == ingest.RecordDelete:
		w.bury(d)
	}
	w.next = d.Offset + 1
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
func (w *writer) judge(d *ingest.Delivery, rejects []ingest.Reject) []ingest.Reject {
	w.bumps = w.bumps[:0]
	name, policy := "", uint32(0)
	for i := range d.Record.Entries {
		e := &d.Record.Entries[i]
		if i == 0 || e.Policy != name {
			name = e.Policy
			policy = w.table.rules(name)
			w.table.policies[policy].set(w.resolved[name])
		}
		rules := w.table.policies[policy]
		switch {
		case rules.policy == nil:
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i,
				Reason: fmt.Sprintf("archive policy %q does not exist", name)})
			continue
		case len(e.Measures) == 0:
			continue
		case w.deleted[e.Metric]:
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i, Deleted: true,
				Reason: "metric was deleted before"})
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
	return rejects
}

// resolve asks the index, once per Apply, for the policies of records as they are now.
func (w *writer) resolve(ctx context.Context, records []ingest.Delivery) error {
	clear(w.resolved)
	for i := range records {
		name := ""
		for j := range records[i].Record.Entries {
			e := &records[i].Record.Entries[j]
			if j > 0 && e.Policy == name {
				continue
			}
			name = e.Policy
			if _, ok := w.resolved[name]; ok {
				continue
			}
			p, err := w.policy(ctx, name)
			if err != nil {
				return err
			}
			w.resolved[name] = p
		}
	}
	return nil
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
		w.buried = append(w.buried, tombstone{At: w.driver.config.Now().UTC(), Policy: policy})
	}
	w.buried[i].Metrics = append(w.buried[i].Metrics, id)
	w.buriedCount++
}

// Buffered says how many bytes await the next Flush, roughly.
func (w *writer) Buffered() int64 {
	w.mu.RLock() // Maintain may find out that the last flush has happened, or that we are fenced
	defer w.mu.RUnlock()
	return int64(len(w.table.buffer))*bufferedSize + int64(len(w.table.counted)+w.buriedCount)*bufferedSize
}

// encodeBuffer writes the buffer into raw segments, cut by metric where they
// would be larger than the store takes.
func (w *writer) encodeBuffer(ctx context.Context, out *sink) error {
	w.mu.RLock()
	t := w.table // which changes only when the tenure ends
	w.mu.RUnlock()
	enc := out.enc.(*segment.RawWriter)
	enc.Late(t.lateTotals())
	for _, touched := range t.ordered() {
		w.scratch = t.run(touched.metric, w.scratch)
		s := &t.metrics[touched.metric]
		if err := out.addRaw(ctx, segment.RawRun{Metric: s.id, Policy: t.policies[s.policy].name,
			Measures: w.scratch}); err != nil {
			return err
		}
	}
	if err := out.close(ctx, true); err != nil {
		return err
	}
	w.driver.encoders.Put(enc)
	if n := len(out.segments); n > 0 {
		out.segments[n-1].Measures = t.flushed
	}
	return nil
}

package ingest

import (
	"fmt"
	"slices"
	"time"
)

// A cutter cuts a batch into records, one per sack as long as they fit. It keeps
// its memory from batch to batch.
type cutter struct {
	sacks   int
	counts  []int    // per sack: entries, then where the sack's entries end
	sackOf  []uint16 // per entry
	entries []Entry
	records []Record
	out     []Outgoing
}

func newCutter(sacks int) *cutter {
	return &cutter{sacks: sacks, counts: make([]int, sacks)}
}

// cut returns the records to append. They share the batch's measures, except
// where a metric's measures had to be joined or cut in two. The work is linear in
// entries and measures, but for the sorting of a metric that doesn't fit into one
// record. ErrTooLarge says that not even one measure would fit, because of what
// stands around it.
func (c *cutter) cut(b *Batch, accepted time.Time) ([]Outgoing, error) {
	c.sackOf = slices.Grow(c.sackOf[:0], len(b.Entries))[:len(b.Entries)]
	clear(c.counts)
	used := 0
	for i := range b.Entries {
		s := SackOf(b.Entries[i].Metric, c.sacks)
		c.sackOf[i] = uint16(s)
		if c.counts[s] == 0 {
			used++
		}
		c.counts[s]++
	}
	// A counting sort by sack, which keeps the payload's order inside each.
	c.entries = slices.Grow(c.entries[:0], len(b.Entries))[:len(b.Entries)]
	at := 0
	for s, n := range c.counts {
		c.counts[s] = at
		at += n
	}
	for i := range b.Entries {
		s := c.sackOf[i]
		c.entries[c.counts[s]] = b.Entries[i]
		c.counts[s]++
	}
	c.records = slices.Grow(c.records[:0], used)
	c.out = c.out[:0]
	from := 0
	for s, to := range c.counts {
		if to == from {
			continue
		}
		whole := Record{
			Kind: RecordMeasures, AcceptedAt: accepted, Project: b.Project, Trace: b.Trace,
			Entries: c.entries[from:to:to],
		}
		from = to
		if whole.Size() <= MaxRecord { // Fast path.
			c.records = append(c.records, whole)
			c.out = append(c.out, Outgoing{Sack: Sack(s), Record: &c.records[len(c.records)-1]})
			continue
		}
		parts, err := split(whole)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			c.out = append(c.out, Outgoing{Sack: Sack(s), Record: part})
		}
	}
	return c.out, nil
}

func (c *cutter) reset() {
	clear(c.entries)
	clear(c.records)
	clear(c.out)
}

// split cuts a record that is too large into several. What a record says of one
// metric is judged as a whole, so a metric goes whole into one record if it can;
// one that can't is sorted by time first (stably: the later of equals stays the
// later): then each part is newer than the one before, and judging them one after
// the other gives what judging them at once would.
func split(whole Record) ([]*Record, error) {
	var parts []*Record
	head := whole
	head.Entries = nil
	empty := head.Size()
	part, size := head, empty
	flush := func() {
		if len(part.Entries) > 0 {
			done := part
			parts = append(parts, &done)
		}
		part, size = head, empty
	}
	for _, e := range together(whole.Entries) {
		need := EntryOverhead + len(e.Policy) + 2 + MeasureOverhead*len(e.Measures)
		if size+need > MaxRecord {
			flush()
		}
		if size+need <= MaxRecord {
			part.Entries = append(part.Entries, e)
			size += need
			continue
		}
		most := (MaxRecord - empty - EntryOverhead - len(e.Policy) - 2) / MeasureOverhead
		if most < 1 {
			return nil, fmt.Errorf("%w: no measure fits beside the names of project and archive policy", ErrTooLarge)
		}
		sorted := slices.Clone(e.Measures)
		slices.SortStableFunc(sorted, func(a, b Measure) int {
			switch {
			case a.Time < b.Time:
				return -1
			case a.Time > b.Time:
				return 1
			}
			return 0
		})
		for chunk := range slices.Chunk(sorted, most) {
			flush()
			part.Entries = []Entry{{Metric: e.Metric, Policy: e.Policy, Measures: chunk}}
			size = MaxRecord // nothing joins a part of a metric
		}
		flush()
	}
	flush()
	return parts, nil
}

// together joins the entries of one metric, in the order of first occurrence.
func together(entries []Entry) []Entry {
	type place struct{ joined, entries, measures int }
	places := make(map[MetricID]place, len(entries))
	for i := range entries {
		e := &entries[i]
		p, seen := places[e.Metric]
		if !seen {
			p.joined = -1
		}
		p.entries++
		p.measures += len(e.Measures)
		places[e.Metric] = p
	}
	joined := make([]Entry, 0, len(places))
	for i := range entries {
		e := entries[i]
		p := places[e.Metric]
		if p.entries == 1 { // Fast path.
			joined = append(joined, e)
			continue
		}
		if p.joined < 0 {
			p.joined = len(joined)
			places[e.Metric] = p
			joined = append(joined, Entry{Metric: e.Metric, Measures: make([]Measure, 0, p.measures)})
		}
		j := &joined[p.joined]
		j.Measures = append(j.Measures, e.Measures...)
		j.Policy = e.Policy
	}
	return joined
}

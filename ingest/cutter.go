package ingest

import (
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
// where a metric's measures had to be cut in two.
func (c *cutter) cut(b *Batch, accepted time.Time) []Outgoing {
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
		whole := Record{Kind: RecordMeasures, AcceptedAt: accepted, Project: b.Project, Trace: b.Trace, Entries: c.entries[from:to:to]}
		from = to
		if whole.Size() <= MaxRecord { // Fast path.
			c.records = append(c.records, whole)
			c.out = append(c.out, Outgoing{Sack: Sack(s), Record: &c.records[len(c.records)-1]})
			continue
		}
		for _, part := range split(whole) {
			c.out = append(c.out, Outgoing{Sack: Sack(s), Record: part})
		}
	}
	return c.out
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
func split(whole Record) []*Record {
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
	return parts
}

// together joins the entries of one metric, in the order of first occurrence.
func together(entries []Entry) []Entry {
	first := make(map[MetricID]int, len(entries))
	joined := make([]Entry, 0, len(entries))
	for _, e := range entries {
		i, ok := first[e.Metric]
		if !ok {
			first[e.Metric] = len(joined)
			joined = append(joined, e)
			continue
		}
		j := &joined[i]
		j.Measures = slices.Concat(j.Measures, e.Measures)
		j.Policy = e.Policy
	}
	return joined
}

package influxdb

import (
	"time"

	"millrace/ingest"
)

// A buffer keeps what was applied until it is written. What there is most of, entries and
// measures, has no pointer in it: they are small, and the garbage collector passes them by.
type buffer struct {
	records  []recordPart
	series   []seriesPart              // in the order in which they came
	numbers  map[ingest.MetricID]int32 // of metrics, in series
	policies []string                  // each once
	entries  chunks[entry]
	measures [][]ingest.Measure // with room for arenaSize, or for one long list
	used     int                // of measures
	most     int                // numbers that there were
	size     int64
}

// An entry is a copy of an entry of a record. Its numbers are places in the buffer.
type entry struct {
	record, series, policy int32
	index                  int32 // in the record's entries
	chunk, from, n         int32 // of its measures
}

// A recordPart is what a record's entries have in common.
type recordPart struct {
	offset     ingest.Offset
	acceptedAt time.Time
	project    string
}

// A seriesPart is what a metric's entries have in common.
type seriesPart struct {
	metric ingest.MetricID
	text   string // what begins its lines; "": there is no such metric
	gone   ingest.Offset
	isGone bool // it was deleted by the record at gone
}

// What things take, roughly: also the tables by which they are found.
const (
	recordSize  = 64
	seriesSize  = 128 // and its text
	entrySize   = 32
	measureSize = 16
)

// add copies an entry of the last record.
func (b *buffer) add(index int, series, policy int32, list []ingest.Measure) {
	chunk, from := b.copied(list)
	b.entries.add(entry{record: int32(len(b.records) - 1), series: series, policy: policy, index: int32(index),
		chunk: chunk, from: from, n: int32(len(list))})
	b.size += entrySize + measureSize*int64(len(list))
}

// arenaSize is how many measures are made room for at once.
const arenaSize = 4096

// copied copies measures into a chunk that has room for them.
func (b *buffer) copied(list []ingest.Measure) (chunk, from int32) {
	if b.used == 0 || len(b.measures[b.used-1])+len(list) > cap(b.measures[b.used-1]) {
		switch {
		case len(list) > arenaSize:
			b.measures = append(b.measures[:b.used], make([]ingest.Measure, 0, len(list)))
		case b.used == len(b.measures):
			b.measures = append(b.measures, make([]ingest.Measure, 0, arenaSize))
		}
		b.used++
	}
	last := &b.measures[b.used-1]
	from = int32(len(*last))
	*last = append(*last, list...)
	return int32(b.used - 1), from
}

// of returns the measures of an entry.
func (b *buffer) of(e *entry) []ingest.Measure { return b.measures[e.chunk][e.from : e.from+e.n] }

// policy is the number of a policy's name.
func (b *buffer) policy(name string) int32 {
	for i := len(b.policies) - 1; i >= 0; i-- {
		if b.policies[i] == name {
			return int32(i)
		}
	}
	b.policies = append(b.policies, name)
	return int32(len(b.policies) - 1)
}

// forget empties the buffer. The room that it has taken serves the next flush; what a larger
// one has taken is let go.
func (b *buffer) forget() {
	b.entries.forget()
	for i := range b.used {
		if cap(b.measures[i]) > arenaSize {
			b.measures[i] = make([]ingest.Measure, 0, arenaSize)
		}
		b.measures[i] = b.measures[i][:0]
	}
	clear(b.measures[b.used:])
	b.measures, b.used = b.measures[:b.used], 0
	if b.most = max(b.most, len(b.numbers)); len(b.numbers) < b.most/4 { // a map never becomes smaller
		b.numbers, b.most = nil, 0
	}
	clear(b.numbers)
	b.records, b.series, b.policies, b.size = emptied(b.records), emptied(b.series), emptied(b.policies), 0
}

// emptied is a list without anything in it, and with its room, unless that was much more
// than it needed.
func emptied[T any](list []T) []T {
	if cap(list) > 2*len(list)+perChunk {
		return nil
	}
	clear(list)
	return list[:0]
}

// chunks are a list that nothing has to be copied for as it grows.
type chunks[T any] struct {
	list []*[perChunk]T
	n    int
}

const perChunk = 256

func (c *chunks[T]) add(v T) {
	if c.n == len(c.list)*perChunk {
		c.list = append(c.list, new([perChunk]T))
	}
	*c.at(c.n) = v
	c.n++
}

func (c *chunks[T]) at(i int) *T { return &c.list[i/perChunk][i%perChunk] }

func (c *chunks[T]) forget() {
	used := (c.n + perChunk - 1) / perChunk
	clear(c.list[used:])
	c.list, c.n = c.list[:used], 0
}

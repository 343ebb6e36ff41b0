package index

import (
	"math/bits"

	"millrace/ingest"
)

// A table is a hash table from metrics to kinds, of which 0 is none: open
// addressing, linear probing, at most three quarters full. Beside Go's map it takes
// as much memory and a third of the time, because finding a metric among a million
// is one wait for memory instead of several, and those of a whole request overlap.
type table struct {
	slots []slot // their number is a power of two; nil when empty
	used  int
	hand  int // where evict goes on
}

type slot struct {
	id   ingest.MetricID
	kind kind
}

// A hasher spreads ids. Seeded, so that nobody outside can make them collide.
type hasher struct{ a, b uint64 }

func (h hasher) hash(id *ingest.MetricID) uint64 {
	hi, lo := bits.Mul64(word(id[:8])^h.a, word(id[8:])^h.b)
	return hi ^ lo
}

func word(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// home returns where the search for a hash begins.
func (t *table) home(hash uint64) int { return int(hash) & (len(t.slots) - 1) }

// find returns the kind of a metric, 0 when it isn't there.
func (t *table) find(id *ingest.MetricID, hash uint64) kind {
	if len(t.slots) == 0 {
		return 0
	}
	for i := t.home(hash); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := &t.slots[i]; s.kind == 0 || s.id == *id {
			return s.kind
		}
	}
}

// set adds a metric or changes its kind.
func (t *table) set(id *ingest.MetricID, k kind, h hasher) {
	if (t.used+1)*4 > len(t.slots)*3 {
		t.grow(h)
	}
	for i := t.home(h.hash(id)); ; i = (i + 1) & (len(t.slots) - 1) {
		switch s := &t.slots[i]; {
		case s.kind == 0:
			*s = slot{*id, k}
			t.used++
			return
		case s.id == *id:
			s.kind = k
			return
		}
	}
}

func (t *table) grow(h hasher) {
	old := t.slots
	*t = table{slots: make([]slot, max(8, 2*len(old)))}
	for i := range old {
		if s := &old[i]; s.kind != 0 {
			t.set(&s.id, s.kind, h)
		}
	}
}

// remove forgets a metric.
func (t *table) remove(id *ingest.MetricID, h hasher) {
	if len(t.slots) == 0 {
		return
	}
	for i := t.home(h.hash(id)); t.slots[i].kind != 0; i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i].id == *id {
			t.empty(i, h)
			return
		}
	}
}

// evict forgets any metric: the next of a walk around the table.
func (t *table) evict(h hasher) {
	for ; t.used > 0; t.hand++ {
		if i := t.hand & (len(t.slots) - 1); t.slots[i].kind != 0 {
			t.empty(i, h)
			return
		}
	}
}

// empty empties a slot and moves later ones up that would not be found behind it.
// (Knuth, The Art of Computer Programming, volume 3, 6.4, algorithm R.)
func (t *table) empty(hole int, h hasher) {
	mask := len(t.slots) - 1
	for i := (hole + 1) & mask; t.slots[i].kind != 0; i = (i + 1) & mask {
		home := t.home(h.hash(&t.slots[i].id))
		if (i-home)&mask >= (i-hole)&mask {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = slot{}
	t.used--
}

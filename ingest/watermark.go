package ingest

import (
	"cmp"
	"slices"
	"time"
)

// A LogID names one log. Offsets of a log start above its base, which lies above
// every watermark of the logs before it: so an offset of one log is never taken for
// a place in another.
type LogID struct {
	ID   string `json:"id"`
	Base Offset `json:"base"`
}

// A Watermark is how far a sack has been applied, and of which log. A driver stores
// it together with the data and gives it back when the sack is opened; but for
// Offset its parts are the Worker's, which compares them with the log.
type Watermark struct {
	Offset Offset      `json:"offset"` // every record before it has been applied
	Log    LogID       `json:"log"`
	Last   Fingerprint `json:"last"`
	// Producers are those of the last hours, so that a record which the log has twice
	// counts once.
	Producers []Producer `json:"producers,omitempty"`
}

// A Fingerprint tells one record of a log from any other that could stand at its
// offset. The zero Fingerprint is of no record.
type Fingerprint struct {
	Offset     Offset `json:"offset"`
	Checksum   uint32 `json:"checksum"`
	AcceptedAt int64  `json:"accepted_at"` // nanoseconds since 1970
}

// A Producer is how far one writer of the log had counted its records of a sack.
type Producer struct {
	ID       uint64 `json:"id"`
	Sequence uint64 `json:"sequence"`
	At       int64  `json:"at"` // when that record was accepted, in nanoseconds since 1970
}

// How long a producer's last sequence is remembered, by the clocks of the producers: much
// longer than a record can be on its way to the log, and than their clocks are apart. Of
// more than maxProducers those are forgotten that have said nothing for longest.
const (
	producerMemory = 6 * time.Hour
	maxProducers   = 256
)

// FingerprintOf returns the fingerprint of a delivered record.
func FingerprintOf(d *Delivery) Fingerprint {
	f := Fingerprint{Offset: d.Offset, Checksum: d.Checksum}
	if !d.Record.AcceptedAt.IsZero() {
		f.AcceptedAt = d.Record.AcceptedAt.UnixNano()
	}
	return f
}

// Take moves the watermark behind a delivery, and says whether it is to be applied:
// not when it is below the watermark, nor when the same producer has said it before.
func (w *Watermark) Take(d *Delivery) bool {
	if d.Offset < w.Offset {
		return false
	}
	w.Offset, w.Last = d.Offset+1, FingerprintOf(d)
	if d.Err != nil || d.Record.Producer == 0 {
		return true
	}
	return w.count(d.Record.Producer, d.Record.Sequence, w.Last.AcceptedAt)
}

// count remembers a producer's sequence, unless it isn't above the last one.
func (w *Watermark) count(id, sequence uint64, at int64) bool {
	for i := range w.Producers {
		p := &w.Producers[i]
		if p.ID != id {
			continue
		}
		if sequence <= p.Sequence {
			return false
		}
		p.Sequence, p.At = sequence, max(p.At, at)
		return true
	}
	w.Producers = slices.DeleteFunc(w.Producers, func(p Producer) bool { return p.At < at-int64(producerMemory) })
	if len(w.Producers) >= maxProducers {
		oldest := slices.MinFunc(w.Producers, func(a, b Producer) int { return cmp.Compare(a.At, b.At) })
		w.Producers = slices.DeleteFunc(w.Producers, func(p Producer) bool { return p.ID == oldest.ID })
	}
	w.Producers = append(w.Producers, Producer{id, sequence, at})
	return true
}

// Clone returns a copy that shares nothing with w.
func (w Watermark) Clone() Watermark {
	w.Producers = slices.Clone(w.Producers)
	return w
}

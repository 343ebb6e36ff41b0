package ingest

import (
	"slices"
	"time"
)

const (
	arrivalSpacing = 5 * time.Second // least time between two arrivals that are kept
	maxArrivals    = 512             // kept of one sack; older ones are then further apart
)

// An arrival is an end of a sack's log and when it was seen, by this process's clock.
type arrival struct {
	end         Offset
	first, last time.Time
}

// Arrivals are where the log of a sack ended at times of this process's clock, ascending:
// they bound what clocks of other processes say of when a record was accepted. Any of
// them can be left out: the bounds are then wider, and still right.
type arrivals struct{ list []arrival }

// note says that the log has been seen to end there, and that everything before
// watermark has been applied.
func (a *arrivals) note(watermark, end Offset, now time.Time) {
	n := len(a.list)
	if n > 0 && end < a.list[n-1].end { // another log
		a.list, n = a.list[:0], 0
	}
	switch {
	case n > 0 && end == a.list[n-1].end:
		a.list[n-1].last = now
	case n > 0 && a.list[n-1].end > watermark && now.Sub(a.list[n-1].last) < arrivalSpacing: // it bounds what waits
	default:
		a.list = append(a.list, arrival{end, now, now})
	}
	if before := a.behind(watermark); before > 1 {
		a.list = slices.Delete(a.list, 0, before-1)
	}
	if len(a.list) > maxArrivals {
		a.thin()
	}
}

// thin forgets every other one, but neither the first nor the last.
func (a *arrivals) thin() {
	kept := a.list[:0]
	for i := range a.list {
		if i%2 == 0 || i == len(a.list)-1 {
			kept = append(kept, a.list[i])
		}
	}
	a.list = kept
}

// behind counts those at which the record at offset had not come.
func (a *arrivals) behind(offset Offset) int {
	n, _ := slices.BinarySearchFunc(a.list, offset, func(x arrival, o Offset) int {
		if x.end <= o {
			return -1
		}
		return 1
	})
	return n
}

// clamp returns when the record at offset was accepted, by this process's clock: what
// another clock says, or the zero time when nothing does, but not before the log was last
// seen without the record, nor after it was first seen with it.
func (a *arrivals) clamp(offset Offset, accepted time.Time) time.Time {
	n := a.behind(offset)
	if n < len(a.list) && (accepted.IsZero() || accepted.After(a.list[n].first)) {
		return a.list[n].first
	}
	if n > 0 && !accepted.IsZero() && accepted.Before(a.list[n-1].last) {
		return a.list[n-1].last
	}
	return accepted
}

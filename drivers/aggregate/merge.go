package aggregate

import (
	"cmp"
	"slices"

	"millrace/ingest"
)

// Merge appends raw and record to dst as one ascending list without equal times.
// record is in the order of its payload. Of equal times record beats raw, and
// inside record the later measure beats the earlier. record is not changed and must
// not share memory with dst; dst may be raw[:0].
func Merge(dst, raw, record []ingest.Measure) []ingest.Measure {
	base := len(dst)
	dst = append(dst, raw...)
	end := len(dst)
	dst = append(dst, record...)
	tail := sortRecord(dst[end:])
	dst = dst[:end+len(tail)]
	if len(tail) == 0 {
		return dst
	}
	overlap := base + Search(dst[base:end], tail[0].Time)
	if overlap == end { // the usual case: all of it is new
		return dst
	}
	n := len(dst)
	dst = append(dst, tail...) // room to merge from the end
	dst = dst[:overlap+mergeBackwards(dst[overlap:n], end-overlap, dst[n:])]
	return dst
}

// sortRecord sorts measures by time and keeps the last of equal times.
func sortRecord(record []ingest.Measure) []ingest.Measure {
	ascending := true
	for i := 1; i < len(record) && ascending; i++ {
		ascending = record[i-1].Time < record[i].Time
	}
	if ascending {
		return record
	}
	slices.SortStableFunc(record, func(a, b ingest.Measure) int { return cmp.Compare(a.Time, b.Time) })
	kept := record[:0]
	for i, m := range record {
		if i+1 < len(record) && record[i+1].Time == m.Time {
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// mergeBackwards merges newer into both[:old], and returns the length of the
// result, which is at the beginning of both: newer wins. len(both) = old + len(newer).
func mergeBackwards(both []ingest.Measure, old int, newer []ingest.Measure) int {
	w, i, j := len(both), old, len(newer)
	for j > 0 {
		w--
		switch {
		case i > 0 && both[i-1].Time > newer[j-1].Time:
			i--
			both[w] = both[i]
		case i > 0 && both[i-1].Time == newer[j-1].Time:
			i--
			fallthrough
		default:
			j--
			both[w] = newer[j]
		}
	}
	return i + copy(both[i:], both[w:])
}

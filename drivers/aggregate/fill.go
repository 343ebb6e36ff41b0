package aggregate

import (
	"fmt"
	"math"
)

// A Fill says what becomes of the holes of a table. The zero value leaves them.
type Fill struct {
	Kind   FillKind
	Number float64 // of FillNumber
}

// A FillKind is a way to fill holes.
type FillKind uint8

// The ways to fill holes.
const (
	FillNull        FillKind = iota // a hole stays one
	FillDrop                        // the same, and results that aren't finite are left out
	FillNumber                      // a number
	FillForward                     // the last value before, of the same series; as FillDrop for the rest
	FillBackward                    // the next value
	FillForwardAll                  // FillForward, then FillBackward for what is left
	FillBackwardAll                 // FillBackward, then FillForward for what is left
)

// fillNames are the names of the v1 API.
var fillNames = map[string]FillKind{
	"null": FillNull, "dropna": FillDrop, "ffill": FillForward, "bfill": FillBackward,
	"full_ffill": FillForwardAll, "full_bfill": FillBackwardAll,
}

// ParseFill reads the name of a fill, which is any but a number.
func ParseFill(name string) (Fill, bool) {
	kind, ok := fillNames[name]
	return Fill{Kind: kind}, ok
}

// Finite says whether results that are NaN or infinite are left out (see [Table.Rows]).
func (f Fill) Finite() bool { return f.Kind != FillNull && f.Kind != FillNumber }

// Fill fills the holes of every column.
func (t *Table) Fill(f Fill) {
	for _, c := range t.Columns {
		switch f.Kind {
		case FillNumber:
			for i, v := range c.Values {
				if math.IsNaN(v) {
					c.Values[i] = f.Number
				}
			}
		case FillForward:
			forward(c.Values)
		case FillBackward:
			backward(c.Values)
		case FillForwardAll:
			forward(c.Values)
			backward(c.Values)
		case FillBackwardAll:
			backward(c.Values)
			forward(c.Values)
		}
	}
}

func forward(values []float64) {
	for i := 1; i < len(values); i++ {
		if math.IsNaN(values[i]) {
			values[i] = values[i-1]
		}
	}
}

func backward(values []float64) {
	for i := len(values) - 2; i >= 0; i-- {
		if math.IsNaN(values[i]) {
			values[i] = values[i+1]
		}
	}
}

// Overlap demands that, of the times at which any series has a value, needed percent
// are such that all have one. At an end of the range that wasn't asked for (start,
// stop say which were) the table is first cut to where all series have a value. What
// is wrong comes back as an [UnaggregableError].
func (t *Table) Overlap(needed float64, start, stop bool) error {
	whole, first, last := t.whole()
	if whole == 0 {
		if needed > 0 {
			return &UnaggregableError{Problem: NoOverlap, Reason: "No overlap"}
		}
		return nil
	}
	from, to := 0, len(t.Times)
	if !start {
		from = first
	}
	if !stop {
		to = last + 1
	}
	t.cut(from, to)
	if found := 100 * float64(whole) / float64(len(t.Times)); found < needed {
		return &UnaggregableError{
			Problem: OverlapTooLow, Needed: needed, Found: found,
			Reason: fmt.Sprintf("Less than %f%% of datapoints overlap in this timespan (%.2f%%)", needed, found),
		}
	}
	return nil
}

// whole counts the times at which every column has a value, and returns the first
// and the last of them.
func (t *Table) whole() (n, first, last int) {
	for i := range t.Times {
		hole := false
		for _, c := range t.Columns {
			if hole = math.IsNaN(c.Values[i]); hole {
				break
			}
		}
		if hole {
			continue
		}
		if n == 0 {
			first = i
		}
		n, last = n+1, i
	}
	return n, first, last
}

// cut keeps the rows [from, to).
func (t *Table) cut(from, to int) {
	t.Times = t.Times[from:to]
	for i := range t.Columns {
		t.Columns[i].Values = t.Columns[i].Values[from:to]
	}
}

package drivertest

import (
	"fmt"
	"strings"
	"time"

	"millrace/ingest"
)

// A diary remembers the last operations of a history.
type diary struct {
	lines [40]string
	n     int
}

func (d *diary) note(format string, args ...any) {
	d.lines[d.n%len(d.lines)] = fmt.Sprintf(format, args...)
	d.n++
}

func (d *diary) String() string {
	var b strings.Builder
	for i := max(0, d.n-len(d.lines)); i < d.n; i++ {
		fmt.Fprintf(&b, "%6d  %s\n", i, d.lines[i%len(d.lines)])
	}
	return b.String()
}

// describe says what a record asks for, in a line.
func describe(d *ingest.Delivery) string {
	switch {
	case d.Err != nil:
		return fmt.Sprintf("%d: undecodable", d.Offset)
	case d.Record.Kind == ingest.RecordDelete:
		return fmt.Sprintf("%d: delete %s", d.Offset, d.Record.Metric)
	case d.Record.Kind == ingest.RecordNudge:
		return fmt.Sprintf("%d: nudge", d.Offset)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", d.Offset)
	for _, e := range d.Record.Entries {
		fmt.Fprintf(&b, " [%s %s", e.Metric.String()[:8], e.Policy)
		for i, m := range e.Measures {
			if i == 4 {
				fmt.Fprintf(&b, " and %d more", len(e.Measures)-i)
				break
			}
			fmt.Fprintf(&b, " %s=%v", clock(m.Time), m.Value)
		}
		b.WriteByte(']')
	}
	return b.String()
}

// clock writes a timestamp so that one can compare it.
func clock(t int64) string {
	switch t {
	case ingest.MinTime:
		return "the beginning"
	case ingest.MaxTime:
		return "the end"
	}
	return time.Unix(0, t).UTC().Format("2006-01-02T15:04:05.999999999")
}

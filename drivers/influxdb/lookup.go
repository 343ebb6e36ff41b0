package influxdb

import (
	"context"
	"errors"
	"fmt"

	"millrace/ingest"
)

// A lookup is what was found of the entries of some records, in their order.
type lookup struct {
	series   []int32 // numbers in the buffer
	policies []int32 // the same; -1: there is no such policy
	taken    int
}

// next takes what was found of the next entry.
func (l *lookup) next() (series, policy int32) {
	l.taken++
	return l.series[l.taken-1], l.policies[l.taken-1]
}

// lookUp finds series and policy of each entry that is to be kept, and numbers them in the
// buffer. An error leaves the buffer as it was.
func (w *writer) lookUp(ctx context.Context, records []ingest.Delivery) (*lookup, error) {
	l, b := &w.scratch, &w.buffer
	l.series, l.policies, l.taken = l.series[:0], l.policies[:0], 0
	first := len(b.series)
	if b.numbers == nil {
		b.numbers = make(map[ingest.MetricID]int32)
	}
	err := w.number(ctx, records)
	if err == nil {
		err = w.driver.series.find(ctx, b.series[first:])
	}
	if err != nil {
		for i := first; i < len(b.series); i++ {
			delete(b.numbers, b.series[i].metric)
		}
		b.series = b.series[:first]
		return nil, err
	}
	w.follower.saw(b.series[first:])
	for i := first; i < len(b.series); i++ {
		s := &b.series[i]
		if s.text == "" { // it is asked for again, next time
			delete(b.numbers, s.metric)
		}
		s.gone, s.isGone = 0, false
		if by, gone := w.gone[s.metric]; gone {
			s.gone, s.isGone = by, true
		}
		b.size += seriesSize + int64(len(s.text))
	}
	return l, nil
}

// number fills the scratch.
func (w *writer) number(ctx context.Context, records []ingest.Delivery) error {
	l, b := &w.scratch, &w.buffer
	numbers := make(map[string]int32) // of policies
	var name string                   // the last policy
	policy, next := int32(-1), w.next
	for i := range records {
		d := &records[i]
		if d.Offset < next {
			continue
		}
		next = d.Offset + 1
		if d.Err != nil {
			continue
		}
		for j := range d.Record.Entries {
			e := &d.Record.Entries[j]
			if e.Policy != name || len(numbers) == 0 {
				var err error
				if name, policy, err = w.policy(ctx, e.Policy, numbers); err != nil {
					return err
				}
			}
			series, known := b.numbers[e.Metric]
			if !known {
				series = int32(len(b.series))
				b.series = append(b.series, seriesPart{metric: e.Metric})
				b.numbers[e.Metric] = series
			}
			l.series, l.policies = append(l.series, series), append(l.policies, policy)
		}
	}
	return nil
}

// policy returns a name and its number in the buffer, -1 where there is no such policy. Each
// is asked for once, and numbers remembers it.
func (w *writer) policy(ctx context.Context, name string, numbers map[string]int32) (string, int32, error) {
	if number, known := numbers[name]; known {
		return name, number, nil
	}
	number := int32(-1)
	_, err := w.driver.policies.Policy(ctx, name)
	switch {
	case err == nil:
		number = w.buffer.policy(name)
	case !errors.Is(err, ingest.ErrNoPolicy):
		return name, number, fmt.Errorf("cannot look up archive policy %q: %w", name, err)
	}
	numbers[name] = number
	return name, number, nil
}

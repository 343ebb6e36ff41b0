package ingest

import (
	"context"
	"slices"
	"time"
)

// An Admission is a batch that has been let in and is not in the log yet: what it
// takes of the bounds and of its project's quota is its own until Release. Between
// Admit and Append a caller may do what belongs to the acceptance and must not be
// done for a batch that is refused, such as creating metrics. It is for one goroutine.
type Admission struct {
	acceptor *Acceptor
	batch    *Batch
	now      time.Time
	measures int
	refused  int
	size     int64 // counted in inFlight
	appended bool
}

// Admit checks everything about a batch but what the log will say: times, quota and
// the bounds of the system, with the errors of Accept. The batch is the admission's
// until Release; Metric and Policy of its entries may still be changed before Append.
func (a *Acceptor) Admit(b *Batch, strict bool) (*Admission, []Refusal, error) {
	now := a.now()
	refusals, err := a.checkTimes(b, now, strict)
	if err != nil {
		return nil, nil, err
	}
	m := &Admission{acceptor: a, batch: b, now: now, measures: b.Measures(), refused: len(refusals)}
	if m.measures == 0 {
		return m, refusals, nil
	}
	if err := a.quotas.take(b.Project, m.measures, a.config, now); err != nil {
		return nil, nil, err
	}
	size := int64(m.measures)*MeasureOverhead + int64(len(b.Entries))*EntryOverhead
	if err := a.admit(b, size, now); err != nil {
		m.Release()
		return nil, nil, err
	}
	m.size = size
	return m, refusals, nil
}

// Append puts the batch into the log and returns when it is durable. A second call
// repeats the first, which is safe.
func (m *Admission) Append(ctx context.Context) (Ticket, error) {
	a := m.acceptor
	t := Ticket{Accepted: uint64(m.measures), Refused: uint64(m.refused)}
	positions := make(Position, 2*a.sacks)
	t.Position, t.First = positions[:a.sacks:a.sacks], positions[a.sacks:]
	if m.measures == 0 {
		return t, nil
	}
	if m.refused > 0 {
		m.batch.Entries = slices.DeleteFunc(m.batch.Entries, func(e Entry) bool { return len(e.Measures) == 0 })
	}
	c := a.scratch.Get().(*cutter)
	defer a.scratch.Put(c)
	defer c.reset()
	out, err := c.cut(m.batch, m.now.UTC())
	if err != nil {
		return Ticket{}, err
	}
	if err := a.append(ctx, out); err != nil {
		return Ticket{}, err
	}
	m.appended = true
	for _, o := range out {
		if t.Position[o.Sack] == 0 {
			t.First[o.Sack] = o.Offset
		}
		t.Position[o.Sack] = o.Offset + 1
	}
	return t, nil
}

// Release ends the admission. What could not be appended is not held against the
// project's quota: whoever is told to try again finds it as it was.
func (m *Admission) Release() {
	a := m.acceptor
	a.inFlight.Add(-m.size)
	m.size = 0
	if !m.appended {
		a.quotas.give(m.batch.Project, m.measures, a.config)
	}
	m.measures, m.appended = 0, true
}

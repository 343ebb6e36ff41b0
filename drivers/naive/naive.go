package naive

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"millrace/ingest"
)

// A Driver is an ingest.Driver and an ingest.LateReader in memory. It serves any
// number of sacks.
type Driver struct {
	policies ingest.Policies

	mu      sync.RWMutex
	closed  bool
	sacks   map[ingest.Sack]*sack
	metrics map[ingest.MetricID]*history
}

var (
	_ ingest.Driver      = (*Driver)(nil)
	_ ingest.LateReader  = (*Driver)(nil)
	_ ingest.Watermarker = (*Driver)(nil)
)

// A sack is what has been flushed of one, and by whom the next flush may be.
type sack struct {
	owner   *writer
	applied ingest.Watermark
	owners  uint64 // how many there have been
}

// A history is everything that was ever recorded of one metric.
type history struct {
	raw     []ingest.Measure // ascending in time, one per timestamp
	late    uint64           // measures that were dropped
	deleted bool             // for good; raw and late are empty
}

var errClosed = errors.New("naive driver is closed")

// New returns an empty Driver. It asks policies what the back window of a policy
// is when a record of it is applied.
func New(policies ingest.Policies) *Driver {
	return &Driver{
		policies: policies,
		sacks:    make(map[ingest.Sack]*sack),
		metrics:  make(map[ingest.MetricID]*history),
	}
}

// Open makes the caller the owner of a sack; see ingest.Driver.
func (d *Driver) Open(ctx context.Context, number ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(ctx); err != nil {
		return nil, ingest.Watermark{}, err
	}
	s := d.sacks[number]
	if s == nil {
		s = &sack{}
		d.sacks[number] = s
	}
	s.owners++
	s.owner = &writer{driver: d, sack: s, epoch: s.owners, next: s.applied.Offset, gone: make(map[ingest.MetricID]bool)}
	return s.owner, s.applied.Clone(), nil
}

// Read aggregates everything that has been flushed; see ingest.Driver.
func (d *Driver) Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure,
	at ingest.Position) (ingest.Position, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.usable(ctx); err != nil {
		return nil, err
	}
	shown := make(ingest.Position, len(at))
	for number, s := range d.sacks {
		for len(shown) <= int(number) {
			shown = append(shown, 0)
		}
		shown[number] = s.applied.Offset
	}
	for i, need := range at {
		if shown[i] < need {
			return nil, ingest.ErrBehind
		}
	}
	for i := range queries {
		if h := d.metrics[queries[i].Metric]; h != nil && len(h.raw) > 0 {
			dst[i] = h.answer(&queries[i], dst[i])
		}
	}
	return shown, nil
}

// Watermarks returns how far sacks have been applied; see ingest.Watermarker.
func (d *Driver) Watermarks(ctx context.Context, sacks []ingest.Sack, dst []ingest.Offset) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.usable(ctx); err != nil {
		return err
	}
	for i, number := range sacks {
		dst[i] = 0
		if s := d.sacks[number]; s != nil {
			dst[i] = s.applied.Offset
		}
	}
	return nil
}

// Late counts what was dropped; see ingest.LateReader.
func (d *Driver) Late(ctx context.Context, metrics []ingest.MetricID) ([]uint64, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.usable(ctx); err != nil {
		return nil, err
	}
	late := make([]uint64, len(metrics))
	for i, id := range metrics {
		if h := d.metrics[id]; h != nil {
			late[i] = h.late
		}
	}
	return late, nil
}

// Close ends everything; what was recorded is forgotten with the Driver.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

// usable says why a call should not even begin. The caller holds mu.
func (d *Driver) usable(ctx context.Context) error {
	if d.closed {
		return errClosed
	}
	return ctx.Err()
}

// history returns the metric's history, which may be a new one. The caller holds mu.
func (d *Driver) history(id ingest.MetricID) *history {
	h := d.metrics[id]
	if h == nil {
		h = &history{}
		d.metrics[id] = h
	}
	return h
}

// put records a measure; of two with the same timestamp the later put stays.
func (h *history) put(m ingest.Measure) {
	at, found := slices.BinarySearchFunc(h.raw, m, func(a, b ingest.Measure) int { return cmp.Compare(a.Time, b.Time) })
	if found {
		h.raw[at] = m
	} else {
		h.raw = slices.Insert(h.raw, at, m)
	}
}

// newest is the timestamp up to which there are measures; false when there are none.
func (h *history) newest() (int64, bool) {
	if len(h.raw) == 0 {
		return 0, false
	}
	return h.raw[len(h.raw)-1].Time, true
}

// answer appends the rows that the query asks for.
func (h *history) answer(q *ingest.Query, dst []ingest.Measure) []ingest.Measure {
	g := int64(q.Granularity)
	newest, _ := h.newest()
	timespan, rows := int64(0), 0
	for _, d := range q.Policy.Definitions {
		if d.Granularity == q.Granularity {
			timespan = int64(d.Timespan)
		}
	}
	for _, row := range aggregate(h.raw, g, q.Method) {
		expired := timespan > 0 && row.Time <= bucketOf(newest, g)-timespan
		begun := q.From < g+ingest.MinTime || bucketOf(q.From, g) <= row.Time
		if begun && row.Time < q.To && !expired && (q.Limit == 0 || rows < q.Limit) {
			dst = append(dst, row)
			rows++
		}
	}
	return dst
}

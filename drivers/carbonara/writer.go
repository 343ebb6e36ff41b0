package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A writer is one ownership of one sack.
type writer struct {
	driver *Driver
	sack   ingest.Sack

	// Of the goroutine of Apply, Flush and Buffered.
	next     ingest.Offset // everything before it has been applied
	resolved []bool        // per policy of the table: asked for in this Apply
	bumps    []bump
	scratch  []ingest.Measure

	// Of the goroutine of Maintain.
	chores     sync.Mutex
	collectors chores

	committing sync.Mutex // held while the manifest is swapped; before mu
	version    Version    // of the stored manifest; guarded by committing, as are the next two
	attempts   uint64     // the highest manifest version tried
	attempt    *attempt   // the last swap, while its outcome is unknown

	mu          sync.Mutex
	manifest    *manifest // as committed; changes with both locks held
	table       *table
	deleted     map[ingest.MetricID]bool
	buried      []tombstone // since the last flush
	buriedCount int         // of metrics in it
	flushing    []string    // segments put by the last Flush, which no manifest may name yet
	collected   []string    // garbage that has been deleted and may leave the manifest
	fenced      bool
	closed      bool
}

var _ ingest.SackWriter = (*writer)(nil)

// openTries bounds how often Open tries to raise the epoch while others do too.
const openTries = 10

// Open makes the caller the owner of a sack; see ingest.Driver.
func (d *Driver) Open(ctx context.Context, sack ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	if err := d.usable(ctx); err != nil {
		return nil, ingest.Watermark{}, err
	}
	if sack < 0 || int(sack) >= d.sacks {
		return nil, ingest.Watermark{}, fmt.Errorf("there is no sack %d: the deployment has %d", sack, d.sacks)
	}
	m, version, err := d.raiseEpoch(ctx, sack)
	if err != nil {
		return nil, ingest.Watermark{}, err
	}
	w := &writer{
		driver: d, sack: sack, next: m.Applied.Offset, version: version, attempts: m.Version, manifest: m,
		table: newTable(), deleted: m.deleted(),
	}
	if err := w.remember(ctx); err != nil {
		return nil, ingest.Watermark{}, fmt.Errorf("cannot open sack %d: %w", sack, err)
	}
	d.views[sack].owned.Store(m)
	return w, m.Applied.Clone(), nil
}

// raiseEpoch swaps in a manifest with the next epoch, which fences earlier owners.
func (d *Driver) raiseEpoch(ctx context.Context, sack ingest.Sack) (*manifest, Version, error) {
	for range openTries {
		m, version, err := readManifest(ctx, d.store, sack)
		if err == nil && version == "" {
			err = stranded(ctx, d.store, sack)
		}
		if err != nil {
			return nil, "", fmt.Errorf("cannot open sack %d: %w", sack, err)
		}
		m.Epoch++
		m.Version++
		switch version, err = d.store.Swap(ctx, manifestName(sack), version, m.encode(), nil); {
		case err == nil:
			return m, version, nil
		case !errors.Is(err, ErrChanged):
			return nil, "", fmt.Errorf("cannot open sack %d: cannot swap %s: %w", sack, manifestName(sack), err)
		}
	}
	return nil, "", fmt.Errorf("cannot open sack %d: others open it all the time", sack)
}

// remember fills the table from the state segment and the raw segments flushed
// since.
func (w *writer) remember(ctx context.Context) error {
	covered := ingest.Offset(-1)
	for _, seg := range w.manifest.of(segment.State) {
		covered = max(covered, seg.To)
		if err := w.rememberState(ctx, seg); err != nil {
			return err
		}
	}
	for _, seg := range w.manifest.of(segment.Raw) {
		if seg.To > covered {
			if err := w.rememberRaw(ctx, seg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) rememberState(ctx context.Context, seg entry) error {
	f, err := w.driver.files.open(ctx, w.sack, seg)
	if err != nil {
		return err
	}
	scan := f.ScanState(ctx)
	for scan.Next() {
		row := scan.Row()
		if w.deleted[row.Metric] {
			continue
		}
		s := &w.table.metrics[w.table.place(row.Metric)]
		s.shown = row.Newest
		s.newest, s.late, s.sealed, s.policy = row.Newest, row.Late, row.Sealed, w.table.rules(row.Policy)
	}
	return scan.Err()
}

func (w *writer) rememberRaw(ctx context.Context, seg entry) error {
	f, err := w.driver.files.open(ctx, w.sack, seg)
	if err != nil {
		return err
	}
	lates, err := f.Lates()
	if err != nil {
		return err
	}
	for _, l := range lates {
		if !w.deleted[l.Metric] {
			s := &w.table.metrics[w.table.place(l.Metric)]
			s.late = max(s.late, l.Late)
		}
	}
	scan := f.ScanRaw(ctx)
	for scan.Next() {
		run := scan.Run()
		if w.deleted[run.Metric] || len(run.Measures) == 0 {
			continue
		}
		s := &w.table.metrics[w.table.place(run.Metric)]
		s.newest = max(s.newest, run.Measures[len(run.Measures)-1].Time)
		s.shown = s.newest
		s.policy = w.table.rules(run.Policy)
		s.fresh = true
	}
	return scan.Err()
}

// usable says why the writer can't go on: ErrFenced, ErrClosed or ctx's error.
func (w *writer) usable(ctx context.Context) error {
	w.mu.Lock()
	fenced, closed := w.fenced, w.closed
	w.mu.Unlock()
	switch {
	case fenced:
		return ingest.ErrFenced
	case closed:
		return ErrClosed
	}
	return w.driver.usable(ctx)
}

// Flush makes everything applied durable and visible; see ingest.SackWriter.
func (w *writer) Flush(ctx context.Context, to ingest.Watermark) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	if err := w.settle(ctx); err != nil {
		return nil, err
	}
	if to.Offset <= w.current().Applied.Offset {
		return nil, nil
	}
	w.next = max(w.next, to.Offset)
	segments, err := w.encodeBuffer(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot flush sack %d: %w", w.sack, err)
	}
	w.mu.Lock()
	buried := slices.Clone(w.buried)
	w.mu.Unlock()
	to = to.Clone()
	err = w.commit(ctx, func(m *manifest) error {
		m.Applied = to
		m.Segments = append(m.Segments, segments...)
		m.Tombstones = append(m.Tombstones, buried...)
		return nil
	}, func() {
		w.mu.Lock()
		w.table.drained()
		w.buried, w.buriedCount = nil, 0
		w.mu.Unlock()
		w.driver.stats.flushes.Add(1)
		w.driver.stats.flushedBytes.Add(uint64(bytesOf(segments)))
	})
	return nil, err
}

// Confirm reads the watermark back; see ingest.SackWriter.
func (w *writer) Confirm(ctx context.Context) (ingest.Offset, error) {
	if err := w.usable(ctx); err != nil {
		return 0, err
	}
	if err := w.settle(ctx); err != nil {
		return 0, err
	}
	m, _, err := readManifest(ctx, w.driver.store, w.sack)
	switch {
	case err != nil:
		return 0, err
	case m.Epoch != w.current().Epoch:
		w.fence()
		return 0, fmt.Errorf("sack %d is at epoch %d: %w", w.sack, m.Epoch, ingest.ErrFenced)
	}
	return m.Applied.Offset, nil
}

// Epoch numbers the sack's ownerships.
func (w *writer) Epoch() uint64 { return w.current().Epoch }

func bytesOf(segments []entry) int64 {
	n := int64(0)
	for i := range segments {
		n += segments[i].Bytes
	}
	return n
}

// Close gives the writer up without flushing.
func (w *writer) Close() error {
	w.chores.Lock() // a running Maintain comes first
	defer w.chores.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.driver.views[w.sack].replace(w.manifest, nil)
	w.closed = true
	w.table = newTable()
	return nil
}

// timed adds the time since began to a counter of nanoseconds.
func timed(counter interface{ Add(int64) int64 }, began time.Time) {
	counter.Add(int64(time.Since(began)))
}

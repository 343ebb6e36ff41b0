package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A writer is one ownership of one sack.
type writer struct {
	driver *Driver
	sack   ingest.Sack

	// Of the goroutine of Apply, Flush and Buffered.
	resolved map[string]*ingest.ArchivePolicy // asked for in this Apply; nil: there is no such policy
	bumps    []bump
	scratch  []ingest.Measure

	// Of the goroutine of Maintain.
	chores     sync.Mutex
	collectors chores
	choosing   sync.Mutex      // held while segments to be replaced are chosen; guards the next two, and collectors.aside
	reserved   map[string]bool // segments that are being replaced
	alone      bool            // no merge is to begin

	committing sync.Mutex // held while the manifest is swapped; before mu
	version    Version    // of the stored manifest; guarded by committing, as are the next two
	tried      uint64     // the highest manifest version tried
	attempts   []attempt  // swaps whose outcome is unknown: one at most has happened, or will

	seen atomic.Pointer[sighting] // when the stored manifest was last seen to be the one in memory

	mu          sync.RWMutex
	manifest    *manifest     // as committed; changes with both locks held
	shown       *view         // of the manifest
	next        ingest.Offset // everything before it has been applied
	table       *table
	deleted     map[ingest.MetricID]bool
	buried      []tombstone     // since the last flush
	buriedCount int             // of metrics in it
	unnamed     map[string]bool // segments put, or about to be, that no manifest may name yet; by object name
	collected   []string        // garbage that has been deleted and may leave the manifest
	ended       error           // ErrFenced or ErrWentBack
	closed      bool
}

var (
	_ ingest.SackWriter = (*writer)(nil)
	_ ingest.Sealer     = (*writer)(nil)
)

// A sighting is a moment at which the stored manifest was the one in memory.
type sighting struct {
	at       time.Time
	troubles uint64 // of the driver, before
}

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
		driver: d, sack: sack, next: m.Applied.Offset, version: version, tried: m.Version, manifest: m,
		shown: d.newView(sack, version, m), table: newTable(), deleted: m.deleted(), unnamed: make(map[string]bool),
		reserved: make(map[string]bool),
		resolved: make(map[string]*ingest.ArchivePolicy),
	}
	w.seen.Store(&sighting{d.config.Now(), d.troubles.Load()})
	if err := w.remember(ctx); err != nil {
		return nil, ingest.Watermark{}, fmt.Errorf("cannot open sack %d: %w", sack, err)
	}
	d.views[sack].writer.Store(w)
	return w, m.Applied.Clone(), nil
}

// raiseEpoch swaps in a manifest with the next epoch, which fences earlier owners.
func (d *Driver) raiseEpoch(ctx context.Context, sack ingest.Sack) (*manifest, Version, error) {
	for range openTries {
		m, version, err := readManifest(ctx, d.store, sack, "")
		if err == nil && m.Deployment != d.layout.Load().Deployment {
			err = fmt.Errorf("%s is of deployment %s, and the storage is of deployment %s", manifestName(sack), m.Deployment,
				d.layout.Load().Deployment)
		}
		if err == nil {
			err = m.unknown
		}
		if err != nil {
			return nil, "", fmt.Errorf("cannot open sack %d: %w", sack, err)
		}
		m.Epoch++
		m.Version++
		m.Tenure, m.Swap = newID(), newID()
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
	state := w.manifest.of(segment.State)
	for _, seg := range state {
		covered = max(covered, seg.To)
	}
	raw := slices.DeleteFunc(w.manifest.of(segment.Raw), func(seg entry) bool { return seg.To <= covered })
	set, err := w.openAll(ctx, append(slices.Clone(state), raw...))
	if failed, ok := errors.AsType[*segmentError](err); ok {
		err = judgeError(ctx, w.sack, &entry{Name: failed.name}, err)
	}
	if err != nil {
		return err
	}
	defer set.close()
	for _, seg := range state {
		if err := w.rememberState(ctx, set.of(&seg)); err != nil {
			return judgeError(ctx, w.sack, &seg, err)
		}
	}
	for _, seg := range raw {
		if err := w.rememberRaw(ctx, set.of(&seg)); err != nil {
			return judgeError(ctx, w.sack, &seg, err)
		}
	}
	return nil
}

func (w *writer) rememberState(ctx context.Context, f *segment.Reader) error {
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

func (w *writer) rememberRaw(ctx context.Context, f *segment.Reader) error {
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

// usable says why the writer can't go on: ErrFenced, ErrWentBack, ErrClosed or ctx's error.
func (w *writer) usable(ctx context.Context) error {
	w.mu.Lock()
	ended, closed := w.ended, w.closed
	w.mu.Unlock()
	switch {
	case ended != nil:
		return ended
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
	w.mu.Lock()
	w.next = max(w.next, to.Offset) // what stands between is nothing to apply
	w.mu.Unlock()
	for try := 1; ; try++ {
		err := w.flushBuffer(ctx, to.Clone())
		if err == nil {
			return nil, nil
		}
		if !errors.Is(err, ErrMissing) || try == putTries {
			return nil, fmt.Errorf("cannot flush sack %d: %w", w.sack, err)
		}
	}
}

// putTries is how often what a store has lost between the put and the swap is put
// again before that counts as a failure.
const putTries = 3

// flushBuffer writes the buffer and names it.
func (w *writer) flushBuffer(ctx context.Context, to ingest.Watermark) error {
	w.mu.Lock()
	from, buried := w.manifest.Applied.Offset, slices.Clone(w.buried)
	empty := len(w.table.touched) == 0 && len(w.table.counted) == 0
	w.mu.Unlock()
	var segments []entry
	if !empty {
		out := w.newSink(w.driver.rawEncoder(), entry{Info: segment.Info{Kind: segment.Raw}, From: from, To: to.Offset})
		defer out.drop()
		if err := w.encodeBuffer(ctx, out); err != nil {
			return err
		}
		segments = out.segments
	}
	return w.commit(ctx, func(m *manifest) error {
		m.Applied = to
		m.Segments = append(m.Segments, segments...)
		m.Tombstones = append(m.Tombstones, buried...)
		return nil
	}, func() {
		w.table.drained()
		w.buried, w.buriedCount = nil, 0
		w.driver.stats.flushes.Add(1)
		w.driver.stats.flushedBytes.Add(uint64(bytesOf(segments)))
	})
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

// Confirm reads the watermark again; see ingest.SackWriter.
func (w *writer) Confirm(ctx context.Context) (ingest.Offset, error) {
	if err := w.confirm(ctx); err != nil {
		return 0, fmt.Errorf("cannot confirm the watermark of sack %d: %w", w.sack, err)
	}
	return w.current().Applied.Offset, nil
}

// Close gives the writer up without flushing.
func (w *writer) Close() error {
	w.chores.Lock() // a running Maintain comes first
	defer w.chores.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave()
	w.closed = true
	w.table = newTable()
	return nil
}

// leave has readers look at the store from now on. What they know of it may be older than what
// the writer has shown them, so the first of them looks anew.
func (w *writer) leave() {
	slot := &w.driver.views[w.sack]
	slot.expire()
	slot.writer.CompareAndSwap(w, nil)
}

// timed adds the time since began to a counter of nanoseconds.
func timed(counter interface{ Add(int64) int64 }, began time.Time) {
	counter.Add(int64(time.Since(began)))
}

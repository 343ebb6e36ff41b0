package ingest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// A fakeDriver keeps the values it is given, per sack, and fails when it is told.
type fakeDriver struct {
	mu    sync.Mutex
	sacks map[Sack]*fakeSack

	// Hooks, called without the lock; nil: no error.
	onOpen, onMaintain func(Sack) error
	onApply, onFlush   func(context.Context, Sack) error
}

type fakeSack struct {
	owner                            *fakeWriter
	watermark                        Offset
	at                               Watermark
	values                           []float64 // in the order of the log
	opened, applied, flushed, chored int       // successful calls
	sealed                           Offset
}

func (d *fakeDriver) sack(s Sack) *fakeSack {
	if d.sacks[s] == nil {
		d.sacks[s] = &fakeSack{}
	}
	return d.sacks[s]
}

// state copies what there is of a sack.
func (d *fakeDriver) state(s Sack) fakeSack {
	d.mu.Lock()
	defer d.mu.Unlock()
	state := *d.sack(s)
	state.values = slices.Clone(state.values)
	return state
}

func (d *fakeDriver) Open(_ context.Context, s Sack) (SackWriter, Watermark, error) {
	if d.onOpen != nil {
		if err := d.onOpen(s); err != nil {
			return nil, Watermark{}, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sack := d.sack(s)
	sack.opened++
	sack.owner = &fakeWriter{driver: d, number: s, sack: sack, next: sack.watermark}
	at := sack.at.Clone()
	at.Offset = sack.watermark
	return sack.owner, at, nil
}

func (d *fakeDriver) Read(context.Context, []Query, [][]Measure, Position) (Position, error) {
	return nil, nil
}
func (d *fakeDriver) Close() error { return nil }

type fakeWriter struct {
	driver *fakeDriver
	number Sack
	sack   *fakeSack
	next   Offset
	values []float64
	closed bool
}

// unknown is a policy that the fakeDriver rejects.
const unknown = "unknown"

func (w *fakeWriter) Apply(ctx context.Context, records []Delivery) (rejects []Reject, err error) {
	if w.driver.onApply != nil {
		if err := w.driver.onApply(ctx, w.number); err != nil {
			return nil, err
		}
	}
	for _, d := range records {
		if d.Offset < w.next {
			continue
		}
		for i, e := range d.Record.Entries {
			if e.Policy == unknown {
				rejects = append(rejects, Reject{Offset: d.Offset, Entry: i, Reason: "no such policy"})
				continue
			}
			for _, m := range e.Measures {
				w.values = append(w.values, m.Value)
			}
		}
		w.next = d.Offset + 1
	}
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	w.sack.applied++
	return rejects, nil
}

func (w *fakeWriter) Flush(ctx context.Context, to Watermark) ([]Reject, error) {
	if w.driver.onFlush != nil {
		if err := w.driver.onFlush(ctx, w.number); err != nil {
			return nil, err
		}
	}
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	if w.sack.owner != w {
		w.values = nil
		return nil, ErrFenced
	}
	w.sack.values = append(w.sack.values, w.values...)
	w.values = nil
	w.sack.watermark, w.sack.at = to.Offset, to.Clone()
	w.sack.flushed++
	return nil, nil
}

func (w *fakeWriter) Confirm(context.Context) (Offset, error) {
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	if w.sack.owner != w {
		return 0, ErrFenced
	}
	return w.sack.watermark, nil
}

func (w *fakeWriter) Epoch() uint64 { return uint64(w.sack.opened) }

// Buffered is 100 bytes per value.
func (w *fakeWriter) Buffered() int64 { return int64(100 * len(w.values)) }

func (w *fakeWriter) Maintain(context.Context) error {
	if w.driver.onMaintain != nil {
		if err := w.driver.onMaintain(w.number); err != nil {
			return err
		}
	}
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	w.sack.chored++
	return nil
}

func (w *fakeWriter) Sealed() Offset {
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	return w.sack.sealed
}

func (w *fakeWriter) Close() error {
	w.closed = true
	return nil
}

// fakeLetters keeps dead letters, and notes the watermark at which each came.
type fakeLetters struct {
	driver *fakeDriver

	mu      sync.Mutex
	letters map[string]DeadLetter
	at      map[string]Offset // the driver's watermark when the letter was added
	fail    error
}

func (l *fakeLetters) Add(_ context.Context, letters []DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	for _, letter := range letters {
		if _, ok := l.letters[letter.ID]; !ok {
			l.letters[letter.ID] = letter
			l.at[letter.ID] = l.driver.state(letter.Sack).watermark
		}
	}
	return nil
}

func (l *fakeLetters) List(context.Context, string, int) ([]DeadLetter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []DeadLetter
	for _, letter := range l.letters {
		list = append(list, letter)
	}
	slices.SortFunc(list, func(a, b DeadLetter) int { return int(a.Offset - b.Offset) })
	return list, nil
}

func (l *fakeLetters) Remove(context.Context, []string) error { return errors.New("not in this test") }

func (l *fakeLetters) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.letters)
}

func (l *fakeLetters) failWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// put writes one delivery into the log and returns the watermark behind it.
func (l *memoryLog) put(sack Sack, d Delivery) Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.Offset = Offset(10 * len(l.sacks[sack]))
	l.sacks[sack] = append(l.sacks[sack], d)
	close(l.changed)
	l.changed = make(chan struct{})
	return d.Offset + 1
}

// A bench is a Worker between a log and a driver, in a synctest bubble.
type bench struct {
	t        *testing.T
	log      *memoryLog
	driver   *fakeDriver
	letters  *fakeLetters
	progress *Progress
	assigner Assigner
	config   WorkerConfig
	stop     func() // and wait until Run has returned
}

// onBench runs a test with everything ready but the worker.
func onBench(t *testing.T, config WorkerConfig, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, log: newMemoryLog(2), driver: &fakeDriver{sacks: make(map[Sack]*fakeSack)}, config: config}
		b.letters = &fakeLetters{driver: b.driver, letters: make(map[string]DeadLetter), at: make(map[string]Offset)}
		b.progress = NewProgress(2, b.log)
		b.assigner = Everything(2)
		test(t, b)
	})
}

// run starts the worker; the test's end stops it.
func (b *bench) run() {
	b.t.Helper()
	b.runWorker(newTestWorker(b.t, b.log, b))
}

func (b *bench) runWorker(w *Worker) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run returns %v, want nil", err)
		}
	})
	b.t.Cleanup(b.stop)
	synctest.Wait()
}

// write puts a record with one value into the log, and lets the worker have it.
func (b *bench) write(sack Sack, value float64) Offset {
	b.t.Helper()
	now := time.Now()
	watermark := b.log.put(sack, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: now,
		Entries: []Entry{{Policy: "low", Measures: []Measure{{now.UnixNano(), value}}}}}})
	synctest.Wait()
	return watermark
}

// wait lets time pass and the worker do what it does then.
func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) wantValues(sack Sack, want ...float64) {
	b.t.Helper()
	if got := b.driver.state(sack).values; !slices.Equal(got, want) {
		b.t.Errorf("sack %d has the values %v, want %v", sack, got, want)
	}
}

func (b *bench) wantWatermark(sack Sack, want Offset) {
	b.t.Helper()
	if got := b.progress.Watermarks()[sack]; got != want {
		b.t.Errorf("sack %d is applied up to %d, want %d", sack, got, want)
	}
}

func (b *bench) lag(sack Sack) SackLag { return b.progress.Lag(b.t.Context())[sack] }

// A brokenSource is a log that can't be read.
type brokenSource struct {
	*memoryLog
	broken bool
}

func (s *brokenSource) Fetch(ctx context.Context, sack Sack, from Offset, dst *Deliveries) error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken {
		return ErrUnavailable
	}
	return s.memoryLog.Fetch(ctx, sack, from, dst)
}

func (s *brokenSource) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = false
}

// A silentSource is a log that hands out nothing, and no error either.
type silentSource struct {
	*memoryLog
	silent bool
}

func (s *silentSource) Fetch(ctx context.Context, sack Sack, from Offset, dst *Deliveries) error {
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.memoryLog.Fetch(ctx, sack, from, dst)
}

func (s *silentSource) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = false
}

func newTestWorker(t *testing.T, source Source, b *bench) *Worker {
	t.Helper()
	w, err := NewWorker(source, b.driver, b.letters, b.assigner, b.progress, b.config, slog.New(slog.DiscardHandler),
		metricnoop.Meter{}, tracenoop.Tracer{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

package carbonara

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// Config tunes a Driver. The zero value of a field means its default.
type Config struct {
	CacheBytes int64         // memory for what is read of segments, and for those just written; 64 MiB
	ViewTTL    time.Duration // how old a reader's knowledge of a manifest may be; 0: it looks each time
	SealEvery  time.Duration // at least so often is sealed what can be; 1 h
	SealRows   int64         // and as soon as so many raw rows have gathered since, if most of it can be; 64 k
	MergeWidth int           // so many neighbours of one tier are merged; 8
	// how long what is no longer used stays for the readers of older manifests; 5 min, and 10 s where no other process
	// can be one
	Grace       time.Duration
	CollectEach time.Duration // how often to look for orphans; 1 h
	Tombstone   time.Duration // how long a deleted metric's id is remembered, unless there are very many; 24 h
	Readers     int           // requests to the store that reads have under way at the same time; 32

	// Deployment is the id that the storage has to carry, and is given if it is new;
	// empty: whatever it has, and a random one. MustExist refuses storage that is empty.
	Deployment string
	MustExist  bool
	// Patient makes a driver although the store can't be asked now: its layout is looked at
	// by the first call that can, and until then calls fail.
	Patient bool

	// Now is the clock that ages are told by: of garbage, seals, tombstones, views; nil: time.Now.
	// Another is for whoever plays hours of a deployment in minutes.
	Now func() time.Time

	serial bool // tests: housekeeping in one goroutine

	slotRows int64 // how many rows a slot of time should have to get a sealed segment of its own; 16 k
}

func (c Config) withDefaults() Config {
	c.CacheBytes = orDefault(c.CacheBytes, 64<<20)
	c.SealEvery = orDefault(c.SealEvery, time.Hour)
	c.SealRows = orDefault(c.SealRows, 64<<10)
	c.MergeWidth = max(2, orDefault(c.MergeWidth, 8))
	c.Grace = orDefault(c.Grace, 5*time.Minute)
	c.CollectEach = orDefault(c.CollectEach, time.Hour)
	c.Tombstone = orDefault(c.Tombstone, 24*time.Hour)
	c.Readers = orDefault(c.Readers, 32)
	c.slotRows = orDefault(c.slotRows, 16<<10)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// A Driver is Carbonara on a store. It implements [ingest.Driver] and
// [ingest.LateReader], [ingest.Watermarker] and [ingest.LiveReader].
type Driver struct {
	store    Store
	opening  sync.Mutex
	layout   atomic.Pointer[Layout] // nil: it has not been looked at yet
	troubles atomic.Uint64          // calls of the store that failed
	policies ingest.Policies
	sacks    int
	config   Config
	files    *cache
	room     chan struct{} // holds a place for each request of a read
	damaged  damages
	garbage  time.Duration // how long replaced segments stay

	smallWork, largeWork chan struct{} // hold a place for each merge or seal under way
	views                []viewSlot    // per sack
	stats                stats
	encoders             sync.Pool // of *segment.RawWriter that are empty, with their memory

	mu     sync.Mutex
	closed bool
}

var (
	_ ingest.Driver      = (*Driver)(nil)
	_ ingest.LateReader  = (*Driver)(nil)
	_ ingest.Watermarker = (*Driver)(nil)
	_ ingest.LiveReader  = (*Driver)(nil)
	_ ingest.Prober      = (*Driver)(nil)
)

// ErrClosed says that a driver or a writer has been closed.
var ErrClosed = errors.New("carbonara is closed")

// Stats counts what a Driver has done since it was made.
type Stats struct {
	Flushes, Merges, Seals         uint64 // that were committed
	FlushedBytes                   uint64 // of segments written by each
	MergedBytes, SealedBytes       uint64
	MergeSeconds, SealSeconds      float64
	SegmentsRead, CacheBytes       uint64
	Segments, Bytes, Rows          int64 // of the sacks that this process owns
	OrphansDeleted, GarbageDeleted uint64
	Expired                        uint64 // segments that have left whole, because all of it had expired
	Damaged                        int    // objects that were found damaged, and have not gone since
	Late                           uint64 // measures dropped as too late; those of a record applied again count again
}

type stats struct {
	flushes, merges, seals                 atomic.Uint64
	flushedBytes, mergedBytes, sealedBytes atomic.Uint64
	mergeNanos, sealNanos                  atomic.Int64
	segmentsRead, orphans, garbage, late   atomic.Uint64
	expired                                atomic.Uint64
}

// exclusiveGrace is how long replaced segments stay where all readers are in this
// process: one that still needs a segment which has gone starts again.
const exclusiveGrace = 10 * time.Second

// New returns a driver for a deployment of that many sacks. It writes the layout
// of a new deployment, and refuses one with another number of sacks. The driver
// does not own the store: its owner closes it after the driver.
func New(ctx context.Context, store Store, policies ingest.Policies, sacks int, config Config) (*Driver, error) {
	if sacks < 1 {
		return nil, fmt.Errorf("a deployment needs at least one sack, not %d", sacks)
	}
	garbage := config.Grace
	config = config.withDefaults()
	if garbage == 0 {
		if garbage = config.Grace; store.Traits().Exclusive {
			garbage = exclusiveGrace
		}
	}
	d := &Driver{policies: policies, sacks: sacks, config: config, garbage: garbage, views: make([]viewSlot, sacks)}
	d.room = make(chan struct{}, config.Readers)
	d.smallWork, d.largeWork = make(chan struct{}, 1), make(chan struct{}, 1)
	d.store = &watched{store, &d.troubles}
	d.files = newCache(d.store, config.CacheBytes, &d.stats.segmentsRead)
	if !config.Patient {
		if err := d.open(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// rawEncoder returns an empty writer of raw segments. Whoever has finished with it, and without an
// error, gives it back.
func (d *Driver) rawEncoder() *segment.RawWriter {
	if e, ok := d.encoders.Get().(*segment.RawWriter); ok {
		return e
	}
	return segment.NewRawWriter()
}

// Close makes every later call fail. A second Close does nothing.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

// open looks at the layout, once.
func (d *Driver) open(ctx context.Context) error {
	d.opening.Lock()
	defer d.opening.Unlock()
	if d.layout.Load() != nil {
		return nil
	}
	layout, err := openLayout(ctx, d.store, d.sacks, d.config)
	if err == nil {
		d.layout.Store(&layout)
	}
	return err
}

func (d *Driver) usable(ctx context.Context) error {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if d.layout.Load() == nil {
		return d.open(ctx)
	}
	return ctx.Err()
}

// Stats returns the counters.
func (d *Driver) Stats() Stats {
	s := &d.stats
	out := Stats{
		Flushes: s.flushes.Load(), Merges: s.merges.Load(), Seals: s.seals.Load(),
		FlushedBytes: s.flushedBytes.Load(), MergedBytes: s.mergedBytes.Load(), SealedBytes: s.sealedBytes.Load(),
		MergeSeconds: time.Duration(s.mergeNanos.Load()).Seconds(), SealSeconds: time.Duration(s.sealNanos.Load()).Seconds(),
		SegmentsRead: s.segmentsRead.Load(), CacheBytes: uint64(d.files.bytes()),
		OrphansDeleted: s.orphans.Load(), GarbageDeleted: s.garbage.Load(), Late: s.late.Load(),
		Expired: s.expired.Load(),
		Damaged: len(d.Damages()),
	}
	for i := range d.views {
		if w := d.views[i].writer.Load(); w != nil {
			for _, seg := range w.current().Segments {
				out.Segments++
				out.Bytes += seg.Bytes
				out.Rows += seg.Rows
			}
		}
	}
	return out
}

// Late returns how many measures of each metric have been dropped as late.
func (d *Driver) Late(ctx context.Context, metrics []ingest.MetricID) ([]uint64, error) {
	if err := d.usable(ctx); err != nil {
		return nil, err
	}
	late := make([]uint64, len(metrics))
	group, ctx := errgroup.WithContext(ctx)
	for sack, list := range d.bySack(len(metrics), func(i int) ingest.MetricID { return metrics[i] }) {
		group.Go(func() error {
			ids := make([]ingest.MetricID, len(list))
			for n, i := range list {
				ids[n] = metrics[i]
			}
			_, err := d.withState(ctx, sack, 0, ids, func(s *state) error {
				if !s.live {
					return s.view.lates(ctx, metrics, list, late)
				}
				for n, i := range list {
					if late[i] = s.late[n]; s.gone[n] {
						late[i] = 0
					}
				}
				return nil
			})
			return err
		})
	}
	return late, group.Wait()
}

// Watermarks returns how far sacks have been applied, by whomever; see
// ingest.Watermarker.
func (d *Driver) Watermarks(ctx context.Context, sacks []ingest.Sack, dst []ingest.Offset) error {
	if err := d.usable(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.config.Readers)
	for i, sack := range sacks {
		group.Go(func() error {
			d.views[sack].expire()
			v, err := d.view(ctx, sack)
			if err == nil {
				dst[i] = v.manifest.Applied.Offset
			}
			return err
		})
	}
	return group.Wait()
}

// ReadsLive says that Read sees the open tables of this process.
func (d *Driver) ReadsLive() {}

// bySack groups the indexes of metrics by their sacks.
func (d *Driver) bySack(n int, metric func(int) ingest.MetricID) map[ingest.Sack][]int {
	groups := make(map[ingest.Sack][]int)
	for i := range n {
		s := ingest.SackOf(metric(i), d.sacks)
		groups[s] = append(groups[s], i)
	}
	return groups
}

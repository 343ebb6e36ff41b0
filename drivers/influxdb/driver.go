package influxdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"

	"millrace/ingest"
)

// A Driver is an ingest.Driver on one bucket of an InfluxDB.
type Driver struct {
	config    Config
	policies  ingest.Policies
	series    *seriesCache
	log       *slog.Logger
	client    influxdb2.Client
	own       *http.Transport // nil: the caller's
	write     api.WriteAPIBlocking
	metrics   *metrics
	gate      *gate            // passed when there is a server that will do
	describer ingest.Describer // nil: nothing is described
	described catalog
	major     atomic.Int64 // of the server's version; 0: not known yet
	skewed    sync.Once    // says that the clocks differ
	batches   chan *batch  // those that nobody fills or writes
	fewer     atomic.Int64 // bytes in one write that the server has found too many, halved; 0: none

	mu     sync.Mutex
	closed bool
	sacks  map[ingest.Sack]*known
}

// known is what this process knows of a sack's watermark.
type known struct {
	writers  int           // that are open
	flushed  ingest.Offset // the greatest that was written or read here
	specials int           // batches with values there is no number for, whose write has begun
	writing  int           // those of them whose write has not ended, or may happen yet
}

var (
	_ ingest.Driver      = (*Driver)(nil)
	_ ingest.Watermarker = (*Driver)(nil)
	_ ingest.Prober      = (*Driver)(nil)
)

var errClosed = errors.New("the InfluxDB driver is closed")

// New returns a Driver. It asks policies whether a policy exists, and labeler what begins
// the lines of a metric and, where it is an [ingest.Describer], what things are called now.
// No server need be there yet: what is called first finds out whether there is one that
// will do, and fails until there is.
func New(config Config, policies ingest.Policies, labeler ingest.Labeler, log *slog.Logger, meter Meter) (*Driver,
	error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	transport, err := config.transport()
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(meter)
	if err != nil {
		return nil, err
	}
	options := influxdb2.DefaultOptions().SetMaxRetries(0).SetUseGZip(config.Gzip).SetPrecision(time.Nanosecond).
		SetApplicationName("millrace").SetHTTPClient(&http.Client{Transport: strictTransport{metrics.observe(transport)}})
	client := influxdb2.NewClientWithOptions(strings.TrimSuffix(config.URL, "/"), config.Token, options)
	d := &Driver{
		config: config, policies: policies, series: newSeriesCache(labeler, config.LabelBytes), log: log,
		client: client, write: client.WriteAPIBlocking(config.Org, config.Bucket),
		sacks: make(map[ingest.Sack]*known), metrics: metrics, batches: make(chan *batch, config.MaxWrites),
	}
	for range config.MaxWrites {
		d.batches <- new(batch)
	}
	d.described = catalog{read: d.readDescribed, turn: make(chan struct{}, 1)}
	if config.DescribeEvery > 0 {
		d.describer, _ = labeler.(ingest.Describer)
	}
	if config.Transport == nil {
		d.own, _ = transport.(*http.Transport)
	}
	d.gate = newGate(d.check)
	return d, nil
}

// Open begins a tenure of a sack, which ends no other; see ingest.Driver.
func (d *Driver) Open(ctx context.Context, sack ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	var none ingest.Watermark
	if err := d.usable(ctx); err != nil {
		return nil, none, err
	}
	marks, err := d.readWatermarks(ctx, []ingest.Sack{sack})
	if err != nil {
		return nil, none, err
	}
	gone, err := d.readTombstones(ctx, sack)
	if err != nil {
		return nil, none, err
	}
	at := marks[sack]
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known(sack)
	k.writers++
	k.flushed = max(k.flushed, at.Offset)
	return newWriter(d, sack, at, gone), at.Clone(), nil
}

// Watermarks reads how far sacks have been applied; see ingest.Watermarker.
func (d *Driver) Watermarks(ctx context.Context, sacks []ingest.Sack, dst []ingest.Offset) error {
	if err := d.usable(ctx); err != nil || len(sacks) == 0 {
		return err
	}
	marks, err := d.readWatermarks(ctx, sacks)
	for i, sack := range sacks {
		dst[i] = marks[sack].Offset
	}
	return err
}

// Close lets go of the connections.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.client.Close() // it leaves connections that aren't its own alone
		if d.own != nil {
			d.own.CloseIdleConnections()
		}
	}
	return nil
}

// Ready returns when there is a server that will do, or says why there is none yet. It is
// Permanent where only another server, or other settings, can help.
func (d *Driver) Ready(ctx context.Context) error { return d.usable(ctx) }

// Probe asks for the server's health; see ingest.Prober.
func (d *Driver) Probe(ctx context.Context) error {
	var health struct{ Status string }
	if err := d.call(ctx, http.MethodGet, "/health", "", nil, &health); err != nil {
		return failed("find out whether InfluxDB is there", err)
	}
	return nil
}

// usable says why a call should not even begin.
func (d *Driver) usable(ctx context.Context) error {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.gate.pass(ctx)
}

// known is what is known of a sack. The caller holds mu.
func (d *Driver) known(sack ingest.Sack) *known {
	k := d.sacks[sack]
	if k == nil {
		k = &known{}
		d.sacks[sack] = k
	}
	return k
}

// moved remembers a watermark that has been written.
func (d *Driver) moved(sack ingest.Sack, to ingest.Offset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known(sack)
	k.flushed = max(k.flushed, to)
}

// released says that a writer was closed. Where none is left, nothing is known any more.
func (d *Driver) released(sack ingest.Sack) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.known(sack); k.writers > 1 {
		k.writers--
	} else {
		delete(d.sacks, sack)
	}
}

// wentBack forgets what was known of a sack, of which the server has forgotten more.
func (d *Driver) wentBack(sack ingest.Sack, to ingest.Offset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known(sack).flushed = to
}

// flushedHere is the watermark of a sack that is open in this process.
func (d *Driver) flushedHere(sack ingest.Sack) (ingest.Offset, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.sacks[sack]
	if k == nil || k.writers == 0 {
		return 0, false
	}
	return k.flushed, true
}

// writesSpecials says that a batch with values there is no number for is written, until the
// function that it returns is called.
func (d *Driver) writesSpecials(sack ingest.Sack) (ended func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known(sack)
	k.specials++
	k.writing++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		k.writing--
	}
}

// quiet says whether the sacks of metrics are open here and nothing that there is no number
// for is being written, and counts what of that has been.
func (d *Driver) quiet(reads []*metricRead) (specials int, quiet bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range reads {
		k := d.sacks[ingest.SackOf(r.metric, d.config.Sacks)]
		if k == nil || k.writers == 0 || k.writing > 0 {
			return 0, false
		}
		specials += k.specials
	}
	return specials, true
}

// writeLines writes whole lines, and returns when they are durable. Its error may be a
// statusError; what it says of the lines' fate is unknown otherwise.
func (d *Driver) writeLines(ctx context.Context, lines []byte) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout)
	defer cancel()
	if err := d.write.WriteRecord(ctx, string(lines)); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("%w (%w)", err, cause)
		}
		return err
	}
	return nil
}

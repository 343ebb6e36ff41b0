package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/index"
	"millrace/ingest"
	"millrace/queue/disklog"
)

// A checking is a check that goes on: what the parts of a deployment say of themselves.
type checking struct {
	config *config
	out    io.Writer
	log    *slog.Logger
	errs   []error

	index      index.Verified
	indexSound bool
	queue      disklog.Report // of an embedded log
	deployment string         // that the storage says it is of
	applied    map[ingest.Sack]ingest.Watermark
}

func (k *checking) fail(part string, err error) {
	if err != nil {
		k.errs = append(k.errs, fmt.Errorf("%s: %w", part, err))
	}
}

// run looks at each part and then compares them.
func (k *checking) run(ctx context.Context) error {
	k.applied = make(map[ingest.Sack]ingest.Watermark)
	k.checkIndex(ctx)
	if k.config.Queue.Driver == "disklog" {
		k.checkDisklog(ctx)
	}
	if k.config.Storage.Driver == "influxdb" {
		k.checkInflux(ctx)
	} else {
		k.checkCarbonara(ctx)
	}
	if k.config.Queue.Driver == "kafka" {
		k.checkKafka(ctx)
	}
	k.compare()
	return errors.Join(k.errs...)
}

func (k *checking) checkIndex(ctx context.Context) {
	v, err := index.Verify(ctx, k.config.Index.URL)
	k.index, k.indexSound = v, err == nil
	if err != nil {
		k.fail("the index "+indexName(k.config), err)
		return
	}
	fmt.Fprintf(k.out, "index: %d metrics, %d dead letters\n", v.Metrics, v.Letters)
	if sacks := v.Deployment.Sacks; sacks > 0 && sacks != k.config.Sacks {
		k.fail("the index", fmt.Errorf("its deployment has %d sacks, and %d are configured", sacks, k.config.Sacks))
	}
}

func (k *checking) checkDisklog(ctx context.Context) {
	r, err := disklog.Verify(ctx, disk.OS{}, filepath.Join(k.config.DataDir, "log"))
	if errors.Is(err, fs.ErrNotExist) && r.Segments == 0 && kindOf(k.index.Log.ID) != "disklog" {
		return // a deployment that has not been up, or has come from another log
	}
	k.queue = r
	fmt.Fprintf(k.out, "log: %d segments, %d records, %s", r.Segments, r.Records, size(r.Bytes))
	if r.Torn > 0 {
		fmt.Fprintf(k.out, ", %d bytes torn at the end, as a crash leaves them (never acknowledged)", r.Torn)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(k.out, ", %d records that can't be decoded and will be dead letters", r.Unreadable)
	}
	fmt.Fprintln(k.out)
	k.fail("the log", err)
	if r.Sacks > 0 && r.Sacks != k.config.Sacks {
		k.fail("the log", fmt.Errorf("it has %d sacks, and %d are configured", r.Sacks, k.config.Sacks))
	}
}

func (k *checking) checkCarbonara(ctx context.Context) {
	store, err := openStore(ctx, k.config, disk.OS{}, nil, k.log, noop.NewMeterProvider().Meter(""))
	if err != nil {
		k.fail("the storage", err)
		return
	}
	defer store.Close()
	if k.deployment, err = layoutOf(ctx, store); err == nil && k.deployment == "" && k.index.Log == (ingest.LogID{}) &&
		k.indexSound {
		return // nothing has ever been applied: there is nothing to miss
	}
	var total carbonara.Report
	err = carbonara.Check(ctx, store, func(r carbonara.Report) {
		total.Segments += r.Segments
		total.Rows += r.Rows
		total.Bytes += r.Bytes
		total.Orphans += r.Orphans
		k.applied[r.Sack] = r.Applied
		k.errs = append(k.errs, r.Problems...)
	})
	fmt.Fprintf(k.out, "storage: %d segments, %d rows, %s; %d orphans waiting to be collected\n",
		total.Segments, total.Rows, size(total.Bytes), total.Orphans)
	k.fail("the storage", err)
}

// checkInflux says whether there is an InfluxDB that will do, and what the bucket says of
// itself. Its data are its own to verify (influxd inspect).
func (k *checking) checkInflux(ctx context.Context) {
	state, err := lookAtInflux(ctx, k.config, k.log, noop.NewMeterProvider().Meter(""))
	if err != nil {
		k.fail("the storage", err)
		return
	}
	k.deployment = state.Deployment
	maps.Copy(k.applied, state.Watermarks)
	fmt.Fprintf(k.out, "storage: bucket %q in InfluxDB, %d of %d sacks have been written to\n",
		k.config.Storage.Influx.Bucket, len(state.Watermarks), k.config.Sacks)
}

// brokerPatience bounds how long brokers are waited for.
const brokerPatience = 20 * time.Second

// checkKafka asks the brokers whether the topic is there, will do, and goes on where every
// sack has been applied.
func (k *checking) checkKafka(ctx context.Context) {
	name := k.config.Queue.Kafka.Topic
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	known := func(_ context.Context, id string) (ingest.Offset, error) {
		if at := k.index.Log; k.indexSound && at.ID != "" && at.ID != id {
			return 0, fmt.Errorf("the deployment's log is %s, and the settings name %s: all of the former must have been "+
				"applied before", at.ID, id)
		}
		return k.index.Log.Base, nil
	}
	t := &telemetry{meter: noop.NewMeterProvider().Meter("")}
	l, err := openKafka(ctx, k.config, kafkaUse{topic: name, client: "millrace check", mustExist: true}, known, k.log, t)
	if err != nil {
		k.fail("the log", err)
		return
	}
	defer l.Close()
	fmt.Fprintf(k.out, "log: topic %s, %d partitions of %d replicas\n", name, l.Topic().Partitions, l.Topic().Replication)
	for sack := range ingest.Sack(k.config.Sacks) {
		if at := k.applied[sack]; at.Log == l.Log() {
			k.fail(fmt.Sprintf("the log of sack %d", sack), l.Check(ctx, sack, at))
		}
	}
}

// compare says what of index, log and storage doesn't fit together. What could not be read
// was told before.
func (k *checking) compare() {
	ids := map[string]string{"the index": k.index.Deployment.ID, "the log": k.queue.Deployment, "the storage": k.deployment}
	maps.DeleteFunc(ids, func(_, id string) bool { return id == "" })
	if len(slices.Compact(slices.Sorted(maps.Values(ids)))) > 1 {
		k.errs = append(k.errs,
			fmt.Errorf("the parts are not of one deployment: %s (restore the one that is foreign, or see \"millrace index "+
				"adopt\")", listed(ids)))
	}
	switch {
	case !k.indexSound:
	case k.index.Deployment.ID == "" && (k.queue.Used || len(ids) > 0):
		k.errs = append(k.errs,
			fmt.Errorf("the index %s is new, but %s holds data: the index was lost or emptied, or index.url names another",
				indexName(k.config), listed(ids)))
	case k.index.Log.ID != "" && k.queue.Log.ID != "" && k.index.Log != k.queue.Log:
		k.errs = append(k.errs, fmt.Errorf("the index belongs to the log %s (base %d), and the log here is %s (base %d)",
			k.index.Log.ID, k.index.Log.Base, k.queue.Log.ID, k.queue.Log.Base))
	}
	if k.queue.Log.ID != "" {
		k.compareOffsets()
	}
}

// compareOffsets says where an embedded log doesn't go on where a sack has been applied.
func (k *checking) compareOffsets() {
	for sack := range ingest.Sack(k.config.Sacks) {
		at, known := k.applied[sack]
		switch {
		case !known || at.Log == (ingest.LogID{}):
		case at.Log == k.queue.Log:
			k.fail(fmt.Sprintf("sack %d has been applied up to %d, and the log doesn't go on there", sack, at.Offset),
				k.queue.GoesOnAt(sack, at.Offset))
		case at.Log.Base >= k.queue.Log.Base:
			k.errs = append(k.errs,
				fmt.Errorf("sack %d was applied from the log %s (base %d), and the log here is an older one or another: %s "+
					"(base %d)",
					sack, at.Log.ID, at.Log.Base, k.queue.Log.ID, k.queue.Log.Base))
		}
	}
}

// listed names parts and their deployments.
func listed(ids map[string]string) string {
	var list []string
	for part, id := range ids {
		list = append(list, part+" (deployment "+id+")")
	}
	if len(list) == 0 {
		return "the log"
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

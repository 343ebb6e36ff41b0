package benchmarks

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/sync/errgroup"

	"millrace/disk"
	"millrace/ingest"
	"millrace/queue/disklog"
	"millrace/queue/kafka"
	"millrace/testservers"
)

const (
	logSacks   = 16
	logClients = 4 // requests at the same time, as a load has them
)

// A wholeLog is both ends of a log.
type wholeLog interface {
	ingest.Appender
	ingest.Source
	Close() error
}

// logsAlone appends to a log and fetches from it what requests of measures make of
// themselves, with nothing of Millrace beside: what the log's own part takes in a process,
// embedded and on Kafka with each compression, and how large the topic gets.
func logsAlone(t *testing.T) {
	points := fromEnv(t, "MILLRACE_BENCH_POINTS", 2_000_000, strconv.Atoi)
	for _, s := range []shape{{10_000, 1000, 1}, {10_000, 100, 100}, {10_000, 1, 10_000}} {
		requests := recordsOf(s, points)
		t.Run(s.String()+"/embedded", func(t *testing.T) {
			dir := filepath.Join(dataDir(t), "log")
			l, err := disklog.Open(disk.OS{}, dir, logSacks, disklog.Config{}, slog.New(slog.DiscardHandler), noop.Meter{})
			if err != nil {
				t.Fatal(err)
			}
			logAlone(t, l, requests, func() float64 { return bytesOf(t, filepath.Join(dir, "*")) })
		})
		for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
			t.Run(s.String()+"/"+codec, func(t *testing.T) {
				topic := strings.ToLower(rand.Text())
				l := logOn(t, topic, kafka.Config{Compression: codec}, logSacks)
				logAlone(t, l, requests, func() float64 {
					return bytesOf(t, filepath.Join(broker(t).Dir, "data", topic+"-*", "*.log"))
				})
			})
		}
	}
}

// logOn opens a topic on the Kafka of onKafka, in this process.
func logOn(t *testing.T, topic string, config kafka.Config, sacks int) *kafka.Log {
	t.Helper()
	config.Brokers, config.Topic = testservers.Kafka(t, testservers.Kafka4).Addrs(), topic
	config.Replication, config.MinInSync, config.AcceptRisks = 1, 1, true
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fromZero := func(context.Context, string) (ingest.Offset, error) { return 0, nil }
	l, err := kafka.Open(ctx, config, sacks, fromZero, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func logAlone(t *testing.T, l wholeLog, requests [][]ingest.Outgoing, size func() float64) {
	defer l.Close()
	kafkaBefore := cpuSeconds(t, broker(t).PID())
	before, began := ownCPU(t), time.Now()
	if err := appendAll(t.Context(), l, requests); err != nil {
		t.Fatal(err)
	}
	appended, took := ownCPU(t)-before, time.Since(began).Seconds()
	measures, records := counts(requests)
	end, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, began = ownCPU(t), time.Now()
	fetched, err := fetchAll(t.Context(), l, end)
	if err != nil || fetched != records {
		t.Fatalf("%d of %d records are fetched: %v", fetched, records, err)
	}
	read, tookRead := ownCPU(t)-before, time.Since(began).Seconds()
	millions := float64(measures) / 1e6
	t.Logf("%.2f M measures in %d records: append %.3f CPU-s per million (%.2f M/s), fetch %.3f (%.2f M/s); %.2f bytes a "+
		"measure; the broker %.2f CPU-s per million", millions, records, appended/millions, millions/took, read/millions,
		millions/tookRead, size()/float64(measures), (cpuSeconds(t, broker(t).PID())-kafkaBefore)/millions)
}

// recordsOf are the records that requests of a shape become, each with its sack: half of the
// metrics are noisy gauges, a quarter counters, a quarter constants.
func recordsOf(s shape, points int) [][]ingest.Outgoing {
	ids := make([]ingest.MetricID, s.metrics)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Hour)
	requests := make([][]ingest.Outgoing, max(1, points/(s.series*s.measures)))
	for n := range requests {
		records := make([]*ingest.Record, logSacks)
		for k := range s.series {
			metric, first := s.point((n*s.series + k) * s.measures)
			sack := ingest.SackOf(ids[metric], logSacks)
			if records[sack] == nil {
				records[sack] = &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: time.Now(), Project: "bench"}
				requests[n] = append(requests[n], ingest.Outgoing{Sack: sack, Record: records[sack]})
			}
			e := ingest.Entry{Metric: ids[metric], Policy: "medium", Measures: make([]ingest.Measure, s.measures)}
			for i := range e.Measures {
				when := start.Add(time.Duration(first+i) * time.Second).UnixNano()
				e.Measures[i] = ingest.Measure{Time: when, Value: playedValue(metric, when)}
			}
			records[sack].Entries = append(records[sack].Entries, e)
		}
	}
	return requests
}

func counts(requests [][]ingest.Outgoing) (measures, records int) {
	for _, out := range requests {
		records += len(out)
		for i := range out {
			for _, e := range out[i].Record.Entries {
				measures += len(e.Measures)
			}
		}
	}
	return measures, records
}

func appendAll(ctx context.Context, l ingest.Appender, requests [][]ingest.Outgoing) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range logClients {
		group.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(requests) {
					return nil
				}
				if err := l.Append(ctx, requests[n]); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// fetchAll reads every sack up to its end, all at once, and counts the records.
func fetchAll(ctx context.Context, l ingest.Source, end ingest.Position) (int, error) {
	var fetched atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for sack, until := range end {
		group.Go(func() error {
			var d ingest.Deliveries
			for at := ingest.Offset(0); at < until; {
				if err := l.Fetch(ctx, ingest.Sack(sack), at, &d); err != nil {
					return err
				}
				for i := range d.List {
					if d.List[i].Err != nil {
						return d.List[i].Err
					}
				}
				fetched.Add(int64(len(d.List)))
				at = d.List[len(d.List)-1].Offset + 1
			}
			return nil
		})
	}
	err := group.Wait()
	return int(fetched.Load()), err
}

// ownCPU is the CPU time that this process has taken, in seconds.
func ownCPU(t *testing.T) float64 {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// bytesOf sums the sizes of files.
func bytesOf(t *testing.T, pattern string) float64 {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no %s: %v", pattern, err)
	}
	sum := 0.0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		sum += float64(info.Size())
	}
	return sum
}

// memoryOfBacklog puts ten million records of one measure each into a topic of 128 sacks, has
// one worker apply them, and says how much memory that took it at most.
func memoryOfBacklog(t *testing.T) {
	const sacks, metrics = 128, 10_000
	records := fromEnv(t, "MILLRACE_BENCH_RECORDS", 10_000_000, strconv.Atoi) / metrics * metrics
	c := newCluster(t, onRedis, fmt.Sprintf("MILLRACE_SACKS=%d", sacks), "MILLRACE_INGEST_MAX_AGE=24h")
	api := c.start(t, "api")
	ids := created(t, api, "medium", metrics)
	l := logOn(t, c.setting("MILLRACE_QUEUE_KAFKA_TOPIC"), kafka.Config{MustExist: true, MaxPending: math.MaxInt64}, sacks)
	defer l.Close()
	began := time.Now()
	if err := appendRounds(t.Context(), l, ids, sacks, records/metrics); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records produced in %.0f s", records, time.Since(began).Seconds())
	worker := c.start(t, "worker")
	began = time.Now()
	awaitFlushed(t, api)
	took := time.Since(began).Seconds()
	peak, err := memoryMiB(worker.pid, "VmHWM:")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records in %d sacks: applied by one worker in %.1f s, %.0f k/s, %.2f CPU-s per million; at most %.0f MiB in "+
		"memory", records, sacks, took, float64(records)/took/1e3, cpuSeconds(t, worker.pid)/float64(records)*1e6, peak)
	if got := metricOf(t, worker, "millrace_applied_measures_total"); int(got) != records {
		t.Errorf("%.0f measures are applied", got)
	}
}

// roundsAtOnce are appended by one call, so that the log has full batches to write.
const roundsAtOnce = 50

// appendRounds appends a record for each metric's next measure, so many times.
func appendRounds(ctx context.Context, l ingest.Appender, ids []ingest.MetricID, sacks, rounds int) error {
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Hour)
	for from := 0; from < rounds; from += roundsAtOnce {
		var out []ingest.Outgoing
		for round := from; round < min(from+roundsAtOnce, rounds); round++ {
			when := start.Add(time.Duration(round) * time.Second).UnixNano()
			for i, id := range ids {
				e := ingest.Entry{Metric: id, Policy: "medium", Measures: []ingest.Measure{
					{Time: when, Value: playedValue(i, when)}}}
				out = append(out, ingest.Outgoing{Sack: ingest.SackOf(id, sacks), Record: &ingest.Record{
					Kind: ingest.RecordMeasures, AcceptedAt: time.Now(), Entries: []ingest.Entry{e}}})
			}
		}
		if err := l.Append(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.opentelemetry.io/otel/metric"

	"millrace/ingest"
	"millrace/queue"
)

// A Log is the topic: an ingest.Appender, an ingest.Source and an ingest.Hinter. Its
// methods may be called concurrently.
type Log struct {
	config   Config
	id       ingest.LogID
	sacks    int
	client   *kafka.Client
	codec    kafka.Compression
	producer uint64 // names this process in the records that it writes
	log      *slog.Logger
	metrics  *metrics
	report   Report

	begins []int64 // own offsets where partitions began when the log was adopted; nil: at 0

	partitions []*partition
	sender     *sender
	decoders   sync.Pool // of *queue.Decoder
	places     places
	oldest     oldest
	alarms     alarms

	closing context.Context // ends when Close begins
	close   context.CancelFunc
	running sync.WaitGroup
}

var (
	_ ingest.Appender = (*Log)(nil)
	_ ingest.Source   = (*Log)(nil)
	_ ingest.Hinter   = (*Log)(nil)
)

// A Registrar tells the base of the log with an id: the same to every process of the
// deployment, and above every watermark of the logs before it.
type Registrar func(ctx context.Context, id string) (base ingest.Offset, err error)

// Open opens the log for a deployment of that many sacks. It makes the topic when there
// is none, and refuses one that could lose what was acknowledged, unless
// Config.AcceptRisks. It fails when no broker answers before ctx ends.
func Open(ctx context.Context, config Config, sacks int, register Registrar, log *slog.Logger,
	meter metric.Meter) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("cannot open the log on Kafka: %w", err)
	}
	codec, _ := compression(config.Compression)
	l := &Log{
		config: config, sacks: sacks, codec: codec, producer: rand.Uint64() | 1, log: log,
		client: newClient(config),
	}
	l.decoders.New = func() any { return new(queue.Decoder) }
	l.closing, l.close = context.WithCancel(context.Background())
	if l.metrics, err = newMetrics(meter, l); err != nil {
		return nil, err
	}
	cluster, err := l.prepareTopic(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log on Kafka, topic %s: %w", config.Topic, err)
	}
	l.id.ID = "kafka:" + cluster + "/" + config.Topic
	if l.id.Base, err = register(ctx, l.id.ID); err != nil {
		return nil, fmt.Errorf("cannot register the log %s: %w", l.id.ID, err)
	}
	l.sender = newSender(l)
	for s := range sacks {
		p := newPartition(l, s)
		l.partitions = append(l.partitions, p)
		l.running.Go(p.run)
	}
	return l, nil
}

func newClient(c Config) *kafka.Client {
	return &kafka.Client{
		Addr:    kafka.TCP(c.Brokers...),
		Timeout: c.Request,
		Transport: &kafka.Transport{
			DialTimeout: 3 * time.Second, IdleTimeout: 30 * time.Second, MetadataTTL: time.Second,
			ClientID: c.Client, TLS: c.TLS, SASL: c.SASL,
		},
	}
}

// Begins returns where every sack begins now.
func (l *Log) Begins(ctx context.Context) (ingest.Position, error) {
	at, err := l.ends(ctx, time.Now())
	begins := make(ingest.Position, len(at))
	for s := range at {
		begins[s] = l.offset(at[s].first)
	}
	return begins, err
}

// BeginAt says where the log began when an operator adopted it: that what came before is
// gone is known. It is called before anything is read.
func (l *Log) BeginAt(begins ingest.Position) {
	l.begins = make([]int64, l.sacks)
	for s := range min(len(begins), l.sacks) {
		l.begins[s] = max(0, l.own(begins[s]))
	}
}

// from is the own offset that a sack is read from behind a watermark of this log.
func (l *Log) from(sack ingest.Sack, at ingest.Offset) int64 {
	own := l.own(at)
	if own >= 0 && l.begins != nil {
		own = max(own, l.begins[sack])
	}
	return own
}

// Log says which log this is.
func (l *Log) Log() ingest.LogID { return l.id }

// Topic returns what was found of the topic at the start.
func (l *Log) Topic() Report { return l.report }

// Close waits until what was appended has been produced or has failed, and ends every
// connection. Calls after it fail with ingest.ErrUnavailable. A second Close does
// nothing.
func (l *Log) Close() error {
	l.close()
	for _, p := range l.partitions {
		p.shut()
	}
	l.running.Wait()
	l.client.Transport.(*kafka.Transport).CloseIdleConnections()
	return nil
}

// offset is where a partition's own offset is in the log.
func (l *Log) offset(own int64) ingest.Offset { return l.id.Base + ingest.Offset(own) }

// own is the inverse of offset; negative for a place before the log, but for 0: that is
// the beginning of any log.
func (l *Log) own(at ingest.Offset) int64 {
	if at == 0 {
		return 0
	}
	return int64(at - l.id.Base)
}

// where names a sack's partition in errors.
func (l *Log) where(sack int) string {
	return fmt.Sprintf("topic %s, partition %d", l.config.Topic, sack)
}

// unavailable makes an error of the brokers one of the log.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ingest.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ingest.ErrUnavailable, err)
}

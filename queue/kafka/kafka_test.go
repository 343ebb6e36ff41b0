package kafka_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/ingest"
	"millrace/queue/kafka"
	"millrace/queue/queuetest"
	"millrace/testservers"
)

// base is that of the logs of tests: above anything that an earlier log gave out.
const base = ingest.Offset(1_000_000)

func register(context.Context, string) (ingest.Offset, error) { return base, nil }

// onOneBroker is a configuration for a topic of its own on brokers that have no replicas
// to offer.
func onOneBroker(brokers []string) kafka.Config {
	return kafka.Config{
		Brokers: brokers, Topic: "measures-" + strings.ToLower(rand.Text()), Replication: 1, MinInSync: 1, AcceptRisks: true,
	}
}

func open(t testing.TB, config kafka.Config, sacks int) *kafka.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := tryOpen(ctx, t, config, sacks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func tryOpen(ctx context.Context, t testing.TB, config kafka.Config, sacks int) (*kafka.Log, error) {
	return kafka.Open(ctx, config, sacks, register, slog.New(slog.NewTextHandler(t.Output(), nil)), noop.Meter{})
}

// reopenable is a queue that can be opened again on the same topic.
type reopenable struct {
	*openedLog
	config kafka.Config
	sacks  int
}

// An openedLog is a Log; embedded, its name does not hide the method of that name.
type openedLog = kafka.Log

func (r reopenable) Reopen(t *testing.T) queuetest.Queue {
	return reopenable{open(t, r.config, r.sacks), r.config, r.sacks}
}

func TestQueue(t *testing.T) {
	for _, version := range []testservers.KafkaVersion{testservers.Kafka4, testservers.Kafka3} {
		t.Run(string(version), func(t *testing.T) {
			brokers := testservers.Kafka(t, version).Addrs()
			queuetest.Run(t, func(t *testing.T, sacks int) queuetest.Queue {
				config := onOneBroker(brokers)
				return reopenable{open(t, config, sacks), config, sacks}
			})
		})
	}
}

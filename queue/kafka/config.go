package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// Config says where the log is and how to speak to it. Brokers, Topic and Group are
// required; the zero value of another field means its default.
type Config struct {
	Brokers []string       // host:port of some of them
	Topic   string         // made when it doesn't exist
	Group   string         // of the workers; the topic's name
	Client  string         // names this process to the brokers and to the others of the group; millrace
	TLS     *tls.Config    // nil: plain TCP
	SASL    sasl.Mechanism // nil: none

	MustExist    bool          // makes no topic where there is none: ErrNoTopic
	Replication  int           // of a topic that is made here; 3
	MinInSync    int           // of a topic that is made here; 2
	Retention    time.Duration // of a topic that is made here, and the least that is safe; 7 days
	AcceptRisks  bool          // start on a topic that may lose what was acknowledged
	Compression  string        // of batches: none, gzip, snappy, lz4, zstd; lz4
	Linger       time.Duration // how long a batch may gather; 3 ms
	BatchBytes   int           // and how many bytes; 512 KiB
	MaxPending   int64         // bytes that wait for one partition; more is refused; 32 MiB
	Deadline     time.Duration // how long a batch is tried; 15 s
	Request      time.Duration // how long one request may take; 10 s
	Session      time.Duration // after so long without a heartbeat a worker's sacks go to others; 6 s
	Heartbeat    time.Duration // how often; by it a worker learns that sacks are to be shared out anew; 300 ms
	RejoinPause  time.Duration // 1 s
	CommitPeriod time.Duration // the least time between two commits of hints; 50 ms
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case len(c.Brokers) == 0:
		return c, errors.New("no brokers are configured")
	case c.Topic == "":
		return c, errors.New("no topic is configured")
	}
	setDefault(&c.Group, c.Topic)
	setDefault(&c.Client, "millrace")
	setDefault(&c.Replication, 3)
	setDefault(&c.MinInSync, 2)
	setDefault(&c.Retention, 7*24*time.Hour)
	setDefault(&c.Compression, "lz4")
	setDefault(&c.Linger, 3*time.Millisecond)
	setDefault(&c.BatchBytes, 512<<10)
	setDefault(&c.MaxPending, 32<<20)
	setDefault(&c.Deadline, 15*time.Second)
	setDefault(&c.Request, 10*time.Second)
	setDefault(&c.Session, 6*time.Second)
	setDefault(&c.Heartbeat, 300*time.Millisecond)
	setDefault(&c.RejoinPause, time.Second)
	setDefault(&c.CommitPeriod, 50*time.Millisecond)
	if _, err := compression(c.Compression); err != nil {
		return c, err
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func compression(name string) (kafka.Compression, error) {
	switch name {
	case "none":
		return 0, nil
	case "gzip":
		return kafka.Gzip, nil
	case "snappy":
		return kafka.Snappy, nil
	case "lz4":
		return kafka.Lz4, nil
	case "zstd":
		return kafka.Zstd, nil
	}
	return 0, fmt.Errorf("there is no compression %q: none, gzip, snappy, lz4 and zstd are", name)
}

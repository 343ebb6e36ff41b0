package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"millrace/disk"
	"millrace/index"
	"millrace/ingest"
	"millrace/queue/disklog"
	"millrace/queue/kafka"
)

type queueConfig struct {
	Driver   string        `name:"driver" default:"disklog" oneof:"disklog kafka" help:"the log; disklog is embedded"`
	Retain   time.Duration `name:"retain" help:"how long the log keeps what has been applied; 0: 15m where the storage may lose its tail"`
	MaxBytes size          `name:"max_bytes" help:"how large the embedded log may grow; 0: as the disk allows"`

	Kafka kafkaConfig `name:"kafka"`
}

type kafkaConfig struct {
	Brokers     []string      `name:"brokers" help:"host:port of some brokers"`
	Topic       string        `name:"topic" default:"millrace" help:"topic of the measures; made when there is none"`
	Group       string        `name:"group" help:"consumer group of the workers; none: as the topic"`
	Replication int           `name:"replication" default:"3" help:"replicas of a topic that is made"`
	MinInSync   int           `name:"min_in_sync" default:"2" help:"min.insync.replicas of a topic that is made"`
	Retention   time.Duration `name:"retention" default:"168h" help:"of a topic that is made; less is a risk"`
	AcceptRisks bool          `name:"accept_risks" help:"start on a topic that may lose what was acknowledged"`
	Compression string        `name:"compression" default:"lz4" oneof:"none gzip snappy lz4 zstd" help:"of batches"`
	TLS         bool          `name:"tls" help:"speak TLS to the brokers"`
	CAFile      string        `name:"ca_file" help:"certificates that TLS trusts; none: the system's"`
	CertFile    string        `name:"cert_file" help:"our certificate, for brokers that ask for one"`
	KeyFile     string        `name:"key_file" help:"its key"`
	SASL        string        `name:"sasl" default:"none" oneof:"none plain scram-sha-256 scram-sha-512" help:"how to log in"`
	User        string        `name:"user" help:"as whom"`
	Password    secret        `name:"password" help:"the user's password"`
	Session     time.Duration `name:"session" default:"6s" help:"a worker that is silent for so long loses its sacks"`
}

func (v *validator) queue(c *queueConfig) {
	v.check(c.Retain >= 0, "queue.retain must not be negative")
	if c.Driver != "kafka" {
		return
	}
	k := &c.Kafka
	v.check(len(k.Brokers) > 0, "queue.kafka.brokers must not be empty")
	v.check(k.Topic != "", "queue.kafka.topic must not be empty")
	v.check(k.Replication >= 1, "queue.kafka.replication must be at least 1, not %d", k.Replication)
	v.check(k.MinInSync >= 1 && k.MinInSync <= k.Replication,
		"queue.kafka.min_in_sync must be between 1 and queue.kafka.replication, not %d", k.MinInSync)
	v.positive("queue.kafka.retention", k.Retention)
	v.positive("queue.kafka.session", k.Session)
	v.check((k.CertFile == "") == (k.KeyFile == ""), "queue.kafka.cert_file and queue.kafka.key_file belong together")
	v.check(k.SASL == "none" || k.User != "", "queue.kafka.user must not be empty with queue.kafka.sasl")
}

// A queueLog is both ends of a log.
type queueLog interface {
	ingest.Appender
	ingest.Source
	io.Closer
}

// isShared says whether other processes may use the same log.
func (c *queueConfig) isShared() bool { return c.Driver == "kafka" }

// openQueue opens the log that the settings choose.
func (p *parts) openQueue(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	switch c.Queue.Driver {
	case "disklog":
		l, err := p.openDisklog(ctx, c, log, t)
		if err != nil {
			return err
		}
		p.log, p.assigner = l, ingest.Everything(c.Sacks)
		p.closers = append(p.closers, l)
		return nil
	case "kafka":
		use := kafkaUse{topic: c.Queue.Kafka.Topic, client: p.id}
		use.mustExist = use.topic == p.membership.topic && !p.rebase
		l, err := openKafka(ctx, c, use, p.base, log, t)
		if errors.Is(err, kafka.ErrNoTopic) {
			err = fmt.Errorf("%w: the topic of this deployment was deleted, or queue.kafka.brokers names another Kafka "+
				"(\"millrace index adopt\" makes it anew and gives up what it still held)", err)
		}
		if err != nil {
			return err
		}
		p.log, p.assigner, p.hints, p.kafka = l, l.Group(), l, l
		p.closers = append(p.closers, l)
		return nil
	}
	return fmt.Errorf("there is no queue driver %q", c.Queue.Driver)
}

// openDisklog opens the embedded log, which is not made where the deployment has had one.
func (p *parts) openDisklog(ctx context.Context, c *config, log *slog.Logger, t *telemetry) (*disklog.Log, error) {
	dir := filepath.Join(c.DataDir, "log")
	config := disklog.Config{MaxBytes: int64(c.Queue.MaxBytes), Deployment: p.membership.deployment,
		MustExist: p.membership.mustHave("disklog"),
		Rescue:    p.rescue(), Beside: c.Storage.Driver == "file"}
	if _, err := disklog.Look(disk.OS{}, dir); errors.Is(err, fs.ErrNotExist) && !config.MustExist {
		above, err := p.above(ctx)
		if err != nil && p.membership.inUse() { // a deployment that is new has applied nothing
			return nil, err
		}
		config.Above = above
	}
	l, err := disklog.Open(p.guard(), dir, c.Sacks, config, log, t.meter)
	if err != nil && config.MustExist {
		err = fmt.Errorf("the log of this deployment was lost or replaced, or is damaged: %w (\"millrace index adopt\" "+
			"gives up what a log that is lost still held)", err)
	}
	return l, err
}

// kafkaPatience bounds how long a start waits for a broker to answer.
const kafkaPatience = 5 * time.Minute

// A kafkaUse says which topic is opened, by whom, whether it is made where there is none,
// and whether nothing is to be written to it, so that what it may lose doesn't matter.
type kafkaUse struct {
	topic, client string
	mustExist     bool
	left          bool
}

func openKafka(ctx context.Context, c *config, use kafkaUse, base kafka.Registrar, log *slog.Logger,
	t *telemetry) (*kafka.Log, error) {
	k := &c.Queue.Kafka
	secure, err := k.tls()
	if err != nil {
		return nil, err
	}
	mechanism, err := k.mechanism()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	return kafka.Open(ctx, kafka.Config{
		Brokers: k.Brokers, Topic: use.topic, Group: k.Group, Client: use.client, MustExist: use.mustExist, TLS: secure,
		SASL:        mechanism,
		Replication: k.Replication, MinInSync: k.MinInSync, Retention: k.Retention, AcceptRisks: k.AcceptRisks || use.left,
		Compression: k.Compression, Session: k.Session,
	}, c.Sacks, base, log, t.meter)
}

// base tells the base of a log on Kafka: the one that the index has for it, or, for a
// log that it doesn't know or that is to be taken for a new one, now: more than anything
// that an earlier one gave out. What has been applied is looked at all the same: clocks go
// back, and the embedded log's offsets may be ahead of them.
func (p *parts) base(ctx context.Context, id string) (ingest.Offset, error) {
	current, err := p.index.CurrentLog(ctx)
	switch {
	case errors.Is(err, index.ErrNoLog):
	case err != nil:
		return 0, err
	case current.ID == id && !p.rebase:
		return current.Base, nil
	}
	base := ingest.Offset(time.Now().UnixNano())
	above, err := p.above(ctx)
	if err != nil && !p.rebase { // whom an operator tells to go on goes on
		return 0, err
	}
	return max(base, above), nil
}

// above is behind all that was ever applied: where a new log may begin.
func (p *parts) above(ctx context.Context) (above ingest.Offset, err error) {
	applied, err := p.watermarks(ctx, p.sacks)
	for _, at := range applied {
		above = max(above, at+1)
	}
	return above, err
}

func (k *kafkaConfig) tls() (*tls.Config, error) {
	if !k.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if k.CAFile != "" {
		pem, err := os.ReadFile(k.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read queue.kafka.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("queue.kafka.ca_file %s has no certificate in PEM form", k.CAFile)
		}
	}
	if k.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read queue.kafka.cert_file and key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (k *kafkaConfig) mechanism() (sasl.Mechanism, error) {
	switch k.SASL {
	case "plain":
		return plain.Mechanism{Username: k.User, Password: string(k.Password)}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, k.User, string(k.Password))
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, k.User, string(k.Password))
	}
	return nil, nil
}

// switchLog goes on from one log to another, if nothing that the old one holds is still
// to be applied, nobody writes to it, and the other is new.
func (p *parts) switchLog(ctx context.Context, c *config, from, to ingest.LogID, log *slog.Logger,
	t *telemetry) (err error) {
	old, err := p.openOldLog(ctx, c, from, log, t)
	if err != nil {
		return fmt.Errorf("the deployment's log is %s, and the settings choose %s; the old one can't be asked whether "+
			"all of it has been applied: %w (where it is lost, \"millrace index adopt\" gives up what it held)",
			from.ID, to.ID, err)
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	end, err := old.End(ctx)
	if err != nil {
		return err
	}
	applied, err := p.watermarks(ctx, c.Sacks)
	if err != nil {
		return err
	}
	_, keepsEnd := topicOf(from.ID) // the embedded log forgets where a sack ended that is applied
	for s, until := range end {
		switch {
		case keepsEnd && applied[s] > from.Base && until < applied[s]:
			return fmt.Errorf("the old log %s ends at %d in sack %d, and was applied up to %d: it was made anew, or has "+
				"lost its end; \"millrace index adopt\" with the new settings gives up what it held", from.ID, until, s,
				applied[s])
		case until > from.Base && applied[s] < until:
			return fmt.Errorf("the old log %s holds what has not been applied: sack %d ends at %d and is applied up to %d; "+
				"run a worker with the old settings until \"millrace status\" says that everything has been applied", from.ID, s,
				until, applied[s])
		}
	}
	if err := p.mustBeNew(ctx, c, to, applied); err != nil {
		return err
	}
	if err := p.index.SwitchLog(ctx, from, to, applied); err != nil {
		return err
	}
	log.Info("the deployment goes on with another log", "from", from.ID, "to", to.ID, "base", to.Base)
	return nil
}

// mustBeNew refuses to go on with a log that was used before: what another deployment
// has written to it would be applied here, and what this one wrote to it earlier would
// bring back old values.
func (p *parts) mustBeNew(ctx context.Context, c *config, to ingest.LogID, applied ingest.Position) error {
	used, err := holds(ctx, p.log)
	if err != nil {
		return err
	}
	for _, at := range applied {
		used = used || at > to.Base
	}
	if !used {
		return nil
	}
	way := fmt.Sprintf("move the directory %s elsewhere", filepath.Join(c.DataDir, "log"))
	if c.Queue.isShared() {
		way = "set queue.kafka.topic to one that is new: each deployment has a topic of its own"
	}
	return fmt.Errorf("the deployment can't go on with the log %s: it was used before, by another deployment or by this "+
		"one; %s", to.ID, way)
}

// openOldLog opens the log that the deployment has had, from the same settings.
func (p *parts) openOldLog(ctx context.Context, c *config, id ingest.LogID, log *slog.Logger, t *telemetry) (queueLog,
	error) {
	var old queueLog
	var err error
	if topic, ok := topicOf(id.ID); ok {
		if len(c.Queue.Kafka.Brokers) == 0 {
			return nil, errors.New("queue.kafka.brokers says no brokers")
		}
		known := func(context.Context, string) (ingest.Offset, error) { return id.Base, nil }
		old, err = openKafka(ctx, c, kafkaUse{topic: topic, mustExist: true, left: true}, known, log, t)
	} else {
		if _, missing := os.Stat(filepath.Join(c.DataDir, "log")); missing != nil {
			return nil, missing
		}
		old, err = p.openDisklog(ctx, c, log, t)
	}
	if err != nil {
		return nil, err
	}
	if got := old.Log(); got != id {
		return nil, errors.Join(fmt.Errorf("what is there is %s", got.ID), old.Close())
	}
	return old, nil
}

// topicOf returns the topic of a log on Kafka.
func topicOf(id string) (topic string, ok bool) {
	rest, ok := strings.CutPrefix(id, "kafka:")
	if !ok {
		return "", false
	}
	_, topic, ok = strings.Cut(rest, "/")
	return topic, ok
}

// watermarks asks the storage how far every sack has been applied.
func (p *parts) watermarks(ctx context.Context, n int) (ingest.Position, error) {
	driver, ok := p.driver.(ingest.Watermarker)
	if !ok {
		return nil, errors.New("this storage can't tell how far it has been applied")
	}
	sacks, at := make([]ingest.Sack, n), make(ingest.Position, n)
	for i := range sacks {
		sacks[i] = ingest.Sack(i)
	}
	if err := driver.Watermarks(ctx, sacks, at); err != nil {
		return nil, fmt.Errorf("cannot tell how far the storage has been applied: %w", err)
	}
	return at, nil
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"millrace/ingest"
)

// A Report says what the topic is like, and what of it may lose what was acknowledged.
type Report struct {
	Cluster     string
	Partitions  int
	Replication int               // of the partition that has the fewest
	Settings    map[string]string // the topic's own and the brokers' defaults, as far as they matter here
	Risks       []string
}

// The settings of a topic that matter here.
const (
	settingCleanup   = "cleanup.policy"
	settingInSync    = "min.insync.replicas"
	settingUnclean   = "unclean.leader.election.enable"
	settingRetention = "retention.ms"
	settingBytes     = "retention.bytes"
	settingMessage   = "max.message.bytes"
	settingTimestamp = "message.timestamp.type"
)

var topicSettings = []string{settingCleanup, settingInSync, settingUnclean, settingRetention, settingBytes,
	settingMessage, settingTimestamp}

// What a batch takes beside its records' values, generously, and each record in it.
const (
	batchOverhead  = 1 << 10
	recordOverhead = 32
)

// largestBatch bounds a batch that we write, in bytes and not compressed: one record may
// exceed BatchBytes, and then it is alone. With the default BatchBytes it fits the brokers'
// default of max.message.bytes.
func (c *Config) largestBatch() int {
	return max(c.BatchBytes, ingest.MaxRecord+recordOverhead) + batchOverhead
}

// prepareTopic makes the topic where there is none and checks it. It returns the
// cluster's id.
func (l *Log) prepareTopic(ctx context.Context) (cluster string, err error) {
	pause := 250 * time.Millisecond
	made := false
	for {
		cluster, topic, err := l.describeTopic(ctx)
		switch {
		case errors.Is(err, kafka.UnknownTopicOrPartition) && l.config.MustExist:
			return "", errors.New("there is no such topic")
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			err = l.createTopic(ctx)
			made = err == nil
		case err == nil:
			err = l.checkTopic(ctx, cluster, topic)
			if err == nil && made { // its last partition may have no leader for seconds after its first
				_, err = l.ends(ctx, time.Now())
			}
			if !errors.Is(err, ingest.ErrUnavailable) {
				return cluster, err
			}
		case !isTransient(err):
			return "", err
		}
		if err != nil {
			l.alarms.warn(l, "the log on Kafka is not ready; trying again", "brokers", strings.Join(l.config.Brokers, ","),
				"err", err)
		}
		select { // a topic that was just made shows after a moment
		case <-ctx.Done():
			return "", errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func (l *Log) describeTopic(ctx context.Context) (cluster string, t kafka.Topic, err error) {
	answer, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{l.config.Topic}})
	if err != nil {
		return "", t, err
	}
	if len(answer.Topics) == 0 {
		return "", t, kafka.UnknownTopicOrPartition
	}
	t = answer.Topics[0]
	if t.Error == nil && len(t.Partitions) == 0 {
		return "", t, kafka.LeaderNotAvailable
	}
	return answer.ClusterID, t, t.Error
}

func (l *Log) createTopic(ctx context.Context) error {
	entry := func(name, value string) kafka.ConfigEntry {
		return kafka.ConfigEntry{ConfigName: name, ConfigValue: value}
	}
	answer, err := l.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: l.config.Topic, NumPartitions: l.sacks, ReplicationFactor: l.config.Replication,
		ConfigEntries: []kafka.ConfigEntry{
			entry(settingCleanup, "delete"),
			entry(settingInSync, strconv.Itoa(l.config.MinInSync)),
			entry(settingUnclean, "false"),
			entry(settingRetention, strconv.FormatInt(l.config.Retention.Milliseconds(), 10)),
			entry(settingBytes, "-1"),
			entry(settingMessage, strconv.Itoa(2*l.config.largestBatch())),
			entry(settingTimestamp, "LogAppendTime"),
		},
	}}})
	if err == nil {
		err = answer.Errors[l.config.Topic]
	}
	switch {
	case errors.Is(err, kafka.TopicAlreadyExists): // somebody was faster
		return nil
	case err != nil:
		return fmt.Errorf("cannot make it with %d partitions and %d replicas: %w", l.sacks, l.config.Replication, err)
	}
	l.log.Info("made the topic", "topic", l.config.Topic, "partitions", l.sacks, "replication", l.config.Replication)
	return nil
}

// checkTopic refuses a topic that can't hold the log, and one that could lose what was
// acknowledged unless that is known.
func (l *Log) checkTopic(ctx context.Context, cluster string, t kafka.Topic) error {
	r := Report{Cluster: cluster, Partitions: len(t.Partitions)}
	for i, p := range t.Partitions {
		if i == 0 || len(p.Replicas) < r.Replication {
			r.Replication = len(p.Replicas)
		}
	}
	var err error
	if r.Settings, err = l.topicSettings(ctx); err != nil {
		return unavailable(fmt.Errorf("cannot read its settings: %w", err)) // another broker may tell
	}
	r.Risks = r.risks(l.config)
	l.report = r
	switch {
	case r.Partitions < l.sacks:
		return fmt.Errorf("it has %d partitions, and %d sacks need one each: the number of sacks never changes",
			r.Partitions, l.sacks)
	case r.Partitions > l.sacks:
		l.log.Warn("the topic has more partitions than there are sacks; the others are ignored", "topic", t.Name,
			"partitions", r.Partitions, "sacks", l.sacks)
	}
	if most, err := strconv.Atoi(r.Settings[settingMessage]); err == nil && most < l.config.largestBatch() {
		return fmt.Errorf("its %s is %d, and a batch may have %d bytes", settingMessage, most, l.config.largestBatch())
	}
	l.log.Info("the log is on Kafka", "topic", t.Name, "cluster", cluster, "partitions", r.Partitions, "replication",
		r.Replication,
		settingInSync, r.Settings[settingInSync], settingRetention, r.Settings[settingRetention])
	if len(r.Risks) == 0 {
		return nil
	}
	if !l.config.AcceptRisks {
		return fmt.Errorf("it may lose what was acknowledged: %s (queue.kafka.accept_risks: true starts all the same)",
			strings.Join(r.Risks, "; "))
	}
	l.log.Warn("the topic may lose what was acknowledged, and the settings say that this is known", "topic", t.Name,
		"risks", strings.Join(r.Risks, "; "))
	return nil
}

func (l *Log) topicSettings(ctx context.Context) (map[string]string, error) {
	answer, err := l.client.DescribeConfigs(ctx,
		&kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: l.config.Topic, ConfigNames: topicSettings,
		}}})
	if err != nil {
		return nil, err
	}
	settings := make(map[string]string)
	for _, resource := range answer.Resources {
		if resource.Error != nil {
			return nil, resource.Error
		}
		for _, e := range resource.ConfigEntries {
			settings[e.ConfigName] = e.ConfigValue
		}
	}
	return settings, nil
}

// risks says what of the topic could lose what was acknowledged. A setting that the
// brokers don't tell is not held against them.
func (r *Report) risks(c Config) []string {
	var risks []string
	risk := func(format string, args ...any) { risks = append(risks, fmt.Sprintf(format, args...)) }
	if r.Replication < 2 {
		risk("it has %d replica of each partition: a broker that is lost takes its measures along", r.Replication)
	} else if n, err := strconv.Atoi(r.Settings[settingInSync]); err == nil && n < 2 {
		risk("%s is %d: what one broker alone has is acknowledged", settingInSync, n)
	}
	if r.Settings[settingUnclean] == "true" {
		risk("%s is true: a broker that is behind may become the leader", settingUnclean)
	}
	if policy := r.Settings[settingCleanup]; policy != "" && policy != "delete" {
		risk("%s is %s: the log may not be compacted", settingCleanup, policy)
	}
	if ms, err := strconv.ParseInt(r.Settings[settingRetention], 10, 64); err == nil && ms >= 0 {
		if kept := time.Duration(ms) * time.Millisecond; kept < c.Retention {
			risk("%s is %s, less than the %s of queue.kafka.retention: what a stopped worker has not applied by then is gone",
				settingRetention, kept, c.Retention)
		}
	}
	if bytes, err := strconv.ParseInt(r.Settings[settingBytes], 10, 64); err == nil && bytes >= 0 {
		risk("%s is %d: a burst may push out what is not yet applied", settingBytes, bytes)
	}
	if kind := r.Settings[settingTimestamp]; kind != "" && kind != "LogAppendTime" {
		risk("%s is %s: a wrong clock of an API process would age its measures away", settingTimestamp, kind)
	}
	return risks
}

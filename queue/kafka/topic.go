package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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

	better map[string]string // the settings that would end the risks which a setting can end
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

// ErrNoTopic says that there is no topic, and that none is made.
var ErrNoTopic = errors.New("there is no such topic")

// missingLooks is at how many looks in a row, of about four seconds, a topic that must exist
// is unknown before it is taken for deleted: a broker that has just started learns of it after
// a moment.
const missingLooks = 5

// firstPause is how long to wait after a first look at the topic.
const firstPause = 250 * time.Millisecond

// prepareTopic makes the topic where there is none and checks it. It returns the
// cluster's id.
func (l *Log) prepareTopic(ctx context.Context) (cluster string, err error) {
	pause := firstPause
	made, missing := false, 0
	for {
		cluster, topic, err := l.describeTopic(ctx)
		if !errors.Is(err, kafka.UnknownTopicOrPartition) {
			missing = 0
		} else if missing++; missing == 1 {
			pause = firstPause
		}
		switch {
		case errors.Is(err, kafka.UnknownTopicOrPartition) && l.config.MustExist:
			if missing == missingLooks {
				return "", ErrNoTopic
			}
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			if err = l.createTopic(ctx); err != nil && !isTransient(err) {
				return "", err
			}
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

// wanted are the settings of a topic that is made, and those that one without risks has.
func (c *Config) wanted() map[string]string {
	return map[string]string{
		settingCleanup:   "delete",
		settingInSync:    strconv.Itoa(c.MinInSync),
		settingUnclean:   "false",
		settingRetention: strconv.FormatInt(c.Retention.Milliseconds(), 10),
		settingBytes:     "-1",
		settingMessage:   strconv.Itoa(2 * c.largestBatch()),
		settingTimestamp: "LogAppendTime",
	}
}

// alter is the command that gives a topic settings.
func alter(topic string, settings map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		list = append(list, name+"="+settings[name])
	}
	return fmt.Sprintf("kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s", topic,
		strings.Join(list, ","))
}

func (l *Log) createTopic(ctx context.Context) error {
	var entries []kafka.ConfigEntry
	for name, value := range l.config.wanted() {
		entries = append(entries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	answer, err := l.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: l.config.Topic, NumPartitions: l.sacks, ReplicationFactor: l.config.Replication,
		ConfigEntries: entries,
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
	r.Settings, err = l.topicSettings(ctx)
	switch {
	case errors.Is(err, kafka.TopicAuthorizationFailed) || errors.Is(err, kafka.ClusterAuthorizationFailed):
		return fmt.Errorf("cannot read its settings, which takes the right DescribeConfigs on it: %w", err)
	case err != nil:
		return unavailable(fmt.Errorf("cannot read its settings: %w", err)) // another broker may tell
	}
	r.Risks = r.risks(l.config)
	l.report = r
	switch {
	case r.Partitions < l.sacks:
		return fmt.Errorf("it has %d partitions, and %d sacks need one each: the number of sacks never changes "+
			"(kafka-topics.sh --alter --topic %s --partitions %d)", r.Partitions, l.sacks, t.Name, l.sacks)
	case r.Partitions > l.sacks:
		l.log.Warn("the topic has more partitions than there are sacks; the others are ignored", "topic", t.Name,
			"partitions", r.Partitions, "sacks", l.sacks)
	}
	if most, err := strconv.Atoi(r.Settings[settingMessage]); err == nil && most < l.config.largestBatch() {
		return fmt.Errorf("its %s is %d, and a batch may have %d bytes (%s)", settingMessage, most,
			l.config.largestBatch(), alter(t.Name, map[string]string{settingMessage: l.config.wanted()[settingMessage]}))
	}
	l.log.Info("the log is on Kafka", "topic", t.Name, "cluster", cluster, "partitions", r.Partitions, "replication",
		r.Replication,
		settingInSync, r.Settings[settingInSync], settingRetention, r.Settings[settingRetention])
	if len(r.Risks) == 0 {
		return nil
	}
	if !l.config.AcceptRisks {
		return fmt.Errorf("it may lose what was acknowledged: %s (%s; queue.kafka.accept_risks: true starts all the "+
			"same)", strings.Join(r.Risks, "; "), r.remedy(t.Name))
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
	r.better = make(map[string]string)
	wanted := c.wanted()
	wanted[settingInSync] = strconv.Itoa(max(2, c.MinInSync))
	// risk is of a setting, or of none.
	risk := func(setting, format string, args ...any) {
		risks = append(risks, fmt.Sprintf(format, args...))
		if setting != "" {
			r.better[setting] = wanted[setting]
		}
	}
	if r.Replication < 2 {
		risk("", "it has %d replica of each partition: a broker that is lost takes its measures along", r.Replication)
	} else if n, err := strconv.Atoi(r.Settings[settingInSync]); err == nil && n < 2 {
		risk(settingInSync, "%s is %d: what one broker alone has is acknowledged", settingInSync, n)
	}
	if r.Settings[settingUnclean] == "true" {
		risk(settingUnclean, "%s is true: a broker that is behind may become the leader", settingUnclean)
	}
	if policy := r.Settings[settingCleanup]; policy != "" && policy != "delete" {
		risk(settingCleanup, "%s is %s: the log may not be compacted", settingCleanup, policy)
	}
	if ms, err := strconv.ParseInt(r.Settings[settingRetention], 10, 64); err == nil && ms >= 0 {
		if kept := time.Duration(ms) * time.Millisecond; kept < c.Retention {
			risk(settingRetention, "%s is %s, less than the %s of queue.kafka.retention: what a stopped worker has not "+
				"applied by then is gone", settingRetention, kept, c.Retention)
		}
	}
	if bytes, err := strconv.ParseInt(r.Settings[settingBytes], 10, 64); err == nil && bytes >= 0 {
		risk(settingBytes, "%s is %d: a burst may push out what is not yet applied", settingBytes, bytes)
	}
	if kind := r.Settings[settingTimestamp]; kind != "" && kind != "LogAppendTime" {
		risk(settingTimestamp, "%s is %s: a wrong clock of an API process would age its measures away", settingTimestamp,
			kind)
	}
	return risks
}

// remedy says which commands end the risks.
func (r *Report) remedy(topic string) string {
	var list []string
	if r.Replication < 2 {
		list = append(list, "kafka-reassign-partitions.sh gives partitions more replicas")
	}
	if len(r.better) > 0 {
		list = append(list, alter(topic, r.better))
	}
	return strings.Join(list, "; ")
}

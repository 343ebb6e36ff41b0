package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	api "github.com/segmentio/kafka-go"

	"millrace/ingest"
	"millrace/queue/kafka"
	"millrace/testservers"
)

// A topic that allows it may choose a leader that is behind: the log's end is lost, and
// other records take its offsets. That is never silence: the place that was applied no
// longer fits, and the acceptor that wrote what is lost takes nothing more.
func TestUncleanElection(t *testing.T) {
	servers := testservers.NewKafka(t, testservers.Kafka4, testservers.KafkaOptions{Brokers: 3,
		Settings: map[string]string{
			"broker.session.timeout.ms": "3000",
			"replica.lag.time.max.ms":   "3000",
		}})
	config := kafka.Config{Brokers: servers.Addrs(), Topic: "measures-" + strings.ToLower(rand.Text()),
		Deadline: 4 * time.Second}
	ahead, behind := servers.Brokers[0], servers.Brokers[1]
	makeTopic(t, config.Brokers, api.TopicConfig{
		Topic: config.Topic, NumPartitions: -1, ReplicationFactor: -1,
		ReplicaAssignments: []api.ReplicaAssignment{{Partition: 0, Replicas: []int{ahead.ID, behind.ID}}},
		ConfigEntries: []api.ConfigEntry{
			{ConfigName: "min.insync.replicas", ConfigValue: "1"},
			{ConfigName: "unclean.leader.election.enable", ConfigValue: "true"},
			{ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"},
			{ConfigName: "max.message.bytes", ConfigValue: "4000000"},
		},
	})
	if _, err := tryOpen(t.Context(), t, config, 1); err == nil ||
		!strings.Contains(err.Error(), "unclean.leader.election.enable is true") {
		t.Fatalf("opens with %v, want the risk to be named", err)
	}
	config.AcceptRisks = true

	l := open(t, config, 1)
	mustAppend(t, l, 0, 0, 3)
	behind.Kill() // from here on one broker has it all
	for n := 3; n < 9; n++ {
		mustAppendEventually(t, l, 0, n)
	}
	list := fetchPatiently(t, l, 0, 9)
	at := ingest.Watermark{Log: l.Log(), Offset: l.Log().Base}
	for i := range list {
		at.Take(&list[i])
	}
	wantCheck(t, l, at, nil)
	ahead.Kill()
	if err := behind.Start(); err != nil {
		t.Fatal(err)
	}

	other := open(t, config, 1) // which knows nothing of what was
	appendAfterElection(t, other, 100)
	wantCheck(t, other, at, ingest.ErrForeign, config.Topic+", partition 0", "ends at offset")
	for n := 101; n < 120; n++ {
		mustAppendEventually(t, other, 0, n)
	}
	wantCheck(t, other, at, ingest.ErrForeign, config.Topic+", partition 0", "another record at offset")
	if err := ahead.Start(); err != nil { // it cuts what only it has
		t.Fatal(err)
	}
	wantCheck(t, other, at, ingest.ErrForeign, "another record at offset")

	stays := ingest.Position{at.Offset + 100} // as a process does that has read further watermarks
	third := open(t, config, 1)
	third.Expect(stays)
	if _, err := appendOne(t, third, 0, 200); err == nil || !strings.Contains(err.Error(), "gave out offset") {
		t.Errorf("the append returns %v, want an alarm", err)
	}
}

// makeTopic makes a topic as an operator would, who knows better than Open.
func makeTopic(t *testing.T, brokers []string, topic api.TopicConfig) {
	t.Helper()
	client := &api.Client{Addr: api.TCP(brokers...), Timeout: 10 * time.Second}
	answer, err := client.CreateTopics(t.Context(), &api.CreateTopicsRequest{Topics: []api.TopicConfig{topic}})
	if err == nil {
		err = answer.Errors[topic.Topic]
	}
	if err != nil {
		t.Fatal(err)
	}
}

// appendAfterElection appends a record as soon as a leader is chosen, which takes as long
// as the session of the one that is gone.
func appendAfterElection(t *testing.T, l *kafka.Log, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for {
		err := l.Append(ctx, []ingest.Outgoing{{Sack: 0, Record: numbered(n)}})
		if err == nil {
			return
		}
		if ctx.Err() != nil || !errors.Is(err, ingest.ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

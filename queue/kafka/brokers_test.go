package kafka_test

import (
	"crypto/rand"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/segmentio/kafka-go"

	"millrace/ingest"
	"millrace/queue/kafka"
	"millrace/testservers"
)

// Three brokers: what is acknowledged survives one of them being killed; with only one
// left nothing is acknowledged, and it goes on when the others are back. (One more is not
// enough: a broker that was killed may have to wait for the last leader.)
func TestThreeBrokers(t *testing.T) {
	servers := testservers.NewKafka(t, testservers.Kafka4, testservers.KafkaOptions{Brokers: 3})
	config := kafka.Config{Brokers: servers.Addrs(), Topic: "measures-" + strings.ToLower(rand.Text()),
		Deadline: 4 * time.Second}
	const sacks = 3
	l := open(t, config, sacks) // a topic of our own making has no risks
	if r := l.Topic(); r.Replication != 3 || r.Settings["min.insync.replicas"] != "2" || len(r.Risks) > 0 {
		t.Errorf("%+v", r)
	}
	if r := openDocumented(t, servers); len(r.Risks) > 0 {
		t.Errorf("the topic of docs/kafka.md has risks: %q", r.Risks)
	}
	next := 0
	write := func() {
		t.Helper()
		for range 3 {
			for s := range ingest.Sack(sacks) {
				mustAppendEventually(t, l, s, next)
			}
			next++
		}
	}
	write()
	servers.Brokers[2].Kill() // it leads a sack, and may lead the cluster
	write()
	if err := servers.Brokers[2].Start(); err != nil {
		t.Fatal(err)
	}
	write()
	servers.Brokers[0].Kill()
	servers.Brokers[1].Kill()
	for s := range ingest.Sack(sacks) {
		if _, err := appendOne(t, l, s, next); !errors.Is(err, ingest.ErrUnavailable) {
			t.Errorf("with one broker of three an append returns %v, want ErrUnavailable", err)
		}
	}
	next++
	for _, broker := range servers.Brokers[:2] {
		if err := broker.Start(); err != nil {
			t.Fatal(err)
		}
	}
	write()
	for s := range ingest.Sack(sacks) {
		// Whoever was told "unknown" has sent it again, as a record of its own.
		got := slices.Compact(applied(fetchPatiently(t, l, s, next-1)))
		if want := next - 1; len(got) < want || !slices.IsSorted(got) {
			t.Errorf("sack %d: %v are applied, want all but one of %d", s, got, next)
		}
	}
}

// openDocumented makes a topic as docs/kafka.md says, and opens a log on it.
func openDocumented(t *testing.T, servers *testservers.KafkaServer) kafka.Report {
	t.Helper()
	page, err := os.ReadFile("../../docs/kafka.md")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(page), "kafka-topics.sh ")
	command, _, _ = strings.Cut(command, "\n\n")
	var entries []api.ConfigEntry
	for _, setting := range regexp.MustCompile(`--config (\S+)=(\S+)`).FindAllStringSubmatch(command, -1) {
		entries = append(entries, api.ConfigEntry{ConfigName: setting[1], ConfigValue: setting[2]})
	}
	if len(entries) != 7 || !strings.Contains(command, "--partitions 16 --replication-factor 3 ") {
		t.Fatalf("the page's command is not the one that this test knows: %s", command)
	}
	config := kafka.Config{Brokers: servers.Addrs(), Topic: "documented"}
	makeTopic(t, config.Brokers, api.TopicConfig{
		Topic: config.Topic, NumPartitions: 16, ReplicationFactor: 3, ConfigEntries: entries,
	})
	return open(t, config, 16).Topic()
}

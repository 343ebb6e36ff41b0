package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setting is the value that a deployment's processes are given.
func (c *cluster) setting(name string) string {
	value := ""
	for _, s := range c.settings {
		if v, ok := strings.CutPrefix(s, name+"="); ok {
			value = v
		}
	}
	return value
}

// refuses has a process of the deployment not start, and say why.
func (c *cluster) refuses(why string, settings ...string) {
	c.t.Helper()
	all := append([]string{"MILLRACE_DATA_DIR=" + c.t.TempDir(), "MILLRACE_API_LISTEN=127.0.0.1:0"}, c.settings...)
	p := launchAs(c.t, c.path, "127.0.0.1:0", nil, append(all, settings...))
	if err := p.wait(); err == nil || !strings.Contains(p.log.String(), why) {
		c.t.Errorf("it ended with %v, want the reason %q:\n%s", err, why, p.log)
	}
}

// adopt has the deployment go on with the log that settings choose.
func (c *cluster) adopt(settings ...string) {
	c.t.Helper()
	out, errOut, code := command(c.t, append(append([]string{}, c.settings...), settings...), "index", "adopt")
	if code != 0 || !strings.Contains(out, "goes on with the log kafka:") {
		c.t.Fatalf("adopt ended with %d: %s%s", code, out, errOut)
	}
}

// checks has "millrace check" end with a status, and say something.
func (c *cluster) checks(want int, says ...string) {
	c.t.Helper()
	out, errOut, code := command(c.t, append([]string{"MILLRACE_DATA_DIR=" + c.t.TempDir()}, c.settings...), "check")
	if code != want {
		c.t.Errorf("check ends with %d, want %d: %s%s", code, want, out, errOut)
	}
	for _, text := range says {
		if !strings.Contains(out+errOut, text) {
			c.t.Errorf("check does not say %q: %s%s", text, out, errOut)
		}
	}
}

// ends stops processes as an operator does.
func (c *cluster) ends(processes ...*process) {
	c.t.Helper()
	for _, p := range processes {
		if err := p.terminate(); err != nil {
			c.t.Errorf("it ends with %v\n%s", err, p.log)
		}
	}
}

// fate is the state of a token, once it is not queued.
func (c *cluster) fate(p *process, token string) string {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var doc struct{ State string }
		a := p.ask(c.t, "GET", "/ingest/"+token, "")
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			c.t.Fatalf("status %d: %s", a.status, a.body)
		}
		if doc.State != "queued" || time.Now().After(deadline) {
			return doc.State
		}
	}
}

// A deployment moves from the embedded log to Kafka, and from topic to topic: not before
// all of the old log has been applied, unless an operator gives the rest up, and then that
// is told. No measure is lost and none swallowed.
func TestMoveToKafka(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	sqlite := "sqlite:" + filepath.Join(dir, "index.db")
	here := "MILLRACE_DATA_DIR=" + dir
	embedded := []string{here, "MILLRACE_QUEUE_DRIVER=disklog"}
	alone := append([]string{"MILLRACE_INDEX_URL=" + sqlite}, embedded...)
	p := c.start("api,worker", alone...)
	id := c.metric(p)
	c.count(p, id, c.post(p, id, 1, 1))
	c.ends(p)
	p = c.start("api", alone...)
	old := c.post(p, id, 2, 2)
	c.ends(p)

	if out, errOut, code := command(t, nil, "index", "copy", sqlite, c.setting("MILLRACE_INDEX_URL")); code != 0 {
		t.Fatalf("copying the index ended with %d: %s%s", code, out, errOut)
	}
	c.refuses(`holds what has not been applied`, here)
	c.refuses(`run a worker with the old settings until`, here)
	c.refuses(`the old one can't be asked whether all of it has been applied`) // in another directory
	p = c.start("api,worker", embedded...)
	if n := c.count(p, id, old); n != 2 {
		t.Errorf("%d measures before the move, want 2", n)
	}
	c.ends(p)
	api := c.start("api", here)
	worker := c.start("worker")
	if state := c.fate(api, old); state != "applied" {
		t.Errorf("what the embedded log held is %s", state)
	}
	onKafka := c.post(api, id, 3, 3)
	if n := c.count(api, id, onKafka); n != 3 {
		t.Errorf("%d measures on Kafka, want 3", n)
	}

	second := "MILLRACE_QUEUE_KAFKA_TOPIC=" + c.setting("MILLRACE_QUEUE_KAFKA_TOPIC") + "-2"
	c.refuses("in use", second) // others still write to the first
	c.ends(api, worker)
	api = c.start("api", second)
	worker = c.start("worker", second)
	if n := c.count(api, id, c.post(api, id, 4, 4)); n != 4 {
		t.Errorf("%d measures on the second topic, want 4", n)
	}
	c.ends(worker)
	given := c.post(api, id, 5, 5)
	c.ends(api)

	third := "MILLRACE_QUEUE_KAFKA_TOPIC=" + c.setting("MILLRACE_QUEUE_KAFKA_TOPIC") + "-3"
	c.refuses("holds what has not been applied", third)
	c.adopt(third)
	api = c.start("api", third)
	worker = c.start("worker", third)
	if n := c.count(api, id, c.post(api, id, 6, 6)); n != 5 {
		t.Errorf("%d measures on the third topic, want 5", n)
	}
	for token, want := range map[string]string{old: "applied", onKafka: "applied", given: "lost"} {
		if state := c.fate(api, token); state != want {
			t.Errorf("a token is %s, want %s", state, want)
		}
	}

	c.ends(api, worker)
	c.refuses("it was used before") // the first topic: what it holds would bring back old values
	c.refuses("it was used before", second)
	c.refuses("it was used before", embedded...) // where sacks would stand still
	if err := os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "log.old")); err != nil {
		t.Fatal(err)
	}
	p = c.start("api,worker", append([]string{third}, embedded...)...)
	if n := c.count(p, id, c.post(p, id, 7, 7)); n != 6 {
		t.Errorf("%d measures on the embedded log again, want 6", n)
	}
}

// Two deployments on one Kafka are easily given one topic, as its name has a default. The
// one that comes to it later is refused, be it new or not.
func TestTopicOfAnother(t *testing.T) {
	c, other := newCluster(t), newCluster(t)
	topic := "MILLRACE_QUEUE_KAFKA_TOPIC=" + c.setting("MILLRACE_QUEUE_KAFKA_TOPIC")
	p := c.start("api,worker")
	id := c.metric(p)
	c.count(p, id, c.post(p, id, 1, 1))
	other.refuses("they are of different deployments", topic)

	other = newCluster(t)
	embedded := []string{"MILLRACE_DATA_DIR=" + t.TempDir(), "MILLRACE_QUEUE_DRIVER=disklog"}
	foreign := other.start("api,worker", embedded...)
	its := other.metric(foreign)
	other.count(foreign, its, other.post(foreign, its, 1, 1))
	other.ends(foreign)
	other.refuses("each deployment has a topic of its own", embedded[0], topic)
	if n := c.count(p, id, c.post(p, id, 2, 2)); n != 2 {
		t.Errorf("%d measures of the one whose topic it is, want 2", n)
	}
}

// drop deletes the deployment's topic.
func (c *cluster) drop() (client *kafka.Client, topic string) {
	c.t.Helper()
	client = &kafka.Client{Addr: kafka.TCP(strings.Split(c.setting("MILLRACE_QUEUE_KAFKA_BROKERS"), ",")...),
		Timeout: 10 * time.Second}
	topic = c.setting("MILLRACE_QUEUE_KAFKA_TOPIC")
	if _, err := client.DeleteTopics(c.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{topic}}); err != nil {
		c.t.Fatal(err)
	}
	return client, topic
}

// anew deletes the deployment's topic and makes another of its name.
func (c *cluster) anew() {
	c.t.Helper()
	client, topic := c.drop()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := createTopic(c.t.Context(), client, topic)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal(err)
		}
	}
}

func createTopic(ctx context.Context, client *kafka.Client, topic string) error {
	answer, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: topic, NumPartitions: 8, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"},
			{ConfigName: "max.message.bytes", ConfigValue: "4000000"},
		},
	}}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

// A topic that is deleted and made again under a running deployment, or while some of it is
// down, stops the sacks that had been applied, which says why. Adopting it goes on.
func TestTopicMadeAnew(t *testing.T) {
	c := newCluster(t)
	api, worker := c.start("api"), c.start("worker")
	id := c.metric(api)
	for n := range 3 {
		c.count(api, id, c.post(api, id, n, 1))
	}
	stands := func(reader *process) {
		t.Helper()
		doc := statusOf(t, reader, "a sack that stands still",
			func(doc *statusDoc) bool { return len(standingStill(doc.Ingest.Sacks)) > 0 })
		t.Log(standingStill(doc.Ingest.Sacks))
	}
	// refused has an API refuse what it can't promise to keep.
	refused := func(second int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			at := time.Unix(int64(1_700_000_000+second), 0).UTC().Format(time.RFC3339)
			a := api.ask(t, "POST", "/metric/"+id+"/measures", `[{"timestamp": "`+at+`", "value": 1}]`)
			if a.status == 503 && strings.Contains(api.log.String(), "ALARM: the log has gone back") {
				return
			}
			if a.status != 503 || time.Now().After(deadline) {
				t.Fatalf("status %d: %s\n%s", a.status, a.body, api.log)
			}
		}
	}

	c.anew()
	refused(3)
	stands(api)
	for _, want := range []string{"topic " + c.setting("MILLRACE_QUEUE_KAFKA_TOPIC") + ", partition ", "ends at offset ",
		"was applied up to "} {
		if !strings.Contains(worker.log.String(), want) {
			t.Errorf("the worker's log does not say %q:\n%s", want, worker.log)
		}
	}
	c.ends(api, worker)
	c.checks(1, "the log of sack ", "ends at offset ", "was applied up to ")
	c.adopt()
	api, worker = c.start("api"), c.start("worker")
	if n := c.count(api, id, c.post(api, id, 3, 1)); n != 4 { // sent again: it counts once
		t.Errorf("%d measures after the first time, want 4", n)
	}

	c.ends(worker, api) // all down
	c.checks(0, "all is sound")
	c.anew()
	api = c.start("api")
	refused(4)
	stands(api) // also without a worker
	worker = c.start("worker")
	c.ends(api, worker)
	c.adopt()
	api, worker = c.start("api"), c.start("worker")
	if n := c.count(api, id, c.post(api, id, 4, 1)); n != 5 {
		t.Errorf("%d measures after the second time, want 5", n)
	}

	c.ends(worker)
	c.post(api, id, 5, 1)
	c.ends(api)
	c.drop() // with what nobody has applied, and nobody there to see it
	c.refuses("the topic of this deployment was deleted")
	c.refuses("there is no such topic", "MILLRACE_QUEUE_KAFKA_TOPIC="+c.setting("MILLRACE_QUEUE_KAFKA_TOPIC")+"-2")
	c.adopt()
	api, worker = c.start("api"), c.start("worker")
	if n := c.count(api, id, c.post(api, id, 6, 1)); n != 6 {
		t.Errorf("%d measures after the third time, want 6", n)
	}

	c.ends(worker, api)
	c.eat()
	c.adopt()
	api = c.start("api")
	c.start("worker")
	if n := c.count(api, id, c.post(api, id, 7, 1)); n != 7 {
		t.Errorf("%d measures after the retention has eaten the topic, want 7", n)
	}
}

// eat empties the deployment's topic, as its retention does.
func (c *cluster) eat() {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(c.setting("MILLRACE_QUEUE_KAFKA_BROKERS"), ",")...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = c.setting("MILLRACE_QUEUE_KAFKA_TOPIC")
	for sack := range int32(8) {
		topic.Partitions = append(topic.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: sack, Offset: -1})
	}
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis, request.Topics = 10_000, append(request.Topics, topic)
	for _, shard := range client.RequestSharded(c.t.Context(), request) {
		if shard.Err != nil {
			c.t.Fatal(shard.Err)
		}
	}
}

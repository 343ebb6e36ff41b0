package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// statusOf asks a process for its status until it is as wanted.
func statusOf(t *testing.T, p *process, want string, as func(*statusDoc) bool) (doc statusDoc) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		doc = statusDoc{}
		out := p.command(t, "status", "--json")
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		if as(&doc) {
			return doc
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s:\n%s\n%s", want, out, p.log)
		}
	}
}

// ownersOf are the processes that own sacks, each once.
func ownersOf(doc *statusDoc) []string {
	var owners []string
	for _, s := range doc.Ingest.Sacks {
		owners = append(owners, s.Owner)
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// A process without a worker tells who is there, who owns which sack, how far all are
// behind and for how long, and what the topic may lose.
func TestClusterStatus(t *testing.T) {
	c := newCluster(t)
	api := c.start("api")
	first, second := c.start("worker"), c.start("worker")
	id := c.metric(api)
	doc := statusOf(t, api, "all sacks owned by two workers", func(doc *statusDoc) bool {
		return len(ownersOf(doc)) == 2 && len(doc.Processes) == 3 && !slices.Contains(ownersOf(doc), "")
	})
	for _, p := range doc.Processes {
		isWorker := strings.Join(p.Roles, ",") == "worker"
		if !p.Alive || p.Version == "" || isWorker != (len(p.Sacks) == 4) {
			t.Errorf("%+v", p)
		}
	}
	if doc.Log.Partitions != 8 || doc.Log.Replication != 1 ||
		doc.Log.Settings["message.timestamp.type"] != "LogAppendTime" ||
		!strings.Contains(strings.Join(doc.Log.Risks, "\n"), "1 replica") || doc.Log.Error != "" {
		t.Errorf("%+v", doc.Log)
	}
	text := api.command(t, "status")
	for _, want := range []string{"log kafka:", "8 partitions, 1 replicas", "it may lose what was acknowledged: ",
		"process ", ownersOf(&doc)[0]} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}

	if err := first.terminate(); err != nil {
		t.Errorf("%v\n%s", err, first.log)
	}
	c.count(api, id, c.post(api, id, 1, 1)) // all is the second one's
	second.kill()
	c.post(api, id, 2, 2)
	doc = statusOf(t, api, "one record behind, and nobody's", func(doc *statusDoc) bool {
		return doc.Ingest.Lag.Records == 1 && doc.Ingest.Lag.Age > 1 && slices.Equal(ownersOf(doc), []string{""})
	})
	if text := api.command(t, "status"); !strings.Contains(text, "nobody") || !strings.Contains(text, "1 records (") {
		t.Error(text)
	}
	c.start("worker")
	statusOf(t, api, "nothing behind", func(doc *statusDoc) bool {
		return doc.Ingest.Lag.Records == 0 && doc.Ingest.Lag.Age == 0 && !slices.Contains(ownersOf(doc), "")
	})
}

package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/index"
	"millrace/ingest"
)

// neighbours are a deployment of processes that are not there.
type neighbours struct {
	log    ingest.LogID
	owners []string
	err    error
}

func (n *neighbours) Processes(context.Context) ([]index.Process, error) {
	return []index.Process{
		{ID: "a", Host: "h", Roles: []string{"api"}, Version: "1", Log: n.log, Since: time.Hour, Beat: time.Second},
		{ID: "w", Host: "h", Roles: []string{"worker"}, Version: "2", Log: n.log, Since: time.Hour, Beat: time.Minute},
	}, nil
}

func (n *neighbours) Owners(context.Context) ([]string, error) { return n.owners, n.err }

func (n *neighbours) Log() LogReport {
	return LogReport{ID: n.log, Partitions: 4, Replication: 1, Settings: map[string]string{"retention.ms": "1"},
		Risks: []string{"one replica"}}
}

// The status tells who is there, who owns what, and what the log is like; who can't be
// asked for owners still tells the rest.
func TestStatusOfDeployment(t *testing.T) {
	n := &neighbours{log: ingest.LogID{ID: "kafka:c/t", Base: 7}, owners: []string{"w", "", "w", "gone"}}
	h := newHouse(t, build{deployment: n})
	h.run(t, []step{{"all", "GET", "/v1/status", call{as: "admin"}, 200, []string{
		`"sack": 0, "applied": 0, "owner": "w"`, `"sack": 1, "applied": 0, "lag"`,
		`"sack": 3, "applied": 0, "owner": "gone"`,
		`{"id": "a", "host": "h", "roles": ["api"], "version": "1", "formats": [], "log": "kafka:c/t", "since": 3600.0, ` +
			`"beat": 1.0, ` +
			`"alive": true, "sacks": []}`,
		`"beat": 60.0, "alive": false, "sacks": [0, 2]}`,
		`"log": {"id": "kafka:c/t", "base": 7, "partitions": 4, "replication": 1, "settings": {"retention.ms": "1"}, ` +
			`"risks": ["one replica"]}`,
	}, "", nil}})
	n.owners, n.err = nil, errors.New("no broker answers")
	h.run(t, []step{{"no brokers", "GET", "/v1/status", call{as: "admin"}, 200, []string{
		`"error": "no broker answers"`, `"sack": 3, "applied": 0, "lag"`, `"id": "w"`,
	}, "", nil}})
}

// What a log held that was left behind before all of it was applied is lost, and nothing
// else is.
func TestLost(t *testing.T) {
	n := &neighbours{log: ingest.LogID{ID: "new", Base: 1000}, owners: make([]string, houseSacks)}
	h := newHouse(t, build{deployment: n})
	first, second := ingest.LogID{ID: "first"}, ingest.LogID{ID: "second", Base: 100}
	for _, err := range []error{
		h.index.OpenLog(t.Context(), first),
		h.index.SwitchLog(t.Context(), first, second, ingest.Position{50, 60, 70, 80}),
		h.index.AdoptLog(t.Context(), n.log, ingest.Position{150, 0, 0, 0}, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		position ingest.Position
		lost     bool
	}{
		{"applied of the first log", ingest.Position{50, 60, 0, 80}, false},
		{"not applied of the first log", ingest.Position{0, 0, 0, 81}, true},
		{"in one sack of two", ingest.Position{50, 61, 0, 0}, true},
		{"the first log's last", ingest.Position{100, 0, 0, 0}, true},
		{"applied of the second log", ingest.Position{150, 0, 0, 0}, false},
		{"not applied of the second log", ingest.Position{151, 0, 0, 0}, true},
		{"the second log's last", ingest.Position{0, 1000, 0, 0}, true},
		{"the current log's first", ingest.Position{1001, 0, 0, 0}, false},
	} {
		ticket := ingest.Ticket{Position: c.position, First: make(ingest.Position, houseSacks), Accepted: 1}
		for s, end := range c.position {
			ticket.First[s] = max(0, end-1)
		}
		w := h.do(t, "GET", "/v1/ingest/"+ticket.String(), call{})
		if w.Code != 200 || strings.Contains(w.Body.String(), `"state": "lost"`) != c.lost {
			t.Errorf("%s: %d %s, lost should be %t", c.name, w.Code, w.Body, c.lost)
		}
	}
}

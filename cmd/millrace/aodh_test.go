package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

// A transition is what Aodh tells a webhook of an alarm.
type transition struct {
	Name    string `json:"alarm_name"`
	State   string `json:"current"`
	Details struct {
		Latest float64 `json:"most_recent"`
	} `json:"reason_data"`
}

// aodhConfig is for one process without Keystone. With a history each transition would
// ask Keystone who Aodh is.
const aodhConfig = `[DEFAULT]
use_stderr = true
transport_url = fake://
record_history = false
[api]
auth_mode = noauth
gnocchi_external_project_owner = aodh-project
[database]
connection = sqlite:///%s
[evaluator]
evaluation_interval = 1
[service_credentials]
%s
`

// The real Aodh evaluates its three kinds of rules about metrics: each alarm calls its
// webhook when the measures are above its threshold, and again when they no longer are.
func TestAodh(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "openstack", "aodh")
	documented(t, "Aodh", client.Version)
	p := startHere(t, t.TempDir(), "")
	told, hook := webhook(t)
	resources := &alarming{server: &p.server, names: [2]string{"r1", "r2"}, project: "p1"}
	resources.create(t)
	resources.load(t, 0, 90, 70)
	credentials := fmt.Sprintf("auth_type = gnocchi-basic\nuser = admin\nendpoint = %s", p.base)
	aodh := startAodh(t, client, p, credentials, "admin", "p1", resources.alarms(hook))
	aodh.expect(t, told, "alarm", map[string]float64{"one": 90, "metrics": 80, "resources": 80, "steady": 0})
	// The mean of every minute becomes 0. As long as one resource has its old mean, that of
	// both is above the threshold.
	resources.load(t, time.Second, -90, -70)
	aodh.expect(t, told, "ok", map[string]float64{"one": 0, "metrics": 0, "resources": 0})
	aodh.finish(t)
	if len(told) > 0 {
		t.Errorf("one more transition: %+v", <-told)
	}
	t.Logf("suite: Aodh %s: rules about a resource, metrics and resources, each to alarm and back", client.Version)
}

// webhook returns what alarms tell a webhook, and its URL.
func webhook(t *testing.T) (told chan transition, url string) {
	told = make(chan transition, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var of transition
		if err := json.NewDecoder(r.Body).Decode(&of); err != nil {
			t.Errorf("what Aodh tells a webhook: %v", err)
		}
		told <- of
	}))
	t.Cleanup(hook.Close)
	return told, hook.URL
}

// alarming are two resources of a project that alarms are about, each with a metric load.
type alarming struct {
	server  *server
	names   [2]string
	project string
	header  []string // of requests
	metrics []string // the ids of their metrics
}

// create makes the resources. Measures of half an hour may be changed.
func (r *alarming) create(t *testing.T) {
	t.Helper()
	const policy = `{"name": "alarms", "back_window": 30, "aggregation_methods": ["mean"],
		"definition": [{"granularity": "60s", "timespan": "1d"}]}`
	if a := r.server.ask(t, "POST", "/archive_policy", policy, r.header...); a.status != 201 {
		t.Fatal(a)
	}
	for _, id := range r.names {
		a := r.server.ask(t, "POST", "/resource/generic", `{"id": "`+id+`", "project_id": "`+r.project+
			`", "metrics": {"load": {"archive_policy_name": "alarms"}}}`, r.header...)
		var made struct{ Metrics map[string]string }
		if err := json.Unmarshal([]byte(a.body), &made); err != nil || made.Metrics["load"] == "" {
			t.Fatal(a, err)
		}
		r.metrics = append(r.metrics, made.Metrics["load"])
	}
}

// load posts a measure of each minute to both resources, and waits until they are applied.
// The minutes reach into the future, so that Aodh, which looks at the last of them, finds
// some however slow it is.
func (r *alarming) load(t *testing.T, after time.Duration, r1, r2 int) {
	t.Helper()
	first := time.Now().UTC().Truncate(time.Minute).Add(-3*time.Minute + after)
	list := func(value int) (measures []map[string]any) {
		for i := range 15 {
			measures = append(measures, map[string]any{"timestamp": first.Add(time.Duration(i) * time.Minute), "value": value})
		}
		return measures
	}
	body, err := json.Marshal(map[string]any{r.names[0]: map[string]any{"load": list(r1)},
		r.names[1]: map[string]any{"load": list(r2)}})
	if err != nil {
		t.Fatal(err)
	}
	if a := r.server.ask(t, "POST", "/batch/resources/metrics/measures", string(body), r.header...); a.status != 202 {
		t.Fatal(a)
	}
	for _, id := range r.metrics {
		if a := r.server.ask(t, "GET", "/metric/"+id+"/measures?refresh=true", "", r.header...); a.status != 200 {
			t.Fatal(a)
		}
	}
}

// alarms has one of each kind; two of the last kind. Each has a webhook for both states.
func (r *alarming) alarms(hook string) []map[string]any {
	alarm := func(name, kind, method, comparison string, threshold float64, rule map[string]any) map[string]any {
		rule["aggregation_method"], rule["comparison_operator"], rule["threshold"] = method, comparison, threshold
		rule["granularity"], rule["evaluation_periods"] = 60, 2
		return map[string]any{
			"name": name, "type": kind, kind + "_rule": rule, "alarm_actions": []string{hook}, "ok_actions": []string{hook},
		}
	}
	query := `{"and": [{"=": {"ended_at": null}}, {"=": {"project_id": "` + r.project + `"}}]}`
	resources := func() map[string]any {
		return map[string]any{"metric": "load", "resource_type": "generic", "query": query}
	}
	return []map[string]any{
		alarm("one", "gnocchi_resources_threshold", "mean", "gt", 30,
			map[string]any{"metric": "load", "resource_type": "generic", "resource_id": r.names[0]}),
		alarm("metrics", "gnocchi_aggregation_by_metrics_threshold", "mean", "gt", 30, map[string]any{"metrics": r.metrics}),
		alarm("resources", "gnocchi_aggregation_by_resources_threshold", "mean", "gt", 30, resources()),
		alarm("steady", "gnocchi_aggregation_by_resources_threshold", "rate:mean", "lt", 1, resources()),
	}
}

// An aodhProcess evaluates alarms until its input ends.
type aodhProcess struct {
	cmd    *exec.Cmd
	errOut bytes.Buffer
	exited chan error
	stop   func() error
	server *thread
}

// startAodh starts an Aodh, which comes to a server of ours with the credentials given, with
// alarms of somebody who has a role in a project. Resources of the cloud's own project are
// Ceilometer's to Aodh.
func startAodh(t *testing.T, client *testservers.Client, p *thread, credentials, role, project string,
	alarms []map[string]any) *aodhProcess {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "aodh.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, aodhConfig, filepath.Join(dir, "aodh.db"), credentials),
		0o600); err != nil {
		t.Fatal(err)
	}
	if out, errOut, err := runClient(t, nil, "", client.Program("aodh-dbsync"), "--config-file", config); err != nil {
		t.Fatalf("aodh-dbsync: %v\n%s%s", err, out, errOut)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	a := &aodhProcess{
		cmd: exec.CommandContext(ctx, client.Program("python"), filepath.Join("testdata", "aodh", "alarms.py"), config, role,
			project),
		exited: make(chan error, 1), server: p,
	}
	// Its plugin for Prometheus, which is not used, wants to know of one.
	a.cmd.Env = append(os.Environ(), "PROMETHEUS_HOST=127.0.0.1", "PROMETHEUS_PORT=9")
	a.cmd.Stderr = &a.errOut
	input, err := a.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.stop = input.Close
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.exited <- a.cmd.Wait() }()
	if err := json.NewEncoder(input).Encode(alarms); err != nil {
		t.Fatal(err)
	}
	return a
}

// expect waits until each of the alarms has gone to a state, with the latest mean that it
// tells of.
func (a *aodhProcess) expect(t *testing.T, told <-chan transition, state string, latest map[string]float64) {
	t.Helper()
	for left := len(latest); left > 0; left-- {
		select {
		case of := <-told:
			if want, ok := latest[of.Name]; !ok || of.State != state || of.Details.Latest != want {
				t.Errorf("a transition %+v, want %s with %v", of, state, latest)
			}
		case err := <-a.exited:
			t.Fatalf("Aodh has ended: %v\n%s\n%s", err, &a.errOut, a.server.log)
		}
	}
}

// finish ends Aodh, which must have had no trouble.
func (a *aodhProcess) finish(t *testing.T) {
	t.Helper()
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	err := <-a.exited
	if log := a.errOut.String(); err != nil || strings.Contains(log, " ERROR ") ||
		strings.Contains(log, "retrieval failed") {
		t.Errorf("Aodh: %v\n%s\n%s", err, log, a.server.log)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClusterClocks has the clock of an API, and then that of the workers, be an hour ahead
// of all others. What was acknowledged is there, nothing is put aside, nothing is refused,
// and what an API says of a sack's age is right by any clock. MILLRACE_TEST_CLOCKS=1 asks
// for it: the program with another clock takes minutes to build.
func TestClusterClocks(t *testing.T) {
	if os.Getenv("MILLRACE_TEST_CLOCKS") == "" {
		skipOrFail(t, "clocks", "MILLRACE_TEST_CLOCKS is not set")
	}
	right, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ahead := binaryWithClock(t, time.Hour)
	t.Run("APIAhead", func(t *testing.T) { testClusterClocks(t, ahead, right, right) })
	t.Run("WorkersAhead", func(t *testing.T) { testClusterClocks(t, right, right, ahead) })
}

// testClusterClocks runs two APIs and two workers by the programs that are given.
func testClusterClocks(t *testing.T, one, other, worker string) {
	c := newCluster(t, "MILLRACE_WORKER_FLUSH_INTERVAL=1s", "MILLRACE_LOG_LEVEL=warn", "MILLRACE_INGEST_MAX_AGE=1m")
	as := func(path, roles string) *process {
		c.path = path
		return c.start(roles)
	}
	workers := []*process{as(worker, "worker"), as(worker, "worker")}
	apis := []*process{as(one, "api"), as(other, "api")}
	oracles := newOracles(t, &apis[0].server, 1)
	id := c.metric(apis[0])
	for n := range 6 {
		c.underLoad(oracles, apis, func() { time.Sleep(time.Second) })
		c.verify("a round", oracles, apis, workers)
		second := int(time.Now().Unix()) - oracleStart + n
		position := c.post(apis[n%2], id, second, 1)
		if got := c.count(apis[(n+1)%2], id, position); got != n+1 {
			t.Errorf("%d measures of now can be read, want %d", got, n+1)
		}
		for _, p := range apis {
			c.wantAges(p)
		}
	}
	if letters := apis[0].letters(t); len(letters) > 0 {
		t.Errorf("%d dead letters, the first %+v", len(letters), letters[0])
	}
	total := 0
	for _, o := range oracles {
		total += o.total
	}
	t.Logf("suite: ack oracle with clocks an hour apart: %d measures acknowledged, all as promised", total)
}

// wantAges has a process tell of no age that is negative, or longer than anything has waited.
func (c *cluster) wantAges(p *process) {
	c.t.Helper()
	var doc statusDoc
	if err := json.Unmarshal([]byte(p.ask(c.t, "GET", "/status", "").body), &doc); err != nil {
		c.t.Fatal(err)
	}
	for _, s := range doc.Ingest.Sacks {
		if s.Lag.Age < 0 || s.Lag.Age > time.Minute.Seconds() {
			c.t.Errorf("%s says that sack %d is %g s behind", p.base.Host, s.Sack, s.Lag.Age)
		}
	}
	for _, other := range doc.Processes {
		if !other.Alive {
			c.t.Errorf("%s says that %s is not alive: its beat is %g s old", p.base.Host, other.ID, other.Beat)
		}
	}
}

// binaryWithClock builds the program with a clock that is off: everything that asks the
// time package for the time gets another one, and nothing else of the program differs.
func binaryWithClock(t *testing.T, off time.Duration) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const read = "\tsec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(source), read); n != 1 {
		t.Fatalf("%s reads the clock in %d places of this form", original, n)
	}
	dir := t.TempDir()
	replaced, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	text := strings.Replace(string(source), read, read+fmt.Sprintf("\tsec += %d\n", int64(off.Seconds())), 1)
	document, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{replaced: []byte(text), overlay: document} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "millrace")
	out, err := exec.Command("go", "build", "-overlay", overlay, "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

package main

import (
	"context"
	"os"
	"sync"
	"testing"
)

// TestClusterVersions replaces the processes of a deployment under load by those of
// another version, one after the other: workers first and APIs first, to the newer one and
// back again. What was acknowledged is there, once, with the right value, and no record was
// put aside. MILLRACE_TEST_OLD_BINARY is the older program.
func TestClusterVersions(t *testing.T) {
	older := os.Getenv("MILLRACE_TEST_OLD_BINARY")
	if older == "" {
		skipOrFail(t, "versions", "MILLRACE_TEST_OLD_BINARY names no older program")
	}
	c := newCluster(t, "MILLRACE_WORKER_FLUSH_INTERVAL=1s", "MILLRACE_LOG_LEVEL=warn")
	newer := c.path
	c.path = older
	apis := []*process{c.start("api"), c.start("api")}
	workers := []*process{c.start("worker"), c.start("worker")}
	oracles := newOracles(t, &apis[0].server, 1)
	for _, step := range []struct {
		name, path string
		replaced   []*process
	}{
		{"newer workers", newer, workers},
		{"newer APIs", newer, apis},
		{"older workers again", older, workers},
		{"older APIs again", older, apis},
		{"newer APIs first", newer, apis},
		{"newer workers behind them", newer, workers},
		{"older APIs first", older, apis},
		{"older workers behind them", older, workers},
	} {
		c.path = step.path
		c.underLoad(oracles, apis, func() { c.restart(step.replaced) })
		c.verify(step.name, oracles, apis, workers)
	}
	if letters := apis[0].letters(t); len(letters) > 0 {
		t.Errorf("%d dead letters, the first %+v", len(letters), letters[0])
	}
	total := 0
	for _, o := range oracles {
		total += o.total
	}
	if total == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("suite: ack oracle with %s and this program mixed: %d measures acknowledged, all as promised", older, total)
}

// restart stops processes one after the other, and starts each again where it was.
func (c *cluster) restart(processes []*process) {
	c.t.Helper()
	for i, p := range processes {
		c.ends(p)
		processes[i] = c.startAt(p.base.Host, p.cmd.Args[len(p.cmd.Args)-1])
	}
}

// underLoad has the oracles write, through one API or the other, while something happens.
func (c *cluster) underLoad(oracles []*oracle, apis []*process, happens func()) {
	stop, cancel := context.WithCancel(c.t.Context())
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	for i, o := range oracles {
		client := apis[i%len(apis)].client // also of the process that takes its place
		writing.Go(func() {
			for stop.Err() == nil && o.refused == nil {
				o.write(stop, client)
			}
		})
	}
	happens()
}

// verify asks for what the oracles have written, through the other API.
func (c *cluster) verify(after string, oracles []*oracle, apis, workers []*process) {
	c.t.Helper()
	for i, o := range oracles {
		reader := apis[(i+1)%len(apis)]
		if o.refused != nil {
			c.t.Fatalf("%s: a good batch is refused: %v\n%s", after, o.refused, reader.log)
		}
		if err := o.verify(c.t.Context(), reader.client, true); err != nil {
			c.t.Fatalf("after %s: %v\n%s\n%s", after, err, reader.log, logsOf(workers))
		}
	}
}

package main

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestKill ends a loaded server at random moments, again and again, and holds it to
// the promise: what was acknowledged is there, once, with the right value; what
// was not is there or is not; and no start needs a hand. MILLRACE_TEST_KILL_CYCLES
// says how often (20).
func TestKill(t *testing.T) {
	t.Parallel()
	cycles := testNumber(t, "MILLRACE_TEST_KILL_CYCLES", 20)
	seed := testNumber(t, "MILLRACE_TEST_SEED", rand.Uint64())
	t.Logf("MILLRACE_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	settings := []string{"MILLRACE_WORKER_FLUSH_INTERVAL=50ms"}
	p := start(t, dir, settings...)
	oracles := newOracles(t, &p.server, seed)
	kills := map[string]int{}
	for cycle := range cycles {
		stop, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		for _, o := range oracles {
			writing.Go(func() { o.write(stop, p.client) })
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		how := "SIGKILL"
		if random.IntN(5) == 0 {
			how = "SIGTERM"
			if err := p.terminate(); err != nil {
				t.Fatalf("cycle %d: the server did not stop cleanly: %v\n%s", cycle, err, p.log)
			}
		} else {
			p.kill()
		}
		cancel()
		writing.Wait()
		for _, o := range oracles {
			if o.refused != nil {
				t.Fatalf("cycle %d: a good batch is refused: %v\n%s", cycle, o.refused, p.log)
			}
		}
		if random.IntN(4) == 0 { // and while it starts
			how += " and at start"
			early := launch(t, dir, settings...)
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
			early.kill()
		}
		kills[how]++
		p = start(t, dir, settings...)
		full := cycle == cycles-1 || cycle%100 == 99
		for _, o := range oracles {
			if err := o.verify(t.Context(), p.client, full); err != nil {
				t.Fatalf("cycle %d, after %s: %v\n%s", cycle, how, err, p.log)
			}
		}
	}
	total, unknown := 0, 0
	for _, o := range oracles {
		total += o.total
		unknown += o.unknown
	}
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}, "check"); code != 0 {
		t.Errorf("check: %s%s", out, errOut)
	}
	t.Logf("suite: ack oracle under kill -9: %d cycles (%v), %d measures acknowledged, %d of unknown outcome, all as "+
		"promised", cycles, kills, total, unknown)
}

// testNumber is the number that an environment variable has, or else the one given.
func testNumber(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// testDuration is what an environment variable says, or otherwise.
func testDuration(t *testing.T, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return d
}

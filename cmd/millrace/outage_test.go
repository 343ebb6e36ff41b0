package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOutage takes a loaded server's storage away for MILLRACE_TEST_OUTAGE (10s). It accepts all
// the while, says how far it is behind, takes no more memory than its settings give to what
// waits, and catches up by itself.
func TestOutage(t *testing.T) {
	outage := testDuration(t, "MILLRACE_TEST_OUTAGE", 10*time.Second)
	for name, open := range map[string]func(*testing.T) backend{"S3": onS3, "Redis": onRedis} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			p := start(t, t.TempDir(), append(b.settings, "MILLRACE_WORKER_FLUSH_INTERVAL=50ms",
				"MILLRACE_WORKER_FLUSH_BYTES=2MiB", "MILLRACE_WORKER_TABLE_BYTES=4MiB", "MILLRACE_WORKER_FETCH_AHEAD=4MiB")...)
			oracles := newOracles(t, &p.server, 1)
			ctx, cancel := context.WithCancel(t.Context())
			var writing sync.WaitGroup
			for _, o := range oracles {
				o.pace = outage / 500 // as many measures, however long it takes
				writing.Go(func() {
					for ctx.Err() == nil && o.refused == nil {
						o.write(ctx, p.client)
					}
				})
			}
			time.Sleep(outage / 5)
			b.down(t)
			began := time.Now()
			var seen []standing
			for time.Since(began) < outage {
				time.Sleep(outage / 50)
				seen = append(seen, standing{time.Since(began), lagOf(t, p), residentMiB(t, p.cmd.Process.Pid)})
			}
			b.up(t)
			time.Sleep(outage / 5)
			cancel()
			writing.Wait()
			awaitFlushed(t, p)
			total := kept(t, p, oracles)
			judgeOutage(t, seen)
			first, last := seen[len(seen)/4], seen[len(seen)-1]
			t.Logf("suite: %s away for %s: %d measures acknowledged, all there; %d records waited at the end, the oldest "+
				"for %.1f s; %.0f MiB after a quarter of it, %.0f at its end", name, outage, total, last.lag.Records, last.lag.Age,
				first.mib, last.mib)
		})
	}
}

// A standing is what is seen of a server during an outage.
type standing struct {
	after time.Duration
	lag   lagDoc
	mib   float64
}

func (s standing) String() string {
	return fmt.Sprintf("after %.1f s: %+v, %.0f MiB", s.after.Seconds(), s.lag, s.mib)
}

// judgeOutage wants a lag that grows, from soon after the storage was gone, in a memory that does not.
func judgeOutage(t *testing.T, seen []standing) {
	t.Helper()
	const slack = 64 // MiB, of a garbage collector
	quarter := seen[len(seen)/4]
	for i, s := range seen[len(seen)/4:] {
		if before := seen[len(seen)/4+max(0, i-1)]; s.lag.Records < max(1, before.lag.Records) || s.lag.Age < before.lag.Age {
			t.Errorf("the lag is not what it must be: %v, and before %v", s, before)
		}
		if s.mib > quarter.mib+slack {
			t.Errorf("memory grows: %v, and before %v", s, quarter)
		}
	}
}

// residentMiB is a process's memory.
func residentMiB(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	t.Fatalf("/proc says nothing of the memory of %d", pid)
	return 0
}

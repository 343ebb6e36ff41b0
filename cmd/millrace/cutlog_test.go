package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A disk loses the last 7 bytes of a log, of a record that its sack has applied. Nobody
// writes to that sack, and the server must be ready all the same: a balancer sends nothing
// to one that isn't. After a crash the start goes on by itself, after a clean stop it is
// the repair that is told to.
func TestLogCutBehindWhatIsApplied(t *testing.T) {
	settings := []string{"MILLRACE_SACKS=2", "MILLRACE_QUEUE_RETAIN=1h", "MILLRACE_WORKER_FLUSH_INTERVAL=50ms"}
	for _, test := range []struct {
		name   string
		stop   func(*testing.T, *process)
		repair bool
	}{
		{"after a crash", func(_ *testing.T, p *process) { p.kill() }, false},
		{"after a clean stop", func(t *testing.T, p *process) {
			if err := p.terminate(); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			p := start(t, dir, settings...)
			id := p.dailyMetric(t)
			p.post(t, id, measuresFrom(0, 3))
			for deadline := time.Now().Add(startTimeout); len(liveSegments(t, dir)) == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("nothing has been flushed\n%s", p.log)
				}
			}
			test.stop(t, p)
			cutLog(t, dir)
			if test.repair {
				refusesToStart(t, dir, "it ends there, and should have", settings...)
				environment := []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=2"}
				out, errOut, code := command(t, environment, "check", "--repair")
				if code != 0 || !strings.Contains(out, "all is sound") {
					t.Fatalf("the repair ends with %d: %s%s", code, out, errOut)
				}
			}
			p = start(t, dir, settings...)
			awaitReady(t, p, http.StatusOK)
			p.goesOn(t)
			if !test.repair {
				p.awaitLog(t, "cutting off the end of the log",
					"all that this sack had in it before the offset has been applied")
			}
			if n := p.count(t, id); n != 3 {
				t.Errorf("%d measures can be read, want 3", n)
			}
			p.post(t, id, measuresFrom(3, 2))
			if n := p.count(t, id); n != 5 {
				t.Errorf("%d measures can be read after two more, want 5", n)
			}
			p.kill()
			p = start(t, dir, settings...)
			awaitReady(t, p, http.StatusOK)
			if n := p.count(t, id); n != 5 {
				t.Errorf("after another start %d measures can be read, want 5", n)
			}
		})
	}
}

// awaitLog waits for texts that the process says when it gets to them.
func (p *process) awaitLog(t *testing.T, texts ...string) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		log := p.log.String()
		missing := slices.IndexFunc(texts, func(text string) bool { return !strings.Contains(log, text) })
		if missing < 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log doesn't say %q:\n%s", texts[missing], log)
		}
	}
}

// goesOn checks that no sack stands still.
func (p *process) goesOn(t *testing.T) {
	t.Helper()
	a := p.ask(t, "GET", "/status", "")
	var status struct {
		Ingest struct {
			Sacks []struct {
				Sack int
				Lag  struct{ Error string }
			}
		}
	}
	if err := json.Unmarshal([]byte(a.body), &status); err != nil || len(status.Ingest.Sacks) == 0 {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	for _, s := range status.Ingest.Sacks {
		if s.Lag.Error != "" {
			t.Errorf("sack %d stands still: %s", s.Sack, s.Lag.Error)
		}
	}
}

package index

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/ingest"
)

// testDeployment has several first processes agree, and an operator decide.
func testDeployment(t *testing.T, open opener) {
	indexes, ctx := []*Index{open(Config{}), open(Config{}), open(Config{})}, t.Context()
	x := indexes[0]
	if _, err := x.Deployment(ctx); !errors.Is(err, ErrNoDeployment) {
		t.Errorf("a new index is part of a deployment: %v", err)
	}
	founded := make([]Deployment, len(indexes))
	var running sync.WaitGroup
	for i, x := range indexes {
		running.Go(func() {
			d, err := x.FoundDeployment(ctx, 16)
			if err != nil {
				t.Error(err)
			}
			founded[i] = d
		})
	}
	running.Wait()
	d := value(x.Deployment(ctx))(t)
	for _, other := range founded {
		if other.ID != d.ID || d.ID == "" || d.Sacks != 16 {
			t.Errorf("founded %+v, and it is %+v", other, d)
		}
	}
	if _, err := x.FoundDeployment(ctx, 8); err == nil || !strings.Contains(err.Error(),
		"16 sacks, and 8 are configured") {
		t.Errorf("another number of sacks: %v", err)
	}
	value(x.AdoptDeployment(ctx, "another", 8))(t)
	if d := value(indexes[1].Deployment(ctx))(t); d.ID != "another" || d.Sacks != 8 {
		t.Errorf("adopted %+v", d)
	}
}

// testLogs has several first processes agree on a log, and moves to another.
func testLogs(t *testing.T, open opener) {
	indexes, ctx := []*Index{open(Config{}), open(Config{}), open(Config{})}, t.Context()
	x := indexes[0]
	if _, err := x.CurrentLog(ctx); !errors.Is(err, ErrNoLog) {
		t.Errorf("a new index knows a log: %v", err)
	}
	ids := []ingest.LogID{{ID: "a", Base: 1}, {ID: "b", Base: 1}, {ID: "a", Base: 2}}
	errs := make([]error, len(ids))
	var running sync.WaitGroup
	for i, x := range indexes {
		running.Go(func() { errs[i] = x.OpenLog(ctx, ids[i]) })
	}
	running.Wait()
	first := value(x.CurrentLog(ctx))(t)
	for i, err := range errs {
		e, refused := errors.AsType[*LogError](err)
		if (ids[i] == first) != (err == nil) || err != nil && (!refused || e.Current != first || e.Given != ids[i]) {
			t.Errorf("opening %v, with %v current: %v", ids[i], first, err)
		}
	}
	must(t, x.OpenLog(ctx, first))

	next := ingest.LogID{ID: "kafka", Base: 100}
	must(t, x.Register(ctx, Process{ID: "p", Log: first}))
	applied := ingest.Position{7, 1 << 62, 9}
	wantError(t, x.SwitchLog(ctx, first, next, applied), ErrInUse, "Log "+first.ID+" is still in use")
	must(t, x.Forget(ctx, "p"))
	if _, ok := errors.AsType[*LogError](x.SwitchLog(ctx, next, ingest.LogID{ID: "third"}, applied)); !ok {
		t.Error("went on from a log that isn't current")
	}
	for range 2 {
		must(t, x.SwitchLog(ctx, first, next, applied))
	}
	if _, ok := errors.AsType[*LogError](indexes[1].OpenLog(ctx, first)); !ok {
		t.Error("opened a log that is closed")
	}
	logs := value(x.Logs(ctx))(t)
	want := []Log{{ID: first, Applied: applied}, {ID: next}}
	if diff := cmp.Diff(want, logs, cmpopts.IgnoreFields(Log{}, "Opened", "Closed")); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if logs[0].Closed.IsZero() || !logs[1].Closed.IsZero() {
		t.Errorf("closed at %v and %v", logs[0].Closed, logs[1].Closed)
	}

	must(t, x.AdoptLog(ctx, first, nil, nil))
	if got := value(x.CurrentLog(ctx))(t); got != first {
		t.Errorf("adopted %v", got)
	}
	if logs := value(x.Logs(ctx))(t); len(logs) != 2 || logs[0].Applied != nil || logs[1].Closed.IsZero() {
		t.Errorf("after the adoption there are %+v", logs)
	}
}

func testProcesses(t *testing.T, open opener) {
	x, other, ctx := open(Config{}), open(Config{}), t.Context()
	p := Process{ID: "p", Host: "h", Roles: []string{"api", "worker"}, Version: "1", Formats: []string{"record 1"},
		Log: ingest.LogID{ID: "l", Base: 3}}
	must(t, x.Register(ctx, p))
	must(t, other.Register(ctx, Process{ID: "q"}))
	p.Version = "2"
	must(t, x.Register(ctx, p))
	must(t, x.Beat(ctx, "p"))
	wantError(t, x.Beat(ctx, "r"), ErrNotFound, "Process r does not exist")
	list := func(want ...Process) {
		t.Helper()
		got := value(other.Processes(ctx))(t)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Process{}, "Since", "Beat")); diff != "" {
			t.Errorf("processes (-want +got):\n%s", diff)
		}
		for _, p := range got {
			if p.Beat < 0 || p.Beat > time.Minute || p.Since < p.Beat || !p.Alive() {
				t.Errorf("process %s registered %s ago and lived %s ago", p.ID, p.Since, p.Beat)
			}
		}
	}
	list(p, Process{ID: "q"})

	age := func(ago time.Duration) {
		_, err := x.database.transact(ctx, func(s session) error {
			_, err := s.exec(ctx, `UPDATE processes SET beat_at = beat_at - ? WHERE id = 'q'`, int64(ago))
			return err
		})
		must(t, err)
	}
	age(time.Minute)
	if got := value(x.Processes(ctx))(t); len(got) != 2 || !got[0].Alive() || got[1].Alive() {
		t.Errorf("a minute later: %+v", got)
	}
	age(forgottenAfter)
	list(p)

	attending, leave := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { other.Attend(attending, Process{ID: "s"}) })
	for x.count(t, "processes") != 2 || len(value(x.Processes(ctx))(t)) != 2 { // s has come, q is gone
		time.Sleep(time.Millisecond)
	}
	leave()
	running.Wait()
	list(p)
}

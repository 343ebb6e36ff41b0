package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// contract runs a test with a metric in a house on a fake clock.
func contract(t *testing.T, b build, test func(t *testing.T, h *house, id string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, b)
		h.policy(t, "p", `{"granularity": 1}`)
		test(t, h, h.metric(t, "p"))
	})
}

// lazy is a worker that flushes when somebody waits, and not otherwise.
var lazy = ingest.WorkerConfig{FlushInterval: 24 * time.Hour}

func measures(id string) (path string) { return "/v1/metric/" + id + "/measures" }

var someMeasures = call{body: `[{"timestamp": 10, "value": 1}, {"timestamp": 20, "value": 2}]`}

func (c call) with(header ...string) call {
	c.header = append(append([]string(nil), c.header...), header...)
	return c
}

// A 202 says where it is and where to ask; the asked says what has become of it.
func TestPosition(t *testing.T) {
	contract(t, build{config: Config{Prefix: "/"}}, func(t *testing.T, h *house, id string) {
		w := h.do(t, "POST", measures(id), someMeasures)
		token, location := w.Header().Get("Millrace-Position"), w.Header().Get("Location")
		if w.Code != 202 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "0" ||
			location != "http://example.com/v1/ingest/"+token {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		if ticket, err := ingest.ParseTicket(token, houseSacks); err != nil || ticket.Accepted != 2 {
			t.Fatalf("%+v %v", ticket, err)
		}
		path := strings.TrimPrefix(location, "http://example.com")
		h.run(t, []step{
			{"queued", "GET", path, call{}, 200, nil,
				`{"state": "queued", "accepted": 2, "refused": 0, "rejected": 0, "rejects": [], "lag": {"records": 1, "bytes": ` +
					`10, "age": 0.0}}`, nil},
			{"still queued after a wait", "GET", path, call{header: []string{"Prefer: wait=1"}}, 200,
				[]string{`"state": "queued"`}, "", []string{"Preference-Applied:"}},
			{"needs credentials", "GET", path, call{as: "-"}, 401, nil, "", nil},
			{"no token", "GET", "/v1/ingest/foobar", call{header: []string{acceptJSON}}, 404, nil,
				`{"code": 404, "title": "Not Found", "description": "Ingest token foobar does not exist"}`, nil},
			{"half a token", "GET", path[:len(path)-1], call{}, 404, nil, "", nil},
			{"another deployment's", "GET", "/v1/ingest/" + ingest.Ticket{Position: make(ingest.Position, 3),
				First: make(ingest.Position, 3)}.String(), call{}, 404, nil, "", nil},
		})
		h.work(t, lazy)
		h.run(t, []step{
			{"applied", "GET", path, call{header: []string{"Prefer: respond-async, wait=3"}}, 200, nil,
				`{"state": "applied", "accepted": 2, "refused": 0, "rejected": 0, "rejects": [], "lag": {"records": 0, ` +
					`"bytes": 0, "age": 0.0}}`, []string{"Preference-Applied: wait=3"}},
			{"applied before", "GET", path, call{}, 200, []string{`"state": "applied"`}, "", []string{"Preference-Applied:"}},
		})
	})
}

func TestWriteWaits(t *testing.T) {
	took := func(t *testing.T, h *house, id string, header string, status int, want time.Duration) *struct{} {
		t.Helper()
		began := time.Now()
		w := h.do(t, "POST", measures(id), someMeasures.with(header))
		if w.Code != status || time.Since(began) != want {
			t.Errorf("%s: %d after %s, want %d after %s: %s", header, w.Code, time.Since(began), status, want, w.Body)
		}
		applied := w.Header().Get("Preference-Applied")
		if (status == 200) != (applied != "") || w.Header().Get("Millrace-Position") == "" {
			t.Errorf("%s: %v", header, w.Header())
		}
		if status == 200 && !strings.Contains(w.Body.String(), `"state": "applied"`) || status == 202 && w.Body.Len() > 0 {
			t.Errorf("%s: %s", header, w.Body)
		}
		return nil
	}
	contract(t, build{}, func(t *testing.T, h *house, id string) {
		took(t, h, id, "Prefer: wait=2", 202, 2*time.Second)
		took(t, h, id, "Prefer: wait=0", 202, 0)
		took(t, h, id, "Prefer: wait=-1", 202, 0)
		took(t, h, id, "Prefer: wait=99", 202, 4*time.Second) // the cap
		h.log.slow = 3 * time.Second
		took(t, h, id, "Prefer: wait=99", 202, 4500*time.Millisecond) // no answer takes longer than 5 s
		h.log.slow = 0
		h.work(t, lazy)
		took(t, h, id, "Prefer: wait=1", 200, 0)
		took(t, h, id, "Prefer: return=minimal;x=1, wait=\"7\"", 200, 0)
	})
}

// heldDriver is a driver whose sacks are opened once it is let go.
type heldDriver struct {
	*naive.Driver
	release chan struct{}
}

func (d heldDriver) Open(ctx context.Context, sack ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	select {
	case <-d.release:
		return d.Driver.Open(ctx, sack)
	case <-ctx.Done():
		return nil, ingest.Watermark{}, ctx.Err()
	}
}

func TestReadWaits(t *testing.T) {
	contract(t, build{}, func(t *testing.T, h *house, id string) {
		w := h.do(t, "POST", measures(id), someMeasures)
		position := "Millrace-Position: " + w.Header().Get("Millrace-Position")
		lagging := func(name, query string, c call, text string) {
			t.Helper()
			began := time.Now()
			h.run(t, []step{{name, "GET", measures(id) + query, c.with(acceptJSON), 503,
				[]string{text, `"cause": "Measures are still waiting to be applied"`,
					`"detail": {"lag": {"records": 1, "bytes": 10, "age": 0.0}}`}, "", nil}})
			if took := time.Since(began); took != 4*time.Second {
				t.Errorf("%s took %s", name, took)
			}
			if w := h.do(t, "GET", measures(id)+query, c); w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", name)
			}
		}
		lagging("position", "", call{header: []string{position}}, "The position asked for has not been applied yet")
		lagging("refresh", "?refresh=true", call{}, "Unable to refresh metric: "+id+". Please try again.")
		h.run(t, []step{
			{"no wait", "GET", measures(id), call{}, 200, nil, "[]", nil},
			{"no position", "GET", measures(id), call{header: []string{"Millrace-Position: foobar"}}, 400,
				[]string{"malformed position"}, "", nil},
		})
		held := heldDriver{h.driver, make(chan struct{})}
		h.workFor(t, held, lazy)
		rows := `[["1970-01-01T00:00:10+00:00", 1.0, 1.0], ["1970-01-01T00:00:20+00:00", 1.0, 2.0]]`
		h.run(t, []step{{"no wait sees nothing", "GET", measures(id), call{}, 200, nil, "[]", nil}})
		var read sync.WaitGroup
		var answered atomic.Bool
		read.Go(func() {
			w := h.do(t, "GET", measures(id), call{header: []string{position}})
			answered.Store(true)
			if w.Code != 200 || w.Body.String() != rows {
				t.Errorf("a read that waited: %d %s", w.Code, w.Body)
			}
		})
		synctest.Wait()
		if answered.Load() {
			t.Error("a read of a position that hasn't been applied did not wait")
		}
		close(held.release)
		read.Wait()
		h.run(t, []step{
			{"position", "GET", measures(id), call{header: []string{position}}, 200, nil, rows, nil},
			{"several positions", "GET", measures(id), call{header: []string{position + ", " +
				strings.TrimPrefix(position, "Millrace-Position: ")}}, 200, nil, rows, nil},
			{"more", "POST", measures(id), call{body: `[{"timestamp": 30, "value": 3}]`}, 202, nil, "", nil},
			{"refresh", "GET", measures(id) + "?refresh=true&start=30", call{}, 200, nil,
				`[["1970-01-01T00:00:30+00:00", 1.0, 3.0]]`, nil},
		})
		h.log.setFail(errors.New("gone"))
		h.run(t, []step{{"log that does not answer", "GET", measures(id) + "?refresh=true", call{}, 503,
			[]string{"Unable to refresh metric: " + id}, "", nil}})
	})
}

// What the worker could not apply shows, to those whose it is.
func TestRejects(t *testing.T) {
	contract(t, build{accept: ingest.AcceptConfig{MaxFuture: -1}}, func(t *testing.T, h *house, id string) {
		config := lazy
		config.MaxFuture = time.Hour
		h.work(t, config)
		body := call{body: `[{"timestamp": 10, "value": 1}, {"timestamp": 9000000000, "value": 2}]`}
		w := h.do(t, "POST", measures(id), body.with("Prefer: wait=1"))
		sack := ingest.SackOf(mustID(t, id), houseSacks)
		letter := ingest.DeadLetterID(sack, 10, 1<<20)
		want := `{"state": "partly_rejected", "accepted": 2, "refused": 0, "rejected": 1, "rejects": [{"metric": "` + id +
			`", "measures": 1, "reason": "timestamp is more than 1h0m0s after the record was accepted", "dead_letter": "` +
			letter + `"}], "lag": {"records": 0, "bytes": 0, "age": 0.0}}`
		if w.Code != 200 || w.Body.String() != want {
			t.Errorf("%d %s\nwant %s", w.Code, w.Body, want)
		}
		path := "/v1/ingest/" + w.Header().Get("Millrace-Position")
		// A later request of the same sack has letters of its own.
		h.must(t, "POST", measures(id), body.with("Prefer: wait=1"))
		h.run(t, []step{
			{"owner", "GET", path, call{}, 200, nil, want, nil},
			{"admin", "GET", path, call{as: "admin"}, 200, nil, want, nil},
			{"somebody else", "GET", path, call{as: "foobaz"}, 200, []string{`"state": "applied"`, `"rejects": []`}, "", nil},
		})
	})
}

func mustID(t *testing.T, text string) ingest.MetricID {
	t.Helper()
	id, err := ingest.ParseMetricID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestLate(t *testing.T) {
	contract(t, build{}, func(t *testing.T, h *house, id string) {
		h.work(t, lazy)
		for _, body := range []string{`[{"timestamp": 1000, "value": 1}]`,
			`[{"timestamp": 10, "value": 1}, {"timestamp": 11, "value": 1}]`} {
			h.must(t, "POST", measures(id), call{body: body, header: []string{"Prefer: wait=1"}})
		}
		h.run(t, []step{{"late", "GET", "/v1/metric/" + id, call{}, 200, nil, "", []string{"Millrace-Late: 2"}}})
	})
}

// A driver that can't tell what is late, or doesn't answer, spoils nothing.
func TestLateIsOptional(t *testing.T) {
	type mute struct{ Reader }
	contract(t, build{driver: func(d *naive.Driver) Reader { return mute{d} }}, func(t *testing.T, h *house, id string) {
		h.run(t, []step{{"get", "GET", "/v1/metric/" + id, call{}, 200, nil, "", []string{"Millrace-Late:"}}})
	})
	contract(t, build{driver: func(d *naive.Driver) Reader { return silent{d} }},
		func(t *testing.T, h *house, id string) {
			began := time.Now()
			h.run(t, []step{{"get", "GET", "/v1/metric/" + id, call{}, 200, nil, "", []string{"Millrace-Late:"}}})
			if took := time.Since(began); took != latePatience {
				t.Errorf("took %s", took)
			}
			h.run(t, []step{{"read", "GET", measures(id), call{header: []string{acceptJSON}}, 503,
				[]string{`"There was no answer in time. Please try again."`}, "", nil}})
			if took := time.Since(began); took != latePatience+5*time.Second {
				t.Errorf("took %s", took)
			}
		})
}

// silent is a driver that doesn't answer.
type silent struct{ *naive.Driver }

func (silent) Late(ctx context.Context, _ []ingest.MetricID) ([]uint64, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) Read(ctx context.Context, _ []ingest.Query, _ [][]ingest.Measure, _ ingest.Position) (ingest.Position,
	error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// stuck is a driver whose sack 2 can't be opened.
type stuck struct{ *naive.Driver }

func (d stuck) Open(ctx context.Context, sack ingest.Sack) (ingest.SackWriter, ingest.Watermark, error) {
	if sack == 2 {
		return nil, ingest.Watermark{}, errors.New("secret place is on fire")
	}
	return d.Driver.Open(ctx, sack)
}

func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, build{})
		h.run(t, []step{{"fresh", "GET", "/readyz", call{as: "-", header: []string{"Accept: text/plain"}}, 200, nil,
			`{"ready": true, "reasons": []}`, nil}})
		stop := h.workFor(t, stuck{h.driver}, ingest.WorkerConfig{})
		time.Sleep(10 * time.Second)
		h.run(t, []step{
			{"standing still", "GET", "/readyz", call{as: "-"}, 503, nil,
				`{"ready": false, "reasons": ["sack 2 has been standing still for 10s"]}`, nil},
			{"alive all the same", "GET", "/healthcheck", call{as: "-"}, 200, nil, "", nil},
			{"status says why", "GET", "/v1/status", call{as: "admin"}, 200,
				[]string{`"sack": 2, "applied": 0, "lag": {"records": 0, "bytes": 0, "age": 10.0, "error": "cannot open sack ` +
					`2: secret place is on fire"}`}, "", nil},
		})
		stop()
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, build{config: Config{ReadyLag: time.Minute}})
		h.policy(t, "p", `{"granularity": 1}`)
		id := h.metric(t, "p")
		h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour})
		h.must(t, "POST", measures(id), someMeasures)
		time.Sleep(61 * time.Second)
		h.run(t, []step{{"behind", "GET", "/readyz", call{as: "-"}, 503, []string{"1m1s behind, and the limit is 1m0s"}, "",
			nil}})
		h.must(t, "GET", "/v1/ingest/"+h.do(t, "POST", measures(id), someMeasures).Header().Get("Millrace-Position"),
			call{header: []string{"Prefer: wait=1"}})
		h.run(t, []step{{"again", "GET", "/readyz", call{as: "-"}, 200, nil, "", nil}})
	})
}

func TestParsePrefer(t *testing.T) {
	f := func(want preferences, headers ...string) {
		t.Helper()
		if got := parsePrefer(headers); got != want {
			t.Errorf("%q: %+v, want %+v", headers, got, want)
		}
	}
	f(preferences{})
	f(preferences{}, "")
	f(preferences{wait: 10 * time.Second}, "wait=10")
	f(preferences{wait: 10 * time.Second}, `Wait = "10" ; foo=bar`)
	f(preferences{wait: 10 * time.Second, lenient: true}, "respond-async, wait=10", "handling=Lenient")
	f(preferences{wait: 10 * time.Second}, "wait=10, wait=20")
	f(preferences{}, "wait=x, wait=20") // the first counts
	f(preferences{}, "wait=1.5")
	f(preferences{}, "wait=99999999999")
	f(preferences{strict: true}, "handling=strict, handling=lenient")
	f(preferences{}, "wait", "handling", ",;=")
}

func FuzzParsePrefer(f *testing.F) {
	f.Add("respond-async, wait=10; x, handling=lenient")
	f.Add(`wait="`)
	f.Fuzz(func(t *testing.T, header string) {
		if p := parsePrefer([]string{header}); p.wait < 0 {
			t.Errorf("%+v", p)
		}
	})
}

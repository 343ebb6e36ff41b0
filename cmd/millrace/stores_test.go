package main

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// A backend is a storage on another machine, as a server of ours meets it, and what can
// happen to it.
type backend struct {
	settings []string
	harms    map[string]func(t *testing.T, while func()) // each does harm, calls while, and ends it
	down, up func(t *testing.T)
	server   *testservers.Process // to be killed together with ours; nil: it is not
}

// gone is the back-end killed, and started again.
func gone(p *testservers.Process) func(*testing.T, func()) {
	return func(t *testing.T, while func()) {
		p.Kill()
		while()
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// suffer adds what a proxy does to requests: by name, the faults of a harm.
func (b *backend) suffer(proxy *faultproxy.HTTP, harms map[string][]faultproxy.Fault) {
	for name, faults := range harms {
		b.harms[name] = func(t *testing.T, while func()) {
			for _, f := range faults {
				proxy.Inject(f)
			}
			while()
			if proxy.Clear() == 0 {
				t.Errorf("nothing was %s", name)
			}
		}
	}
}

func onS3(t *testing.T) backend {
	server := testservers.NewMinIO(t)
	bucket := server.Bucket(t)
	proxy, err := faultproxy.NewHTTP(server.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	b := backend{
		settings: []string{
			"MILLRACE_STORAGE_DRIVER=s3", "MILLRACE_STORAGE_S3_ENDPOINT=" + proxy.URL(), "MILLRACE_STORAGE_S3_BUCKET=" + bucket,
			"MILLRACE_STORAGE_S3_ACCESS_KEY=" + server.AccessKey, "MILLRACE_STORAGE_S3_SECRET_KEY=" + server.SecretKey,
			"MILLRACE_STORAGE_S3_TIMEOUT=2s",
		},
		harms: map[string]func(*testing.T, func()){
			"killed": gone(server.Process),
			"out of reach": func(_ *testing.T, while func()) {
				proxy.SetDown(true)
				while()
				proxy.SetDown(false)
			},
			"far away": func(_ *testing.T, while func()) {
				proxy.SetLatency(50 * time.Millisecond)
				while()
				proxy.SetLatency(0)
			},
		},
		down: func(*testing.T) { proxy.SetDown(true) },
		up:   func(*testing.T) { proxy.SetDown(false) },
	}
	writes := func(r *http.Request) bool { return r.Method == http.MethodPut }
	b.suffer(proxy, map[string][]faultproxy.Fault{
		"503":           {{Kind: faultproxy.Refuse, Every: 2}},
		"429":           {{Kind: faultproxy.Refuse, Status: 429, Every: 2}},
		"answers lost":  {{Kind: faultproxy.Lose, Match: writes, Every: 3}},
		"500 after all": {{Kind: faultproxy.RefuseDone, Status: 500, Match: writes, Every: 3}},
		"repeated":      {{Kind: faultproxy.Repeat, Match: writes}},
		"slow":          {{Kind: faultproxy.Slow, Delay: 300 * time.Millisecond, Every: 2}},
		"cut and damaged": {{Kind: faultproxy.Truncate, Every: 5}, {Kind: faultproxy.Flip, Every: 4},
			{Kind: faultproxy.FlipRequest, Every: 3}},
		"hanging": {{Kind: faultproxy.Hang, Every: 6}},
	})
	return b
}

func onRedis(t *testing.T) backend {
	server := testservers.NewRedis(t, testservers.RedisFlavor)
	proxy, err := faultproxy.NewTCP(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	b := backend{
		settings: []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=redis://" + proxy.Addr +
			"?read_timeout=2s"},
		harms: map[string]func(*testing.T, func()){"killed": gone(server.Process)},
		down:  func(*testing.T) { proxy.Set(faultproxy.Mode{Down: true}); proxy.ResetAll() },
		up:    func(*testing.T) { proxy.Set(faultproxy.Mode{}) },
	}
	for name, mode := range map[string]faultproxy.Mode{
		"out of reach": {Down: true}, "answers lost": {LoseAnswers: true}, "reset": {ResetAfter: 20_000},
		"far away": {Latency: 50 * time.Millisecond},
	} {
		b.harms[name] = func(_ *testing.T, while func()) {
			proxy.Set(mode)
			while()
			proxy.Set(faultproxy.Mode{})
			proxy.ResetAll()
		}
	}
	b.harms["out of memory"] = func(t *testing.T, while func()) {
		limit := func(to string) {
			if _, err := server.Do(t.Context(), "config", "set", "maxmemory", to); err != nil {
				t.Fatal(err)
			}
		}
		limit("1mb")
		while()
		limit("0")
	}
	b.harms["stopped in its tracks"] = func(t *testing.T, while func()) {
		if err := errors.Join(server.Pause()); err != nil {
			t.Fatal(err)
		}
		while()
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func onInflux2(t *testing.T) backend { return onInflux(t, testservers.Influx2) }

func onInflux(t *testing.T, version testservers.InfluxVersion) backend {
	server := testservers.NewInfluxDB(t, version)
	proxy, err := faultproxy.NewHTTP(server.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	b := backend{
		settings: []string{
			"MILLRACE_STORAGE_DRIVER=influxdb", "MILLRACE_STORAGE_INFLUXDB_URL=" + proxy.URL(),
			"MILLRACE_STORAGE_INFLUXDB_ORG=" + server.Org,
			"MILLRACE_STORAGE_INFLUXDB_TOKEN=" + server.Token, "MILLRACE_STORAGE_INFLUXDB_BUCKET=measures",
			"MILLRACE_STORAGE_INFLUXDB_CREATE_BUCKET=true", "MILLRACE_STORAGE_INFLUXDB_TIMEOUT=2s",
		},
		harms: map[string]func(*testing.T, func()){
			"killed": gone(server.Process),
			"out of reach": func(_ *testing.T, while func()) {
				proxy.SetDown(true)
				while()
				proxy.SetDown(false)
			},
		},
		down:   func(*testing.T) { proxy.SetDown(true) },
		up:     func(*testing.T) { proxy.SetDown(false) },
		server: server.Process,
	}
	writes := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/write") }
	b.suffer(proxy, map[string][]faultproxy.Fault{
		"503":           {{Kind: faultproxy.Refuse, Every: 2}},
		"429":           {{Kind: faultproxy.Refuse, Status: 429, Every: 2}},
		"answers lost":  {{Kind: faultproxy.Lose, Match: writes, Every: 3}},
		"500 after all": {{Kind: faultproxy.RefuseDone, Status: 500, Match: writes, Every: 3}},
		"200 for a 204": {{Kind: faultproxy.Refuse, Status: 200, Match: writes, Every: 2}},
		"401":           {{Kind: faultproxy.Refuse, Status: 401, Match: writes, Every: 2}},
		"repeated":      {{Kind: faultproxy.Repeat, Match: writes}},
		"slow":          {{Kind: faultproxy.Slow, Delay: 100 * time.Millisecond, Every: 2}},
		"cut":           {{Kind: faultproxy.Truncate, Every: 5}},
		"hanging":       {{Kind: faultproxy.Hang, Every: 6}},
	})
	return b
}

// failsOver has a replica take over. Where it lags, it has nothing of what is written in before; else
// before isn't called. Called at last, end has the old master follow the new one.
func failsOver(t *testing.T, r *testservers.RedisSentinel, lags bool, before func()) (end func()) {
	t.Helper()
	master, err := r.Master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replica := r.Servers[0]
	if replica == master {
		replica = r.Servers[1]
	}
	if lags { // what it hasn't got when the master goes is lost
		if err := replica.Pause(); err != nil {
			t.Fatal(err)
		}
		if _, err := master.Do(t.Context(), "client", "kill", "type", "replica"); err != nil {
			t.Fatal(err)
		}
		before()
		if _, err := master.Do(t.Context(), "set", "tail", "lost"); err != nil {
			t.Fatal(err)
		}
	}
	master.Kill()
	if lags {
		if err := replica.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.FailOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kept, err := replica.Do(t.Context(), "get", "tail"); err != nil || kept != "" {
		t.Errorf("what was to be lost is there: %q, %v", kept, err)
	}
	return func() {
		if err := master.Start(); err != nil { // as the new one's replica
			t.Fatal(err)
		}
		for deadline := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
			if info, err := master.Do(t.Context(), "info", "replication"); err == nil &&
				strings.Contains(info, "master_link_status:up") {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the old master does not follow the new one")
			}
		}
	}
}

// onSentinel is Redis that fails over to a replica, and loses the last it has acknowledged.
func onSentinel(t *testing.T) backend {
	r := testservers.NewRedisSentinel(t, testservers.RedisFlavor)
	url := "redis+sentinel://" + strings.Join(r.SentinelAddrs(), ",") + "/0?master_name=" + r.Name
	failOver := func(t *testing.T, behind time.Duration, while func()) {
		end := failsOver(t, r, behind > 0, func() { time.Sleep(behind) })
		while()
		end()
	}
	return backend{
		settings: []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=" + url},
		harms: map[string]func(*testing.T, func()){
			"fails over":                func(t *testing.T, while func()) { failOver(t, 0, while) },
			"fails over, its tail lost": func(t *testing.T, while func()) { failOver(t, 300*time.Millisecond, while) },
		},
	}
}

// TestStores holds a loaded server to the promise while its storage is harmed, and while it
// is killed itself: whatever happens, what was acknowledged is there, once, and no hand is
// needed. MILLRACE_TEST_STORE_CYCLES says how often each harm is done (1), with a kill after
// each, and MILLRACE_TEST_STORE_HARMS which: names with a comma between them (all), or none,
// for kills alone.
func TestStores(t *testing.T) {
	for name, open := range map[string]func(*testing.T) backend{"S3": onS3, "Redis": onRedis, "Sentinel": onSentinel,
		"InfluxDB 2": onInflux2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			cycles := testNumber(t, "MILLRACE_TEST_STORE_CYCLES", 1)
			seed := testNumber(t, "MILLRACE_TEST_SEED", rand.Uint64())
			t.Logf("MILLRACE_TEST_SEED=%d", seed)
			s := &storeTrial{backend: b, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0))}
			s.settings = append(s.settings, "MILLRACE_WORKER_FLUSH_INTERVAL=50ms", "MILLRACE_LOG_LEVEL=warn")
			s.process = start(t, s.dir, s.settings...)
			s.oracles = newOracles(t, &s.process.server, seed)
			if b.server != nil {
				b.harms["killed with ours"] = s.killBoth
			}
			b.harms["none"] = func(*testing.T, func()) {}
			names := harmsToDo(t, b.harms)
			for range cycles {
				for _, name := range names {
					if name != "none" {
						s.harm(t, name, b.harms[name])
					}
					s.kill(t)
				}
			}
			s.finish(t, name, names, int(cycles))
		})
	}
}

// harmsToDo are the names of those that are asked for.
func harmsToDo(t *testing.T, harms map[string]func(*testing.T, func())) []string {
	t.Helper()
	names := slices.Sorted(maps.Keys(harms))
	asked := os.Getenv("MILLRACE_TEST_STORE_HARMS")
	if asked == "" {
		return slices.DeleteFunc(names, func(name string) bool { return name == "none" })
	}
	for name := range strings.SplitSeq(asked, ",") {
		if harms[name] == nil {
			t.Fatalf("MILLRACE_TEST_STORE_HARMS: there is no harm %q; there are %q", name, names)
		}
	}
	return strings.Split(asked, ",")
}

// A storeTrial is a server on a back-end, and those who write to it.
type storeTrial struct {
	backend
	dir     string
	random  *rand.Rand
	process *process
	oracles []*oracle
}

// load has everybody write while something happens, and then holds the server to all that it
// has acknowledged.
func (s *storeTrial) load(t *testing.T, what string, happen func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	client := s.process.client // of whichever process listens there
	for _, o := range s.oracles {
		writing.Go(func() {
			for ctx.Err() == nil && o.refused == nil { // a batch that has no good answer ends a round of it
				o.write(ctx, client)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	time.Sleep(time.Duration(s.random.IntN(200)) * time.Millisecond)
	happen()
	time.Sleep(50 * time.Millisecond)
	cancel()
	writing.Wait()
	for _, o := range s.oracles {
		if o.refused != nil {
			t.Fatalf("%s: a good batch is refused: %v\n%s", what, o.refused, s.process.log)
		}
		if err := o.verify(t.Context(), s.process.client, false); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, tail(s.process.log.String()))
		}
	}
}

func (s *storeTrial) harm(t *testing.T, name string, do func(*testing.T, func())) {
	t.Helper()
	s.load(t, name, func() {
		do(t, func() { time.Sleep(time.Duration(300+s.random.IntN(700)) * time.Millisecond) })
	})
}

// kill ends the server itself, loaded.
func (s *storeTrial) kill(t *testing.T) {
	t.Helper()
	s.load(t, "kill -9", func() {
		s.process.kill()
		s.process = start(t, s.dir, append(s.settings, "MILLRACE_API_LISTEN="+s.process.base.Host)...)
	})
}

// killBoth kills the back-end's server and ours, and starts ours first.
func (s *storeTrial) killBoth(t *testing.T, _ func()) {
	t.Helper()
	s.backend.server.Kill()
	s.process.kill()
	s.process = start(t, s.dir, append(s.settings, "MILLRACE_API_LISTEN="+s.process.base.Host)...)
	if err := s.backend.server.Start(); err != nil {
		t.Fatal(err)
	}
}

func (s *storeTrial) finish(t *testing.T, name string, harms []string, cycles int) {
	t.Helper()
	total := 0
	for _, o := range s.oracles {
		total += o.total
		if err := o.verify(t.Context(), s.process.client, true); err != nil {
			t.Fatalf("at the end: %v\n%s", err, tail(s.process.log.String()))
		}
	}
	if err := s.process.terminate(); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := command(t, append([]string{"MILLRACE_DATA_DIR=" + s.dir, "MILLRACE_SACKS=3"},
		s.backend.settings...), "check"); code != 0 {
		t.Errorf("check: %s%s", out, errOut)
	}
	t.Logf("suite: ack oracle on %s: %d measures acknowledged while it was %q, %d times each with a kill -9 of the "+
		"server, all as promised",
		name, total, harms, cycles)
}

// tail is the end of a log that may be long.
func tail(log string) string { return log[max(0, len(log)-4000):] }

// A server whose storage is down starts, accepts, says that it isn't ready, and has applied
// everything by itself when the storage is there.
func TestStartWithoutStorage(t *testing.T) {
	for name, open := range map[string]func(*testing.T) backend{"S3": onS3, "Redis": onRedis, "InfluxDB": onInflux2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			dir, settings := t.TempDir(), append(b.settings, "MILLRACE_WORKER_FLUSH_INTERVAL=50ms")
			p := start(t, dir, settings...)
			o := newOracles(t, &p.server, 1)[0]
			p.kill()

			b.down(t)
			p = start(t, dir, settings...)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			o.write(ctx, p.client)
			if o.total == 0 || o.refused != nil {
				t.Fatalf("%d measures were accepted, %v\n%s", o.total, o.refused, p.log)
			}
			if !strings.Contains(p.log.String(), "the storage can't be used yet") {
				t.Errorf("the log doesn't say that the storage is down:\n%s", p.log)
			}
			awaitReady(t, p, http.StatusServiceUnavailable)
			b.up(t)
			awaitReady(t, p, http.StatusOK)
			if err := o.verify(t.Context(), p.client, true); err != nil {
				t.Fatalf("%v\n%s", err, p.log)
			}
			t.Logf("suite: start without storage (%s): %d measures accepted meanwhile, applied when it was there", name,
				o.total)
		})
	}
}

// awaitReady waits until /readyz has a status.
func awaitReady(t *testing.T, p *process, status int) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(p.base.String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode == status {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz stays %s\n%s", answer.Status, p.log)
		}
	}
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// burst has all oracles write for a while.
func burst(t *testing.T, p *process, oracles []*oracle, long time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var writing sync.WaitGroup
	for _, o := range oracles {
		writing.Go(func() {
			for ctx.Err() == nil && o.refused == nil {
				o.write(ctx, p.client)
			}
		})
	}
	writing.Wait()
	for _, o := range oracles {
		if o.refused != nil {
			t.Fatalf("a good batch is refused: %v\n%s", o.refused, tail(p.log.String()))
		}
	}
}

// kept holds a server to all that it has acknowledged.
func kept(t *testing.T, p *process, oracles []*oracle) (total int) {
	t.Helper()
	for _, o := range oracles {
		total += o.total
		if err := o.verify(t.Context(), p.client, true); err != nil {
			t.Fatalf("%v\n%s", err, tail(p.log.String()))
		}
	}
	return total
}

// again starts a server where it listened before.
func again(t *testing.T, p *process, dir string, settings []string) *process {
	t.Helper()
	return start(t, dir, append(settings, "MILLRACE_API_LISTEN="+p.base.Host)...)
}

// lagOf is how much a server says it has not applied.
func lagOf(t *testing.T, p *process) lagDoc {
	t.Helper()
	var doc statusDoc
	if _, err := p.do(t.Context(), "GET", "/status", nil, nil, &doc); err != nil {
		t.Fatalf("%v\n%s", err, tail(p.log.String()))
	}
	return doc.Ingest.Lag
}

// awaitFlushed waits until nothing is left to be applied.
func awaitFlushed(t *testing.T, p *process) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); lagOf(t, p).Records > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v is left\n%s", lagOf(t, p), tail(p.log.String()))
		}
	}
}

// Nobody writes after a fail-over that has lost what was flushed last: the owner of the sack
// finds out by itself, before the log forgets. And where the server was gone during the
// fail-over, the next one finds the older watermark, and the log from there on.
func TestRedisTailLost(t *testing.T) {
	const retain = 4 * time.Second
	for _, what := range []string{"while idle", "between two opens"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, dir := testservers.NewRedisSentinel(t, testservers.RedisFlavor), t.TempDir()
			settings := []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=redis+sentinel://" +
				strings.Join(r.SentinelAddrs(), ",") + "/0?master_name=" + r.Name, "MILLRACE_QUEUE_RETAIN=" + retain.String(),
				"MILLRACE_WORKER_FLUSH_INTERVAL=50ms"}
			p := start(t, dir, settings...)
			oracles := newOracles(t, &p.server, 1)
			burst(t, p, oracles, 300*time.Millisecond)
			awaitFlushed(t, p)
			before := 0
			for _, o := range oracles {
				before += o.total
			}
			end := failsOver(t, r, true, func() {
				burst(t, p, oracles, 300*time.Millisecond)
				awaitFlushed(t, p)
				if what == "between two opens" {
					p.kill()
				}
			})
			if what == "between two opens" {
				p = again(t, p, dir, settings)
			} else {
				p.saysSoon(t, "gone back to an earlier state")
			}
			time.Sleep(2 * retain)
			end()
			total := kept(t, p, oracles)
			p.kill()
			p = again(t, p, dir, settings)
			kept(t, p, oracles)
			t.Logf("suite: a fail-over that loses its tail %s: %d measures acknowledged, %d of them lost by Redis, all there",
				what, total, total-before)
		})
	}
}

// A flush that too few replicas have is none: the worker holds, says why, and goes on when they
// have it; a server that starts meanwhile applies it again. What then counts as flushed
// outlives the master.
func TestWaitComesShort(t *testing.T) {
	r, dir := testservers.NewRedisSentinel(t, testservers.RedisFlavor), t.TempDir()
	settings := []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=redis+sentinel://" +
		strings.Join(r.SentinelAddrs(), ",") + "/0?master_name=" + r.Name, "MILLRACE_STORAGE_REDIS_WAIT_REPLICAS=1",
		"MILLRACE_STORAGE_REDIS_WAIT_TIMEOUT=200ms", "MILLRACE_WORKER_FLUSH_INTERVAL=50ms"}
	p := start(t, dir, settings...)
	oracles := newOracles(t, &p.server, 1)
	burst(t, p, oracles, 300*time.Millisecond)
	awaitFlushed(t, p)

	replica := r.Servers[1]
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	burst(t, p, oracles, 300*time.Millisecond)
	p.saysSoon(t, "0 of 1 replicas had it")
	held := lagOf(t, p)
	if held.Records == 0 {
		t.Errorf("all counts as applied: %+v", held)
	}
	p.kill()
	p = again(t, p, dir, settings)
	burst(t, p, oracles, 300*time.Millisecond)
	if now := lagOf(t, p); now.Records < held.Records {
		t.Errorf("%d records waited, and after a new start %d", held.Records, now.Records)
	}
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	awaitFlushed(t, p)
	total := kept(t, p, oracles)
	end := failsOver(t, r, false, nil)
	end()
	kept(t, p, oracles)
	if said := p.log.String(); strings.Contains(said, "gone back") {
		t.Errorf("what counted as flushed was lost:\n%s", tail(said))
	}
	t.Logf("suite: WAIT that comes short: %d measures acknowledged, %d records held meanwhile, all there", total,
		held.Records)
}

// A Redis that comes back empty is an alarm: nothing is answered from what is left, a start
// refuses, and the documented way out brings back what the log holds.
func TestRedisComesBackEmpty(t *testing.T) {
	server, dir := testservers.NewRedis(t, testservers.RedisFlavor), t.TempDir()
	settings := []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=" + server.URL(),
		"MILLRACE_WORKER_FLUSH_INTERVAL=50ms"}
	p := start(t, dir, settings...)
	oracles := newOracles(t, &p.server, 1)
	burst(t, p, oracles, 300*time.Millisecond)
	awaitFlushed(t, p)
	if _, err := server.Do(t.Context(), "flushall"); err != nil {
		t.Fatal(err)
	}
	burst(t, p, oracles, 300*time.Millisecond) // is accepted
	for sack := range 3 {
		p.saysSoon(t, fmt.Sprintf("sack/%d/manifest.json is missing", sack))
	}
	if lag := lagOf(t, p); lag.Records == 0 || lag.Error == "" {
		t.Errorf("the status says %+v", lag)
	}
	lost := "/metric/" + oracles[0].metrics[0] + "/measures?aggregation=count&granularity=60"
	if a := p.ask(t, "GET", lost, ""); a.status < 500 {
		t.Errorf("a read of what is lost gets %d %.200s", a.status, a.body)
	}
	p.kill()
	refusesToStart(t, dir, "the storage is empty, or another than before", settings...)
	environment := append([]string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}, settings...)
	if out, errOut, code := command(t, environment, "index", "adopt"); code != 0 {
		t.Fatalf("index adopt ends with %d: %s%s", code, out, errOut)
	}
	p = again(t, p, dir, settings)
	total := kept(t, p, oracles)
	t.Logf("suite: a Redis that comes back empty: %d measures acknowledged, all there from the log", total)
}

// A Redis that evicts keys, or somebody who removes them, may take the list of a sack's objects and
// leave the objects: the sack stands still, and the repair finds all of them.
func TestRedisLosesAnIndex(t *testing.T) {
	server, dir := testservers.NewRedis(t, testservers.RedisFlavor), t.TempDir()
	settings := []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=" + server.URL(),
		"MILLRACE_WORKER_FLUSH_INTERVAL=50ms", "MILLRACE_QUEUE_RETAIN=1ms", "MILLRACE_QUEUE_SEGMENT_BYTES=64KiB"}
	p := start(t, dir, settings...)
	oracles := newOracles(t, &p.server, 1)
	burst(t, p, oracles, 300*time.Millisecond)
	awaitFlushed(t, p)
	for _, list := range []string{"sack/0", "sack/1", "sack/2", "layout.json"} {
		if n, err := server.Do(t.Context(), "del", "millrace:{"+list+"}~index"); err != nil || n != "1" {
			t.Fatalf("del %s: %s, %v", list, n, err)
		}
	}
	burst(t, p, oracles, 300*time.Millisecond) // is accepted
	for sack := range 3 {
		p.saysSoon(t, fmt.Sprintf("sack/%d/manifest.json is missing", sack))
	}
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	environment := append([]string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}, settings...)
	if out, errOut, code := command(t, environment, "check"); code != 1 {
		t.Errorf("check ends with %d: %s%s", code, out, errOut)
	}
	out, errOut, code := command(t, environment, "check", "--repair")
	if code != 0 || strings.Contains(out, "LOST") || strings.Count(out, "objects that were stored and not listed") != 3 {
		t.Fatalf("check --repair ends with %d: %s%s", code, out, errOut)
	}
	p = again(t, p, dir, settings)
	awaitFlushed(t, p)
	total := kept(t, p, oracles)
	t.Logf("suite: a Redis that loses its lists of objects: %d measures acknowledged, all there", total)
}

// A server that finds the bucket in the host's name, as AWS does, is asked that way. The names
// are a proxy's to resolve.
func TestVirtualHost(t *testing.T) {
	const domain = "s3.millrace.test"
	server := testservers.NewMinIO(t, "MINIO_DOMAIN="+domain)
	var mu sync.Mutex
	hosts := make(map[string]int)
	proxy, err := faultproxy.NewHTTP(server.Addr, func(r *http.Request) string {
		mu.Lock()
		defer mu.Unlock()
		hosts[r.Host]++
		return r.Method
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	bucket := server.Bucket(t)
	p := start(t, t.TempDir(), "HTTP_PROXY="+proxy.URL(), "MILLRACE_STORAGE_DRIVER=s3",
		"MILLRACE_STORAGE_S3_ENDPOINT=http://"+domain, "MILLRACE_STORAGE_S3_VIRTUAL_HOST=true",
		"MILLRACE_STORAGE_S3_BUCKET="+bucket, "MILLRACE_STORAGE_S3_ACCESS_KEY="+server.AccessKey,
		"MILLRACE_STORAGE_S3_SECRET_KEY="+server.SecretKey, "MILLRACE_WORKER_FLUSH_INTERVAL=50ms")
	oracles := newOracles(t, &p.server, 1)
	burst(t, p, oracles, 300*time.Millisecond)
	awaitFlushed(t, p)
	kept(t, p, oracles)
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(hosts) != 1 || hosts[bucket+"."+domain] == 0 {
		t.Errorf("hosts that were asked: %v; want %s.%s alone", hosts, bucket, domain)
	}
}

package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/testservers"
)

// The server serves on an InfluxDB 1.8 that asks for a user: what is written can be read,
// what is deleted is gone, through starts, kills of the server and kills of InfluxDB.
func TestInflux1(t *testing.T) {
	influx := testservers.NewInfluxDBUsers(t)
	dir, settings := t.TempDir(), []string{
		"MILLRACE_STORAGE_DRIVER=influxdb", "MILLRACE_STORAGE_INFLUXDB_URL=" + influx.URL(),
		"MILLRACE_STORAGE_INFLUXDB_TOKEN=" + influx.Token, "MILLRACE_STORAGE_INFLUXDB_BUCKET=measures",
		"MILLRACE_STORAGE_INFLUXDB_CREATE_BUCKET=true", "MILLRACE_WORKER_FLUSH_INTERVAL=50ms",
	}
	p := start(t, dir, settings...)
	settings = append(settings, "MILLRACE_API_LISTEN="+p.base.Host)
	o := newOracles(t, &p.server, 1)[0]
	load := func(while func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		client := p.client // of whichever process listens there
		writing.Go(func() {
			for ctx.Err() == nil && o.refused == nil {
				some, stop := context.WithTimeout(ctx, 20*time.Millisecond)
				o.write(some, client)
				stop()
				time.Sleep(250 * time.Millisecond)
			}
		})
		time.Sleep(300 * time.Millisecond)
		while()
		time.Sleep(300 * time.Millisecond)
		cancel()
		writing.Wait()
		if o.refused != nil {
			t.Fatalf("a good batch is refused: %v\n%s", o.refused, p.log)
		}
		if err := o.verify(t.Context(), p.client, false); err != nil {
			t.Fatalf("%v\n%s", err, tail(p.log.String()))
		}
	}
	deleted := deleteOnInflux1(t, p, influx)
	load(func() {})
	if err := p.terminate(); err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	p = start(t, dir, settings...)
	load(func() {
		p.kill()
		p = start(t, dir, settings...)
	})
	load(func() {
		influx.Kill()
		if err := influx.Start(); err != nil {
			t.Fatal(err)
		}
	})
	if err := o.verify(t.Context(), p.client, true); err != nil {
		t.Fatalf("%v\n%s", err, tail(p.log.String()))
	}
	if a := p.ask(t, "GET", "/metric/"+deleted+"/measures", ""); a.status != http.StatusNotFound {
		t.Errorf("a deleted metric is read with status %d: %s", a.status, a.body)
	}
	if pointsOnInflux1(t, influx, "measures", deleted) || pointsOnInflux1(t, influx, "metrics", deleted) {
		t.Error("a deleted metric has points again")
	}
	t.Logf("suite: ack oracle on %s with a user: %d measures acknowledged, through a start, a kill -9 of the server and "+
		"one of InfluxDB, all as promised", influx, o.total)
}

// deleteOnInflux1 writes a metric, reads it, and deletes it: its points go.
func deleteOnInflux1(t *testing.T, p *process, influx *testservers.InfluxServer) (id string) {
	t.Helper()
	var made struct{ ID string }
	if _, err := p.do(t.Context(), "POST", "/metric", nil, map[string]any{"archive_policy_name": "oracle",
		"name": "it's, a=name"}, &made); err != nil {
		t.Fatal(err)
	}
	posted := p.ask(t, "POST", "/metric/"+made.ID+"/measures", `[{"timestamp": "2026-01-02T03:04:05Z", "value": 7}]`)
	if posted.status != http.StatusAccepted {
		t.Fatalf("status %d: %s", posted.status, posted.body)
	}
	read := p.ask(t, "GET", "/metric/"+made.ID+"/measures?aggregation=sum&granularity=1", "",
		"Millrace-Position: "+posted.header.Get("Millrace-Position"))
	if want := `["2026-01-02T03:04:05+00:00", 1.0, 7.0]`; !strings.Contains(read.body, want) {
		t.Fatalf("status %d: %s; want %s\n%s", read.status, read.body, want, p.log)
	}
	if !pointsOnInflux1(t, influx, "measures", made.ID) {
		t.Fatal("what the server answers is not in InfluxDB")
	}
	awaitPoints(t, p, influx, "metrics", made.ID, true)
	if a := p.ask(t, "DELETE", "/metric/"+made.ID, ""); a.status != http.StatusNoContent {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	awaitPoints(t, p, influx, "measures", made.ID, false)
	return made.ID
}

// awaitPoints waits until a measurement has points of a metric, or has none.
func awaitPoints(t *testing.T, p *process, influx *testservers.InfluxServer, measurement, metric string, want bool) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); pointsOnInflux1(t, influx, measurement, metric) != want; {
		if time.Now().After(deadline) {
			t.Fatalf("that there are points in %s stays %t\n%s", measurement, !want, p.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pointsOnInflux1 says whether a measurement has points of a metric.
func pointsOnInflux1(t *testing.T, influx *testservers.InfluxServer, measurement, metric string) bool {
	t.Helper()
	answer, err := influx.Query(t.Context(), `SELECT * FROM "measures".."`+measurement+`" WHERE metric = '`+metric+`'`)
	if err != nil || strings.Contains(answer, "error") {
		t.Fatal(answer, err)
	}
	return strings.Contains(answer, `"values"`)
}

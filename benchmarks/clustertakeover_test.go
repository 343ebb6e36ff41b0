package benchmarks

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// takeOver has two workers on an S3 each request of which takes 50 ms more, and one sack with
// many metrics, which a load writes to. The worker that owns it is killed, or stopped as an
// operator does, and the time is taken until a measure written then can be read: the other
// worker has opened the sack, caught up, and flushed.
func takeOver(t *testing.T) {
	metrics := fromEnv(t, "MILLRACE_BENCH_METRICS", 100_000, strconv.Atoi)
	rounds := fromEnv(t, "MILLRACE_BENCH_ROUNDS", 3, strconv.Atoi)
	latency := fromEnv(t, "MILLRACE_BENCH_LATENCY", 50*time.Millisecond, time.ParseDuration)
	slow := func(t *testing.T, name string) []string { return onS3After(t, name, latency) }
	c := newCluster(t, slow, "MILLRACE_SACKS=1")
	api := c.start(t, "api")
	owner := c.start(t, "worker")
	awaitShares(t, api, 1, 1)
	load := Load{URL: api.url, User: "admin", Series: 1000, Measures: 10, Clients: 4, Step: time.Minute,
		Batch:    &ResourceBatch{Prefix: "host", Metrics: metrics, PerResource: 10, Policy: "medium"},
		Requests: int64(max(1, metrics/1000)), Start: time.Now().Add(-2 * time.Hour).Truncate(time.Minute)}
	load.Series = min(load.Series, metrics)
	if err := load.Batch.CreateResources(t.Context(), api.url, "admin"); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, api, load)
	awaitFlushed(t, api)
	probe := api.url + "/v1/metric/" + created(t, api, "high", 1)[0].String() + "/measures"

	ctx, stop := context.WithCancel(t.Context())
	beside := make(chan error, 1)
	load.Measures, load.Requests, load.Rate, load.Duration = 1, 0, 5000, time.Hour
	load.Start = load.Start.Add(time.Hour)
	go func() {
		_, err := Run(ctx, load, nil)
		beside <- err
	}()
	defer func() {
		stop()
		<-beside
	}()
	second := 0
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		var took []time.Duration
		for range rounds {
			other := c.start(t, "worker")
			awaitWorkers(t, api, 2)
			time.Sleep(3 * time.Second) // of the load, so that there is something to flush
			second++
			began := time.Now()
			ended := make(chan time.Duration, 1)
			go func() {
				owner.end(signal)
				ended <- time.Since(began)
			}()
			if err := writeAndRead(t.Context(), probe, second); err != nil {
				t.Fatalf("%v\n%s", err, other.said())
			}
			took = append(took, time.Since(began))
			t.Logf("%v: readable after %.2f s, the process had ended after %.2f s", signal, took[len(took)-1].Seconds(),
				(<-ended).Seconds())
			owner = other
			awaitShares(t, api, 1, 1)
		}
		t.Logf("%v, a sack of %d metrics, %s more on each request of S3: readable again after %.2f to %.2f s", signal,
			metrics, latency, slices.Min(took).Seconds(), slices.Max(took).Seconds())
	}
}

// awaitWorkers waits until so many workers are in the group: the status says so.
func awaitWorkers(t *testing.T, api *program, want int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		s, err := statusOf(t.Context(), api)
		if err != nil {
			continue
		}
		workers := 0
		for _, p := range s.Processes {
			if p.Alive && slices.Contains(p.Roles, "worker") {
				workers++
			}
		}
		if workers == want {
			return
		}
	}
	t.Fatalf("there are not %d workers\n%s", want, api.said())
}

// writeAndRead writes a measure of the probe and returns when it can be read.
func writeAndRead(ctx context.Context, probe string, second int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	at := time.Now().Add(-30 * time.Minute).Truncate(time.Minute).Add(time.Duration(second) * time.Second)
	body := fmt.Sprintf(`[{"timestamp":%q,"value":%d}]`, at.UTC().Format(time.RFC3339), second)
	position, err := call(ctx, http.DefaultClient, http.MethodPost, probe, basicAdmin, "", body, nil)
	if err != nil {
		return err
	}
	got, _, err := readAt(ctx, http.DefaultClient, probe, position, at)
	if err == nil && got != float64(second) {
		err = fmt.Errorf("%g can be read, want %d", got, second)
	}
	return err
}

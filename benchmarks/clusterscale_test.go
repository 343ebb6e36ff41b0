package benchmarks

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scaleSacks can be shared evenly by one, two and three workers, and are four for each of
// three.
const scaleSacks = 12

var scaleShape = shape{metrics: 10_000, series: 1000, measures: 1}

// oneCore holds a process to one processor, so that more processes are more processors.
const oneCore = "GOMAXPROCS=1"

// workersScale applies as large a backlog with one, two and three workers, on one Redis,
// each worker on all processors of the machine or held to one. The rate is counted from when
// the sacks are shared evenly until all has been flushed.
func workersScale(t *testing.T) {
	points := fromEnv(t, "MILLRACE_BENCH_POINTS", 20_000_000, strconv.Atoi)
	for _, held := range []bool{true, false} {
		for workers := 1; workers <= 3; workers++ {
			name := map[bool]string{true: "held", false: "free"}[held]
			t.Run(fmt.Sprintf("%s/%d", name, workers), func(t *testing.T) { applyRate(t, workers, held, points) })
		}
	}
}

func applyRate(t *testing.T, workers int, held bool, points int) {
	c := newCluster(t, onRedis, fmt.Sprintf("MILLRACE_SACKS=%d", scaleSacks), "MILLRACE_WORKER_FLUSH_INTERVAL=1s")
	api := c.start(t, "api")
	result := mustLoad(t, api, scaleShape.load(created(t, api, "medium", scaleShape.metrics), points))
	var settings []string
	if held {
		settings = append(settings, oneCore)
	}
	running := make([]*program, workers)
	var starting sync.WaitGroup
	for i := range running {
		starting.Go(func() { running[i] = c.start(t, "worker", settings...) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	awaitShares(t, api, workers, scaleSacks)
	applied := func() (n float64) {
		for _, p := range running {
			n += metricOf(t, p, "millrace_applied_measures_total")
		}
		return n
	}
	cpu := func() (all, waited float64) {
		for _, p := range running {
			all += cpuSeconds(t, p.pid)
			waited += waitedForProcessor(t, p.pid)
		}
		return all, waited
	}
	before, began := applied(), time.Now()
	cpuBefore, waitedBefore := cpu()
	kafkaBefore, idleBefore := cpuSeconds(t, broker(t).PID()), idleSeconds(t)
	for applied() < float64(result.Accepted) {
		if time.Since(began) > 4*time.Minute {
			t.Fatalf("%v of %d measures are applied", applied(), result.Accepted)
		}
		time.Sleep(100 * time.Millisecond)
	}
	took := time.Since(began).Seconds()
	cpuAfter, waitedAfter := cpu()
	millions := (float64(result.Accepted) - before) / 1e6
	t.Logf("%d workers: %.2f M of %d measures in %.1f s, %.2f M/s; %.2f CPU-s per million; each worker ran %.2f of the "+
		"time and waited %.2f of it for a processor; Kafka took %.2f processors, %.2f were idle", workers, millions,
		result.Accepted, took, millions/took, (cpuAfter-cpuBefore)/millions, (cpuAfter-cpuBefore)/took/float64(workers),
		(waitedAfter-waitedBefore)/took/float64(workers), (cpuSeconds(t, broker(t).PID())-kafkaBefore)/took,
		(idleSeconds(t)-idleBefore)/took)
	if millions*1e6 < float64(result.Accepted)/2 {
		t.Logf("half of it was applied before the sacks were shared: take more MILLRACE_BENCH_POINTS")
	}
}

// apisScale sends the same load to one and to two API processes, each on all processors or
// held to one; nobody applies.
func apisScale(t *testing.T) {
	points := fromEnv(t, "MILLRACE_BENCH_POINTS", 20_000_000, strconv.Atoi)
	for _, held := range []bool{true, false} {
		for apis := 1; apis <= 2; apis++ {
			name := map[bool]string{true: "held", false: "free"}[held]
			t.Run(fmt.Sprintf("%s/%d", name, apis), func(t *testing.T) { acceptRate(t, apis, held, points) })
		}
	}
}

func acceptRate(t *testing.T, apis int, held bool, points int) {
	c := newCluster(t, onRedis)
	var settings []string
	if held {
		settings = append(settings, oneCore)
	}
	running := make([]*program, apis)
	for i := range running {
		running[i] = c.start(t, "api", settings...)
	}
	ids := created(t, running[0], "medium", scaleShape.metrics)
	each := len(ids) / apis // of one process's clients
	results := make([]Result, apis)
	send := func(points int) {
		var sending sync.WaitGroup
		for i, p := range running {
			load := shape{each, scaleShape.series, scaleShape.measures}.load(ids[i*each:(i+1)*each], points/apis)
			load.Clients = 8 / apis
			sending.Go(func() { results[i] = mustLoad(t, p, load) })
		}
		sending.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	send(points / 20) // the processes get to know the metrics
	cpu := func() (n float64) {
		for _, p := range running {
			n += cpuSeconds(t, p.pid)
		}
		return n
	}
	cpuBefore, kafkaBefore, idleBefore, began := cpu(), cpuSeconds(t, broker(t).PID()), idleSeconds(t), time.Now()
	send(points)
	took, spent := time.Since(began).Seconds(), cpu()-cpuBefore
	accepted, p99 := 0.0, 0.0
	for _, r := range results {
		accepted, p99 = accepted+float64(r.Accepted)/1e6, max(p99, r.P99)
	}
	t.Logf("%d APIs: %.1f M measures in %.1f s, %.2f M/s, p99 %.1f ms; %.2f CPU-s per million; each API ran %.2f of the "+
		"time; Kafka took %.2f processors, %.2f were idle", apis, accepted, took, accepted/took, p99, spent/accepted,
		spent/took/float64(apis), (cpuSeconds(t, broker(t).PID())-kafkaBefore)/took, (idleSeconds(t)-idleBefore)/took)
}

// waitedForProcessor is how long a process's threads could have run and did not, in seconds:
// the second field of /proc/PID/task/TID/schedstat (Linux, Documentation/scheduler/sched-stats),
// nanoseconds.
func waitedForProcessor(t *testing.T, pid int) float64 {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			ns, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += ns / 1e9
		}
	}
	return sum
}

// idleSeconds is how long the machine's processors have had nothing to do since its start,
// summed: the fourth and fifth number of /proc/stat (proc_stat(5)).
func idleSeconds(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	sum := 0.0
	for _, field := range fields[4:6] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += ticks / ticksPerSecond
	}
	return sum
}

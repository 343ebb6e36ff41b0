package benchmarks

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

// TestCluster measures a deployment of many processes: Kafka between them, PostgreSQL beneath
// them, each process bin/millrace with one role. It runs when asked to, with the program as
// it is built:
//
//	make build
//	MILLRACE_BENCH_CLUSTER=1 go test ./benchmarks -run TestCluster -v -timeout 1h
//
// -run TestCluster/takeover is one of its parts, each of which takes less than four minutes.
// README.md says which settings make them smaller.
func TestCluster(t *testing.T) {
	if os.Getenv("MILLRACE_BENCH_CLUSTER") == "" {
		t.Skip("MILLRACE_BENCH_CLUSTER does not ask for it")
	}
	t.Run("cpu", cpuOfLogs)
	t.Run("logs", logsAlone)
	t.Run("workers", workersScale)
	t.Run("apis", apisScale)
	t.Run("backlog", memoryOfBacklog)
	t.Run("pairs", pairsAcross)
	t.Run("takeover", takeOver)
}

// A cluster is what the processes of one deployment share.
type cluster struct {
	t        *testing.T
	settings []string
}

// newCluster is a deployment with nothing in it. Storage gives the settings of a new one, as
// onRedis and onS3 do.
func newCluster(t *testing.T, storage func(t *testing.T, name string) []string, settings ...string) *cluster {
	t.Helper()
	name := strings.ToLower(rand.Text())
	return &cluster{t, slices.Concat(onKafka(t, name), storage(t, name), settings)}
}

// start starts a process with one role. It ends with the test.
func (c *cluster) start(t *testing.T, role string, settings ...string) *program {
	t.Helper()
	return startRoles(t, dataDir(t), role, slices.Concat(c.settings, settings)...)
}

// setting is the value that the deployment's processes are given.
func (c *cluster) setting(name string) string {
	for _, s := range slices.Backward(c.settings) {
		if value, ok := strings.CutPrefix(s, name+"="); ok {
			return value
		}
	}
	c.t.Fatalf("the deployment has no %s", name)
	return ""
}

// A clusterStatus is what of /v1/status is looked at.
type clusterStatus struct {
	Ingest struct {
		Lag struct {
			Records int64 `json:"records"`
		} `json:"lag"`
	} `json:"ingest"`
	Processes []struct {
		Roles []string `json:"roles"`
		Alive bool     `json:"alive"`
		Sacks []int    `json:"sacks"`
	} `json:"processes"`
}

func statusOf(ctx context.Context, p *program) (s clusterStatus, err error) {
	_, err = call(ctx, http.DefaultClient, http.MethodGet, p.url+"/v1/status", basicAdmin, "", "", &s)
	return s, err
}

// awaitShares waits until each of so many workers owns its share of the sacks.
func awaitShares(t *testing.T, api *program, workers, sacks int) {
	t.Helper()
	var s clusterStatus
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if s, err = statusOf(t.Context(), api); err != nil {
			continue
		}
		even := 0
		for _, p := range s.Processes {
			if p.Alive && slices.Contains(p.Roles, "worker") && len(p.Sacks) == sacks/workers {
				even++
			}
		}
		if even == workers {
			return
		}
	}
	t.Fatalf("%d sacks are not shared by %d workers: %+v, %v\n%s", sacks, workers, s, err, api.said())
}

// awaitFlushed waits until all of the log has been applied, as a process tells that does not
// apply.
func awaitFlushed(t *testing.T, api *program) {
	t.Helper()
	for {
		left, err := waiting(t.Context(), api.url, "admin")
		if err != nil {
			t.Fatalf("%v\n%s", err, api.said())
		}
		if left == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// metricOf sums a metric of a process over its attributes.
func metricOf(t *testing.T, p *program, name string) float64 {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.said())
	}
	defer answer.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += value
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return sum
}

// mustLoad sends a load, none of which may be refused.
func mustLoad(t *testing.T, p *program, load Load) Result {
	t.Helper()
	load.URL = p.url
	result, err := Run(t.Context(), load, nil)
	if err != nil || result.Refused > 0 {
		t.Fatalf("%v, %d refused (%s)\n%s", err, result.Refused, result.Refusal, p.said())
	}
	return result
}

// broker is the process of the Kafka that onKafka's deployments share.
func broker(t *testing.T) *testservers.KafkaBroker {
	t.Helper()
	return testservers.Kafka(t, testservers.Kafka4).Brokers[0]
}

// pairsAcross writes through one API process and reads at once through another, at the
// position that the write was answered with, while a third process applies.
func pairsAcross(t *testing.T) {
	pairs := fromEnv(t, "MILLRACE_BENCH_PAIRS", 1000, strconv.Atoi)
	for name, storage := range map[string]func(*testing.T, string) []string{"redis": onRedis, "s3": onS3} {
		for _, clients := range []int{1, pairClients} {
			t.Run(fmt.Sprintf("%s/%d", name, clients), func(t *testing.T) {
				n := pairs
				if name == "s3" && clients == 1 { // each pair awaits a flush, of which there is one a second
					n = max(1, pairs/20)
				}
				c := newCluster(t, storage)
				one, other := c.start(t, "api"), c.start(t, "api")
				c.start(t, "worker")
				awaitShares(t, one, 1, 16)
				pairsOf(t, one, other, n, clients)
			})
		}
	}
}

package benchmarks

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// profileSeconds is how long a profile is taken: from the beginning of what is measured.
const profileSeconds = 4

// logCode names the functions of a log and of what it stands on, in profiles.
const logCode = `millrace/queue/(disklog|kafka)\.|segmentio/kafka-go|klauspost/compress|pierrec/lz4`

// cpuOfLogs is what accepting and applying takes with the embedded log and SQLite, and with
// Kafka and PostgreSQL, on files: a process with the role api accepts a load, then one with
// the role worker applies it. Two turns, in turn.
func cpuOfLogs(t *testing.T) {
	points := fromEnv(t, "MILLRACE_BENCH_POINTS", 5_000_000, strconv.Atoi)
	turns := fromEnv(t, "MILLRACE_BENCH_TURNS", 2, strconv.Atoi)
	for _, s := range []shape{{10_000, 1000, 1}, {10_000, 100, 100}, {10_000, 1, 10_000}} {
		t.Run(s.String(), func(t *testing.T) {
			logs := []string{"embedded", "kafka"}
			took := make(map[string][]costs)
			for turn := range 2 * turns {
				log := logs[(turn+turn/2)%2] // each is the first as often
				t.Run(log, func(t *testing.T) {
					k := costOfLog(t, s, points, log == "kafka")
					t.Log(k)
					took[log] = append(took[log], k)
				})
				if t.Failed() {
					t.FailNow()
				}
			}
			embedded, kafka := meanCosts(took["embedded"]), meanCosts(took["kafka"])
			t.Logf("%s, %d turns:\nembedded: %s\nkafka:    %s\nmore:     accept %+.2f, apply %+.2f, both %+.2f", s, turns,
				embedded, kafka, kafka.accept-embedded.accept, kafka.apply-embedded.apply,
				kafka.accept+kafka.life-embedded.accept-embedded.life)
		})
	}
}

// costs are CPU seconds per million measures.
type costs struct {
	accept      float64
	acceptLog   float64 // of it the log's own code, as a profile says
	rate        float64 // measures accepted per second
	apply       float64 // from the worker's start until all can be read
	applyLog    float64
	life        float64 // the same until it has flushed all and ended
	kafkaAccept float64 // of the broker meanwhile
	kafkaApply  float64
}

func (k costs) String() string {
	text := fmt.Sprintf("accept %.3f CPU-s per million (log %.3f) at %.2f M/s; apply %.3f (log %.3f), flushed to the end %.3f",
		k.accept, k.acceptLog, k.rate/1e6, k.apply, k.applyLog, k.life)
	if k.kafkaAccept > 0 {
		text += fmt.Sprintf("; the broker beside them %.3f and %.3f", k.kafkaAccept, k.kafkaApply)
	}
	return text
}

func meanCosts(of []costs) (m costs) {
	for _, k := range of {
		n := float64(len(of))
		m.accept, m.acceptLog, m.rate = m.accept+k.accept/n, m.acceptLog+k.acceptLog/n, m.rate+k.rate/n
		m.apply, m.applyLog, m.life = m.apply+k.apply/n, m.applyLog+k.applyLog/n, m.life+k.life/n
		m.kafkaAccept, m.kafkaApply = m.kafkaAccept+k.kafkaAccept/n, m.kafkaApply+k.kafkaApply/n
	}
	return m
}

func costOfLog(t *testing.T, s shape, points int, kafka bool) (k costs) {
	var settings []string
	brokerCPU := func() float64 { return 0 }
	if kafka {
		settings = onKafka(t, filepath.Base(dataDir(t)))
		brokerCPU = func() float64 { return cpuSeconds(t, broker(t).PID()) }
	}
	dir := dataDir(t)
	profile := freeAddress(t)
	settings = append(settings, "MILLRACE_TELEMETRY_PPROF="+profile)

	api := startRoles(t, dir, "api", settings...)
	load := s.load(created(t, api, "medium", s.metrics), points)
	before, beforeKafka := cpuSeconds(t, api.pid), brokerCPU()
	shares := takeProfile(t, dir, profile)
	result := mustLoad(t, api, load)
	millions := float64(result.Accepted) / 1e6
	k.accept, k.rate = (cpuSeconds(t, api.pid)-before)/millions, result.Rate
	k.kafkaAccept = (brokerCPU() - beforeKafka) / millions
	k.acceptLog = k.accept * <-shares
	api.end(syscall.SIGTERM)

	beforeKafka = brokerCPU()
	worker := startRoles(t, dir, "worker", settings...)
	shares = takeProfile(t, dir, profile)
	for metricOf(t, worker, "millrace_lag_records") > 0 {
		time.Sleep(100 * time.Millisecond)
	}
	k.apply = cpuSeconds(t, worker.pid) / millions
	k.kafkaApply = (brokerCPU() - beforeKafka) / millions
	k.applyLog = k.apply * <-shares
	k.life = worker.end(syscall.SIGTERM) / millions
	return k
}

// takeProfile begins a CPU profile of a process and gives the share of its samples that have
// the log's code on their stack. What the runtime does for it by itself, as collecting
// garbage, is not in it.
func takeProfile(t *testing.T, dir, address string) <-chan float64 {
	t.Helper()
	share := make(chan float64, 1)
	go func() {
		got, err := profiled(dir, address)
		if err != nil {
			t.Errorf("cannot take a profile: %v", err)
		}
		share <- got
	}()
	return share
}

func profiled(dir, address string) (float64, error) {
	answer, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, profileSeconds))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	if err != nil {
		return 0, err
	}
	file, err := os.CreateTemp(dir, "profile")
	if err != nil {
		return 0, err
	}
	_, err = file.Write(text)
	if err = cmp.Or(err, file.Close()); err != nil {
		return 0, err
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-focus", logCode, file.Name()).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	return shareIn(string(out))
}

var accountedFor = regexp.MustCompile(`Showing nodes accounting for [^,]+, ([0-9.e+-]+)% of .+ total`)

// shareIn is the share of all samples that pprof's report of a focus accounts for.
func shareIn(report string) (float64, error) {
	found := accountedFor.FindStringSubmatch(report)
	if found == nil {
		if strings.Contains(report, "Focus expression matched no samples") {
			return 0, nil
		}
		return 0, fmt.Errorf("pprof says: %s", report)
	}
	percent, err := strconv.ParseFloat(found[1], 64)
	return percent / 100, err
}

// The share is the report's own, and an unknown report is no share.
func TestShareIn(t *testing.T) {
	for report, want := range map[string]float64{
		"Showing nodes accounting for 1.21s, 30.25% of 4s total\nDropped 3": .3025,
		"main.go: Focus expression matched no samples\n":                    0,
	} {
		if got, err := shareIn(report); err != nil || got != want {
			t.Errorf("%q: %g, %v, want %g", report, got, err, want)
		}
	}
	if got, err := shareIn("nothing of the kind"); err == nil {
		t.Errorf("%g of an unknown report", got)
	}
}

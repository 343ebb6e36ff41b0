package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An expectedSeries names one aggregated series of one metric.
type expectedSeries struct{ metric, granularity, method string }

// expectations runs a program that shares nothing with ours, and returns the series
// that it computes, bucket (seconds) → value, and how many measures are late.
func expectations(t *testing.T, folder string, perRequest int) (series map[expectedSeries]map[int64]float64,
	late int) {
	t.Helper()
	out, err := exec.Command("python3", "testdata/aggregates.py", folder, strconv.Itoa(perRequest)).Output()
	if err != nil {
		if failed, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v\n%s", err, failed.Stderr)
		}
		skipOrFail(t, "shared", "cannot run python3: %v", err)
	}
	series = make(map[expectedSeries]map[int64]float64)
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 5 {
			t.Fatalf("%q", line)
		}
		s := expectedSeries{cells[0], cells[1], cells[2]}
		bucket, err := strconv.ParseInt(cells[3], 10, 64)
		value, valueErr := strconv.ParseFloat(cells[4], 64)
		if err := errors.Join(err, valueErr); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if s.method == "late" {
			late += int(value)
			continue
		}
		if series[s] == nil {
			series[s] = make(map[int64]float64)
		}
		series[s][bucket] = value
	}
	return series, late
}

// TestRealMeasures imports real measures under the archive policy high, and compares
// every aggregate that it keeps with what another program makes of the same files.
func TestRealMeasures(t *testing.T) {
	t.Parallel()
	folder := shared(t, "data", "nab")
	const perRequest = 1000
	want, late := expectations(t, folder, perRequest)
	dir := t.TempDir()
	settings := []string{"MILLRACE_SACKS=2"} // so that each has enough rows to be sealed
	p := start(t, dir, settings...)
	out := p.command(t, "import", folder, "--whole", "--policy", "high", "--batch", strconv.Itoa(perRequest), "--state",
		filepath.Join(t.TempDir(), "state.json"))
	if want := fmt.Sprintf("; %d measures came too late", late); !strings.Contains(out, "31 files, 31 metrics: ") ||
		!strings.Contains(out, want) {
		t.Errorf("%s does not say %q", out, want)
	}
	imported, _, _ := strings.Cut(out, "\n")
	unsealed := p.allSeries(t)
	compareSeries(t, p.metrics(t), unsealed, want)
	metricsPage := func() string {
		_, body := get(t, http.DefaultClient, p.base.String()+"/metrics")
		return body
	}
	sealed := regexp.MustCompile(`millrace_carbonara_changes_total\{kind="seal"\} [1-9]`)
	for deadline := time.Now().Add(startTimeout); !sealed.MatchString(metricsPage()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing gets sealed")
		}
	}
	same := func(when string) {
		t.Helper()
		for path, body := range p.allSeries(t) {
			if body != unsealed[path] {
				t.Errorf("%s, %s is another than before", when, path)
			}
		}
	}
	same("sealed")
	p.kill()
	p = start(t, dir, settings...)
	same("after a kill -9")
	if err := p.terminate(); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
	if out, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=2"}, "check"); code != 0 {
		t.Errorf("check: %s%s", out, errOut)
	}
	t.Logf("suite: real measures (NAB) under the policy high: %s; %d series, %d rows are those of another program, "+
		"unsealed, sealed and after a kill -9",
		imported, len(want), rowsOf(want))
}

func rowsOf(series map[expectedSeries]map[int64]float64) (rows int) {
	for _, buckets := range series {
		rows += len(buckets)
	}
	return rows
}

// eachSeries calls f for every series of the metrics under the policy high.
func eachSeries(ids map[string]string, f func(s expectedSeries, path string)) {
	for name, id := range ids {
		for _, granularity := range []string{"1", "60", "3600"} {
			for _, method := range []string{"mean", "min", "max", "sum", "std", "count"} {
				f(expectedSeries{name, granularity, method}, "/metric/"+id+"/measures?refresh=true&granularity="+granularity+
					"&aggregation="+method)
			}
		}
	}
}

// allSeries reads every series, path → body.
func (p *server) allSeries(t *testing.T) map[string]string {
	t.Helper()
	bodies := make(map[string]string)
	eachSeries(p.metrics(t), func(s expectedSeries, path string) {
		a := p.ask(t, "GET", path, "")
		if a.status != 200 {
			t.Fatalf("%v: %d %s", s, a.status, a.body)
		}
		bodies[path] = a.body
	})
	return bodies
}

// compareSeries compares all series with what is expected, row by row.
func compareSeries(t *testing.T, ids, bodies map[string]string, want map[expectedSeries]map[int64]float64) {
	t.Helper()
	eachSeries(ids, func(s expectedSeries, path string) {
		var got []row
		if err := json.Unmarshal([]byte(bodies[path]), &got); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		if diff := compareRows(got, want[s]); diff != "" {
			t.Errorf("%v: %s", s, diff)
		}
	})
}

// compareRows returns the first difference between rows and expected buckets.
func compareRows(got []row, want map[int64]float64) string {
	for i, bucket := range slices.Sorted(maps.Keys(want)) {
		if i == len(got) {
			return fmt.Sprintf("%d rows, want %d", len(got), len(want))
		}
		if at := got[i].at.Unix(); at != bucket || !nearly(got[i].value, want[bucket]) {
			return fmt.Sprintf("row %d is %d %v, want %d %v", i, at, got[i].value, bucket, want[bucket])
		}
	}
	if len(got) > len(want) {
		return fmt.Sprintf("%d rows, want %d", len(got), len(want))
	}
	return ""
}

// nearly allows for the order in which sums are made.
func nearly(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-12*max(math.Abs(a), math.Abs(b))
}

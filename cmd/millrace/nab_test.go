package main

import (
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
func expectations(t *testing.T, folder string, perRequest int) (series map[expectedSeries]map[int64]float64, late int) {
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
		var s expectedSeries
		var bucket int64
		var value float64
		if _, err := fmt.Sscanf(line, "%s %s %s %d %g", &s.metric, &s.granularity, &s.method, &bucket, &value); err != nil {
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
	folder := shared(t, "data", "nab")
	const perRequest = 1000
	want, late := expectations(t, folder, perRequest)
	dir := t.TempDir()
	settings := []string{"MILLRACE_SACKS=2"} // so that each has enough rows to be sealed
	p := start(t, dir, settings...)
	out := p.command(t, "import", folder, "--policy", "high", "--batch", strconv.Itoa(perRequest), "--state", filepath.Join(t.TempDir(), "state.json"))
	if want := fmt.Sprintf("; %d measures came too late", late); !strings.Contains(out, "31 files, 31 metrics: ") || !strings.Contains(out, want) {
		t.Errorf("%s does not say %q", out, want)
	}
	if got, wantRows := compareSeries(t, &p.server, want), rowsOf(want); got != wantRows {
		t.Errorf("%d rows, want %d", got, wantRows)
	}
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
	compareSeries(t, &p.server, want)
	p.kill()
	p = start(t, dir, settings...)
	compareSeries(t, &p.server, want)
	if err := p.terminate(); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
	if out, errOut, code := check(t, dir); code != 0 {
		t.Errorf("check: %s%s", out, errOut)
	}
	t.Logf("suite: real measures (NAB) under the policy high: %s; %d series, %d rows are those of another program, unsealed, sealed and after a kill -9",
		strings.TrimSpace(strings.Split(out, ";")[0]), len(want), rowsOf(want))
}

func rowsOf(series map[expectedSeries]map[int64]float64) (rows int) {
	for _, buckets := range series {
		rows += len(buckets)
	}
	return rows
}

// compareSeries compares all series that a server has with what is expected, row by
// row, and returns how many rows there are.
func compareSeries(t *testing.T, p *server, want map[expectedSeries]map[int64]float64) (rows int) {
	t.Helper()
	for name, id := range p.metrics(t) {
		for _, granularity := range []string{"1", "60", "3600"} {
			for _, method := range []string{"mean", "min", "max", "sum", "std", "count"} {
				s := expectedSeries{name, granularity, method}
				var got []row
				if _, err := p.do(t.Context(), "GET", "/metric/"+id+"/measures?refresh=true&granularity="+granularity+"&aggregation="+method, nil, nil, &got); err != nil {
					t.Fatalf("%v: %v", s, err)
				}
				if diff := compareRows(got, want[s]); diff != "" {
					t.Errorf("%v: %s", s, diff)
				}
				rows += len(got)
			}
		}
	}
	return rows
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

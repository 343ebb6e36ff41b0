package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// A readerSummary is a line of testdata/read_segments.py.
type readerSummary struct {
	File    string             `json:"file"`
	Reader  string             `json:"reader"`
	Rows    int                `json:"rows"`
	Metrics int                `json:"metrics"`
	First   string             `json:"first"`
	Last    string             `json:"last"`
	Micros  json.Number        `json:"micros"`
	Counts  map[string]int     `json:"counts"`
	Sums    map[string]float64 `json:"sums"`
}

// A summing makes the summary that a reader should give.
type summing struct {
	readerSummary
	last   ingest.MetricID
	micros big.Int
	sums   map[string]*big.Float
}

func (s *summing) row(id ingest.MetricID, at int64) {
	if s.Rows == 0 {
		s.First, s.Counts, s.sums = id.String(), make(map[string]int), make(map[string]*big.Float)
	}
	if s.Rows == 0 || s.last != id {
		s.Metrics++
	}
	s.Rows++
	s.last, s.Last = id, id.String()
	s.micros.Add(&s.micros, big.NewInt(at/1000))
	s.Micros = json.Number(s.micros.String())
}

func (s *summing) value(column string, v float64) {
	if !math.IsNaN(v) {
		s.Counts[column]++
	}
	if s.sums[column] == nil {
		s.sums[column] = new(big.Float).SetPrec(4096)
	}
	if math.Abs(v) < 1e100 { // and not a NaN
		s.sums[column].Add(s.sums[column], big.NewFloat(v))
	}
}

func (s *summing) summary(file string) readerSummary {
	s.File = file
	s.Sums = make(map[string]float64)
	for column, sum := range s.sums {
		s.Sums[column], _ = sum.Float64()
	}
	return s.readerSummary
}

// DuckDB, pyarrow and pandas read segments as they are. The test needs a Python
// that has them.
func TestOtherReaders(t *testing.T) {
	python := os.Getenv("MILLRACE_PYTHON")
	if python == "" {
		const missing = "MILLRACE_PYTHON names no Python with duckdb, pandas and pyarrow: not tried what they read"
		if strings.Contains(os.Getenv("MILLRACE_TEST_REQUIRE"), "parquet-readers") {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(21, 21))
	var files []string
	var want []readerSummary
	write := func(name string, e Writer, s *summing) {
		file, _, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		files, want = append(files, path), append(want, s.summary(path))
	}

	raw := NewRawWriter()
	for _, most := range []int{1, 12, 500} { // plain metrics, compressed ones, a dictionary
		var s summing
		for _, run := range someRuns(rng, 70_000/most, most) {
			raw.Add(run)
			for _, m := range run.Measures {
				s.row(run.Metric, m.Time)
				s.value("value", m.Value)
			}
		}
		raw.Late([]LateTotal{{metricID(1), 1}})
		write(fmt.Sprintf("raw%d.parquet", most), raw, &s)
	}

	var states summing
	state := NewStateWriter()
	for _, id := range metricIDs(5000) {
		row := StateRow{id, "low", rng.Int64N(1e18), rng.Uint64(), ingest.MinTime}
		state.Add(row)
		states.row(id, row.Newest)
	}
	states.Counts = map[string]int{}
	write("state.parquet", state, &states)

	methods := append(defaultMethods(), ingest.Percentile(95).OfRate())
	runs := someSealed(rng, 200, 500, methods)
	divideMeans(runs, methods)
	var sealeds summing
	sealed := NewSealedWriter(methods)
	for _, run := range runs {
		sealed.Add(run)
		for row, at := range run.Times {
			sealeds.row(run.Metric, at)
			for i, m := range methods {
				quotient := m == ingest.Mean && sealed.isQuotient(run, row)
				if run.Present[i] != nil && run.Present[i][row] && !quotient {
					sealeds.value(m.String(), run.Values[i][row])
				}
			}
		}
	}
	write("sealed.parquet", sealed, &sealeds)

	script := filepath.Join("testdata", "read_segments.py")
	out, err := exec.CommandContext(t.Context(), python, append([]string{script}, files...)...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Logf("%s", exit.Stderr)
		}
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != 3*len(files) {
		t.Fatalf("%d lines for %d files", len(lines), len(files))
	}
	for i, line := range lines {
		var got readerSummary
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		expect := want[i/3]
		expect.Reader = got.Reader
		if diff := cmp.Diff(expect, got); diff != "" {
			t.Errorf("%s: %s", got.Reader, diff)
		}
	}
	t.Logf("suite: segments read by DuckDB, pyarrow and pandas: %d files", len(files))
}

package segment

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	Nanos   json.Number        `json:"nanos"`
	Counts  map[string]int     `json:"counts"`
	Sums    map[string]float64 `json:"sums"`
}

// A summing makes the summary that a reader should give.
type summing struct {
	readerSummary
	last  ingest.MetricID
	nanos big.Int
	sums  map[string]*big.Float
}

func (s *summing) row(id ingest.MetricID, at int64) {
	if s.Rows == 0 {
		s.First, s.Counts, s.sums = hex.EncodeToString(id[:]), make(map[string]int), make(map[string]*big.Float)
	}
	if s.Rows == 0 || s.last != id {
		s.Metrics++
	}
	s.Rows++
	s.last, s.Last = id, hex.EncodeToString(id[:])
	s.nanos.Add(&s.nanos, big.NewInt(at))
	s.Nanos = json.Number(s.nanos.String())
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

// requirePython returns the Python that an environment variable names. Without it the
// test is skipped, or fails where it is required.
func requirePython(t *testing.T, variable, has, requirement string) string {
	t.Helper()
	python := os.Getenv(variable)
	if _, err := os.Stat(python); err == nil {
		return python
	}
	missing := fmt.Sprintf("%s is %q, which is no Python with %s: not tried what they read", variable, python, has)
	if slices.Contains(strings.Split(os.Getenv("MILLRACE_TEST_REQUIRE"), ","), requirement) {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// What data engineers have at hand reads segments as they are.
func TestOtherReaders(t *testing.T) {
	python := requirePython(t, "MILLRACE_PYTHON", "duckdb, pyarrow, polars and pandas", "parquet-readers")
	files, want := segmentsForReaders(t)
	const readers = "duckdb,pyarrow,polars,pandas"
	readBy(t, python, readers, files, want)
	t.Logf("suite: segments read by %s: %d files", readers, len(files))
}

// Spark reads segments with its settings as they come.
func TestSpark(t *testing.T) {
	for _, version := range []string{"3.5", "4.0"} {
		t.Run(version, func(t *testing.T) {
			variable := "MILLRACE_SPARK_" + strings.ReplaceAll(version, ".", "_")
			python := requirePython(t, variable, "pyspark "+version, "spark")
			files, want := segmentsForReaders(t)
			readBy(t, python, "spark", files, want)
			t.Logf("suite: segments read by Spark %s: %d files", version, len(files))
		})
	}
}

// segmentsForReaders writes segments of every kind and layout, and what a reader
// should find in each.
func segmentsForReaders(t *testing.T) (files []string, want []readerSummary) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(21, 21))
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
			if most == 12 { // without the column for nanoseconds
				for i := range run.Measures {
					run.Measures[i].Time -= run.Measures[i].Time % 1000
				}
			}
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
	return files, want
}

// readBy has a Python's readers read the files, and compares what they found.
func readBy(t *testing.T, python, readers string, files []string, want []readerSummary) {
	t.Helper()
	script := filepath.Join("testdata", "read_segments.py")
	command := exec.CommandContext(t.Context(), python, append([]string{script, readers}, files...)...)
	out, err := command.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Logf("%s", exit.Stderr)
		}
		t.Fatal(err)
	}
	names := strings.Split(readers, ",")
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != len(names)*len(files) {
		t.Fatalf("%d lines for %d files and %s", len(lines), len(files), readers)
	}
	for i, line := range lines {
		var got readerSummary
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		expect := want[i/len(names)]
		expect.Reader = names[i%len(names)]
		if diff := cmp.Diff(expect, got); diff != "" {
			t.Errorf("%s: %s", expect.Reader, diff)
		}
	}
}

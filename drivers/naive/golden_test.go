package naive

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

// A vector is one question to the original program, with its answer.
type vector struct {
	ID, Kind, Advice string
	Input            struct {
		Points []goldenPoint
		Policy *goldenPolicy
		Steps  []goldenStep
	}
	Op struct {
		Granularity int64 `json:"granularity_ns"`
		Calendar    string
		Method      string
		Start       string
	}
	Expect struct {
		Points []goldenPoint
		Reads  []struct{ Rows []goldenRow }
	}
	Tolerance float64
}

type goldenPolicy struct {
	BackWindow int `json:"back_window"`
	Definition []struct {
		Granularity int64 `json:"granularity_ns"`
		Points      int64
		Timespan    int64 `json:"timespan_ns"`
	}
	Methods []string `json:"aggregation_methods"`
}

type goldenStep struct {
	Measures []goldenPoint
	Read     *goldenRead
	Other    map[string]json.RawMessage `json:"-"` // every field, by name
}

type goldenRead struct {
	Method      string
	Granularity int64 `json:"granularity_ns"`
	Start, Stop string
	Resample    json.RawMessage
}

func (s *goldenStep) UnmarshalJSON(text []byte) error {
	type plain goldenStep
	if err := json.Unmarshal(text, (*plain)(s)); err != nil {
		return err
	}
	return json.Unmarshal(text, &s.Other)
}

// A goldenPoint is [time, value], a goldenRow [time, granularity, value].
type goldenPoint struct{ ingest.Measure }
type goldenRow struct {
	ingest.Measure
	granularity int64
}

func (p *goldenPoint) UnmarshalJSON(text []byte) error {
	var when string
	var value json.RawMessage
	if err := json.Unmarshal(text, &[]any{&when, &value}); err != nil {
		return err
	}
	return goldenMeasure(&p.Measure, when, value)
}

func (r *goldenRow) UnmarshalJSON(text []byte) error {
	var when string
	var value json.RawMessage
	var granularity json.RawMessage // a calendar letter in answers to a resample
	if err := json.Unmarshal(text, &[]any{&when, &granularity, &value}); err != nil {
		return err
	}
	r.granularity, _ = strconv.ParseInt(string(granularity), 10, 64)
	return goldenMeasure(&r.Measure, when, value)
}

func goldenMeasure(m *ingest.Measure, when string, value json.RawMessage) error {
	at, err := goldenTime(when)
	m.Time = at
	switch string(value) {
	case `"NaN"`:
		m.Value = math.NaN()
	case `"+Inf"`:
		m.Value = math.Inf(1)
	case `"-Inf"`:
		m.Value = math.Inf(-1)
	default:
		err = errors.Join(err, json.Unmarshal(value, &m.Value))
	}
	return err
}

func goldenTime(text string) (int64, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	return at.UnixNano(), err
}

func measuresOf(points []goldenPoint) []ingest.Measure {
	var raw []ingest.Measure
	for _, p := range points {
		raw = append(raw, p.Measure)
	}
	return raw
}

// golden reads the vectors of one kind.
func golden(t *testing.T, kind string) []vector {
	t.Helper()
	var file struct{ Vectors []json.RawMessage }
	text, err := os.ReadFile(filepath.Join(projectRoot(t), "..", "shared", "golden", "carbonara.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if slices.Contains(strings.Split(os.Getenv("MILLRACE_TEST_REQUIRE"), ","), "shared") {
			t.Fatal("the shared golden vectors are required:", err)
		}
		t.Skip("the shared golden vectors are not here:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	for _, text := range file.Vectors {
		var head struct{ Kind string }
		if err := json.Unmarshal(text, &head); err != nil {
			t.Fatal(err)
		}
		if head.Kind != kind {
			continue
		}
		var v vector
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%.80s: %v", text, err)
		}
		vectors = append(vectors, v)
	}
	if len(vectors) == 0 {
		t.Fatalf("no vectors of kind %q", kind)
	}
	return vectors
}

func projectRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

func equal(got, want, tolerance float64) bool {
	if math.IsNaN(want) || math.IsInf(want, 0) || tolerance == 0 {
		return got == want || math.IsNaN(got) && math.IsNaN(want)
	}
	return math.Abs(got-want) <= tolerance*max(1, math.Abs(want))
}

// What the original program computes from one series of measures.
func TestGoldenAggregate(t *testing.T) {
	ran := 0
	for _, v := range golden(t, "aggregate") {
		if v.Op.Calendar != "" || v.Op.Start != "" { // not a driver's business
			continue
		}
		ran++
		t.Run(v.ID, func(t *testing.T) {
			rows := aggregate(measuresOf(v.Input.Points), v.Op.Granularity, method(t, v.Op.Method))
			want := v.Expect.Points
			if len(rows) != len(want) {
				t.Fatalf("%v, want %v", rows, want)
			}
			for i, row := range rows {
				if row.Time != want[i].Time || !equal(row.Value, want[i].Value, v.Tolerance) {
					t.Errorf("row %d is %v, want %v", i, row, want[i].Measure)
				}
			}
		})
	}
	if ran < 30 {
		t.Errorf("only %d vectors ran", ran)
	}
}

// sparse is decided otherwise than the original does: a difference reaches back
// to the measure before, whatever the distance and the batches.
const sparse = "ingest-rate-sparse-three-batches"

// What it keeps and drops over several batches.
func TestGoldenIngest(t *testing.T) {
	ran := 0
	for _, v := range golden(t, "ingest") {
		if v.Advice == "deviate" || v.ID == sparse || !plain(v.Input.Steps) {
			continue
		}
		ran++
		t.Run(v.ID, func(t *testing.T) { replay(t, v) })
	}
	if ran < 10 {
		t.Errorf("only %d vectors ran", ran)
	}
}

// plain says whether the steps only measure and read.
func plain(steps []goldenStep) bool {
	for _, s := range steps {
		for name := range s.Other {
			if name != "measures" && name != "read" && name != "splits" && name != "raw" {
				return false
			}
		}
		if s.Read != nil && s.Read.Resample != nil {
			return false
		}
	}
	return true
}

func replay(t *testing.T, v vector) {
	policy := policyOf(t, v.Input.Policy)
	d := New(onePolicy{policy})
	w, _, err := d.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	answers := v.Expect.Reads
	for i, step := range v.Input.Steps {
		switch {
		case step.Read != nil:
			got, want := read(t, d, policy, step.Read), answers[0].Rows
			answers = answers[1:]
			if len(got) != len(want) {
				t.Errorf("step %d: %d rows, want %d:\n%v\n%v", i, len(got), len(want), got, want)
				continue
			}
			for j := range got {
				if got[j].Time != want[j].Time || got[j].granularity != want[j].granularity ||
					!equal(got[j].Value, want[j].Value, v.Tolerance) {
					t.Errorf("step %d, row %d: %v, want %v", i, j, got[j], want[j])
				}
			}
		case step.Other["measures"] != nil:
			record := ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Policy: "p",
				Measures: measuresOf(step.Measures)}}}
			if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: ingest.Offset(i), Record: record}}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Flush(t.Context(), ingest.Watermark{Offset: ingest.Offset(i) + 1}); err != nil {
				t.Fatal(err)
			}
		default: // splits, raw: how it stores is its own business
			answers = answers[1:]
		}
	}
}

func policyOf(t *testing.T, p *goldenPolicy) *ingest.ArchivePolicy {
	t.Helper()
	policy := &ingest.ArchivePolicy{Name: "p", BackWindow: p.BackWindow}
	for _, d := range p.Definition {
		complete, err := ingest.Definition{Granularity: time.Duration(d.Granularity), Points: d.Points,
			Timespan: time.Duration(d.Timespan)}.Complete()
		if err != nil {
			t.Fatal(err)
		}
		policy.Definitions = append(policy.Definitions, complete)
	}
	methods, err := ingest.ExpandMethods(p.Methods, ingest.DefaultMethods())
	if err != nil {
		t.Fatal(err)
	}
	policy.Methods = methods
	return policy
}

func read(t *testing.T, d *Driver, policy *ingest.ArchivePolicy, r *goldenRead) []goldenRow {
	t.Helper()
	q := ingest.Query{Policy: policy, Method: method(t, r.Method), From: ingest.MinTime, To: ingest.MaxTime}
	var err error
	if r.Start != "" {
		if q.From, err = goldenTime(r.Start); err != nil {
			t.Fatal(err)
		}
	}
	if r.Stop != "" {
		if q.To, err = goldenTime(r.Stop); err != nil {
			t.Fatal(err)
		}
	}
	var rows []goldenRow
	for _, g := range policy.Granularities() {
		if r.Granularity != 0 && r.Granularity != int64(g) {
			continue
		}
		q.Granularity = g
		dst := make([][]ingest.Measure, 1)
		if _, err := d.Read(t.Context(), []ingest.Query{q}, dst, nil); err != nil {
			t.Fatal(err)
		}
		for _, m := range dst[0] {
			rows = append(rows, goldenRow{m, int64(g)})
		}
	}
	return rows
}

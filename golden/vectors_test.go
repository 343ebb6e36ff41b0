package golden_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// elsewhere names the kinds of vectors that are not about what a metric's
// aggregates are, and are not run here.
var elsewhere = map[string]string{
	"bound":         "how the original holds raw measures: those of ingest say what comes of it",
	"split_key":     "how the original lays out its storage",
	"split":         "how the original lays out its storage",
	"serialize":     "how the original lays out its storage",
	"serialize_raw": "how the original lays out its storage",
	"measures_wire": "how the original lays out its queue",
	"json_rows":     "how the API writes rows",
}

// here names the kinds that are run, each by a test of its own.
var here = []string{
	"aggregate", "ingest", "round", "truncate", "fetch", "resample", "calendar",
	"policy", "parse_timestamp", "parse_timespan", "cross", "query",
}

// A difference is an answer of Millrace that is not the original's, on purpose.
type difference struct {
	kind, id string
	rule     string // of section 15 of carbonara's rules, where there is one
	want     string // our answer, in the form of the vector's "expect"
}

var differences = []difference{
	{"aggregate", "agg-rate-first-hole-start", "R4: the measure before counts, however long before",
		`{"points": [["2014-01-01T12:03:00.000000000Z", 35], ["2014-01-01T12:04:00.000000000Z", 2]]}`},
	{"round", "round-float-artifact", "R6: integers do not round up",
		`{"values": ["2014-01-01T12:00:00.000000000Z", "2014-01-01T12:00:00.000000000Z", ` +
			`"2014-01-01T12:00:00.000000000Z"]}`},
	{"round", "round-1ms-artifact", "R6: integers do not drift",
		`{"values": ["2014-01-01T12:00:00.001000000Z", "2014-01-01T12:00:00.002000000Z", ` +
			`"2014-01-01T12:00:00.003000000Z"]}`},
	{"resample", "resample-rate", "R12: rates are not derived again",
		`{"points": [["2014-01-01T12:00:00.000000000Z", 1], ["2014-01-01T12:03:00.000000000Z", 4]]}`},
	{"ingest", "ingest-rate-sparse-three-batches", "R4: the measure before counts, however long before",
		`{"reads": [{"rows": [["2014-01-01T12:05:00.000000000Z", 60000000000, 10], ["2014-01-01T12:10:00.000000000Z", ` +
			`60000000000, 20]]}]}`},
	{"ingest", "ingest-std-stale", "R7: rows expire by the newest bucket of any method",
		`{"reads": [{"rows": [["2014-01-01T00:00:00.000000000Z", 86400000000000, 26.812621406096543],
			["2014-01-01T12:00:00.000000000Z", 3600000000000, 26.812621406096543],
			["2014-01-01T12:05:00.000000000Z", 300000000000, 26.870057685088806]]}, {"rows": []}]}`},
	{"ingest", "ingest-stale-visible", "R8: what has expired stays expired, whatever the range",
		`{"reads": [{"rows": [["2014-01-01T23:00:00.000000000Z", 5000000000, 2]]}, {"rows": []}, {"splits": []}]}`},
	{"cross", "math-two-refs-multi", "R14: of several series none is the answer",
		`{"error": "Unaggregable", "code": "several_left"}`},
	{"ingest", "ingest-resample-calendar-start", "section 8: a calendar group has a start, too",
		`{"reads": [{"rows": [["2015-03-01T00:00:00.000000000Z", "M", 27.55]]}]}`},
}

// A vector is one question to the original program, with its answer.
type vector[Input, Op, Expect any] struct {
	ID, Kind, Source string
	Advice           string // match, decide, deviate
	Note             string
	Input            Input
	Op               Op
	Expect           Expect
	Tolerance        float64
	VerifiedOn       []string `json:"verified_on"`
}

// golden puts the question of every vector of a kind and compares the answer with
// the original's, or with our own where it is listed among differences. An answer
// that is not listed, to a vector that does not say "match", may also be what the
// rules say, written down again in rule: so in files that hold other vectors.
func golden[Input, Op, Expect any](t *testing.T, kind string,
	answer func(t *testing.T, in Input, op Op) Expect, rule func(in Input, op Op) Expect) {
	t.Helper()
	goldenBut(t, kind, answer, rule, exceptions[Input, Op, Expect]{})
}

// exceptions are vectors whose answer a driver differs in, as it says of itself: by name,
// each with the reason. Their answer is what rule says then, and never the original's.
type exceptions[Input, Op, Expect any] struct {
	reasons map[string]string
	rule    func(in Input, op Op) Expect
}

// goldenBut is golden with exceptions.
func goldenBut[Input, Op, Expect any](t *testing.T, kind string, answer func(t *testing.T, in Input, op Op) Expect,
	rule func(in Input, op Op) Expect, except exceptions[Input, Op, Expect]) {
	t.Helper()
	met := map[string]bool{}
	for _, text := range vectorsOf(t, kind) {
		v, err := decode[vector[Input, Op, Expect]](text)
		if err != nil && otherFile() { // a field that is new to us matters if the answer is another
			v, err = decodeKnown[vector[Input, Op, Expect]](text)
		}
		if err != nil {
			t.Errorf("vector of unknown form: %v:\n%s", err, text)
			continue
		}
		met[v.ID] = true
		t.Run(v.ID, func(t *testing.T) {
			if rule != nil && v.Advice == "match" {
				if diff := v.diff(v.Expect, rule(v.Input, v.Op)); diff != "" {
					t.Errorf("the rules as written down here do not say what the original does (-original +rules):\n%s", diff)
				}
			}
			got := answer(t, v.Input, v.Op)
			if reason, excepted := except.reasons[v.ID]; excepted {
				v.judgeExcepted(t, got, except.rule(v.Input, v.Op), reason)
			} else {
				v.judge(t, got, rule)
			}
		})
	}
	for id := range except.reasons {
		if !met[id] && !otherFile() {
			t.Errorf("no vector %s; yet it is listed as an exception", id)
		}
	}
	for _, d := range differences {
		if d.kind == kind && !met[d.id] && !otherFile() {
			t.Errorf("no vector %s; yet it is listed as a difference", d.id)
		}
	}
}

func (v *vector[Input, Op, Expect]) judge(t *testing.T, got Expect, rule func(Input, Op) Expect) {
	t.Helper()
	diff := v.diff(v.Expect, got)
	if i := slices.IndexFunc(differences, func(d difference) bool { return d.id == v.ID }); i >= 0 {
		ours, err := decode[Expect]([]byte(differences[i].want))
		if err != nil {
			t.Fatalf("the answer listed is malformed: %v", err)
		}
		if diff == "" {
			t.Errorf("this is the original's answer, but %s", differences[i].rule)
		}
		if diff := v.diff(ours, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", differences[i].rule, diff)
		}
		if diff := v.diff(ours, rule(v.Input, v.Op)); diff != "" {
			t.Errorf("the rules as written down here say otherwise than the list (-list +rules):\n%s", diff)
		}
		return
	}
	if diff == "" {
		return
	}
	if v.Advice == "match" || rule == nil {
		t.Errorf("advice %s, note %q (-original +got):\n%s", v.Advice, v.Note, diff)
		return
	}
	switch ruled := v.diff(rule(v.Input, v.Op), got); {
	case ruled != "":
		t.Errorf("neither what the original says (-original +got):\n%s\nnor what the rules say (-rules +got):\n%s", diff,
			ruled)
	case !otherFile():
		t.Errorf("as the rules say, but this is not among the differences (-original +got):\n%s", diff)
	default:
		t.Logf("advice %s: as the rules say, not as the original does (-original +got):\n%s", v.Advice, diff)
	}
}

// judgeExcepted judges the answer to a vector that a driver is known to differ in.
func (v *vector[Input, Op, Expect]) judgeExcepted(t *testing.T, got, want Expect, reason string) {
	t.Helper()
	if v.diff(v.Expect, got) == "" {
		t.Errorf("this is the original's answer; yet it is listed as an exception: %s", reason)
	}
	if diff := v.diff(want, got); diff != "" {
		t.Errorf("%s (-rules then +got):\n%s", reason, diff)
	}
}

func (v *vector[Input, Op, Expect]) diff(want, got Expect) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(sameCode), withTolerance(v.Tolerance),
		cmp.Exporter(func(reflect.Type) bool { return true }))
}

// decode reads JSON of which every field must be known.
func decode[T any](text []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// decodeKnown reads the fields of JSON that are known.
func decodeKnown[T any](text []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// TestGoldenFile checks that no vector of the file is overlooked.
func TestGoldenFile(t *testing.T) {
	run := 0
	for _, text := range allVectors(t) {
		var v struct{ ID, Kind, Advice string }
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(here, v.Kind) && elsewhere[v.Kind] == "" {
			t.Errorf("%s: unknown kind %q", v.ID, v.Kind)
		}
		if !slices.Contains([]string{"match", "decide", "deviate"}, v.Advice) {
			t.Errorf("%s: unknown advice %q", v.ID, v.Advice)
		}
		if slices.Contains(here, v.Kind) {
			run++
		}
	}
	t.Logf("suite: Gnocchi's own answers (golden vectors): %d, through aggregate, naive, "+
		"carbonara on files and InfluxDB", run)
}

func vectorsOf(t *testing.T, kind string) []json.RawMessage {
	t.Helper()
	if !slices.Contains(here, kind) {
		t.Fatalf("BUG: kind %q is not among those run here", kind)
	}
	vectors := slices.DeleteFunc(allVectors(t), func(text json.RawMessage) bool {
		var v struct{ Kind string }
		return json.Unmarshal(text, &v) != nil || v.Kind != kind
	})
	switch {
	case len(vectors) > 0:
	case otherFile(): // it may hold what it likes
		t.Skipf("no vector of kind %q", kind)
	default:
		t.Fatalf("no vector of kind %q", kind)
	}
	return vectors
}

// otherFile says whether MILLRACE_GOLDEN names another file than ours.
func otherFile() bool { return os.Getenv("MILLRACE_GOLDEN") != "" }

// allVectors reads the golden file, or the one that MILLRACE_GOLDEN names.
func allVectors(t *testing.T) []json.RawMessage {
	t.Helper()
	name := os.Getenv("MILLRACE_GOLDEN")
	if name == "" {
		name = filepath.Join("..", "..", "shared", "golden", "carbonara.json")
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("MILLRACE_GOLDEN") == "" {
		if slices.Contains(strings.Split(os.Getenv("MILLRACE_TEST_REQUIRE"), ","), "shared") {
			t.Fatal("the golden vectors are required:", err)
		}
		t.Skip("the golden vectors are not here:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Schema  string
		Vectors []json.RawMessage
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if file.Schema != "carbonara-golden/1" {
		t.Fatalf("%s: unknown schema %q", name, file.Schema)
	}
	return file.Vectors
}

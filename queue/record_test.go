package queue

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var accepted = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func id(n byte) ingest.MetricID { return ingest.MetricID{0: 0xab, 15: n} }

// bits compares measures by the bits of their values: NaN is equal to itself,
// and -0 is not 0.
var bits = cmp.Comparer(func(a, b ingest.Measure) bool {
	return a.Time == b.Time && math.Float64bits(a.Value) == math.Float64bits(b.Value)
})

func encode(t testing.TB, r *ingest.Record) []byte {
	t.Helper()
	data, err := AppendRecord(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(data []byte) (ingest.Delivery, error) {
	var (
		d    Decoder
		into ingest.Deliveries
	)
	err := d.Decode(&into, 7, data)
	return into.List[0], err
}

var golden = map[string]ingest.Record{
	"measures": {
		Kind: ingest.RecordMeasures, AcceptedAt: accepted, Producer: 1<<64 - 1, Sequence: 300, Project: "admin",
		Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Entries: []ingest.Entry{
			{Metric: id(1), Policy: "low", Measures: []ingest.Measure{{Time: accepted.UnixNano(), Value: 1.5}}},
			{Metric: id(2), Policy: "high", Measures: []ingest.Measure{
				{Time: accepted.UnixNano(), Value: math.Copysign(0, -1)},
				{Time: accepted.UnixNano() + 1e9, Value: math.Float64frombits(0x7ff8_0000_0000_beef)},
				{Time: accepted.UnixNano() + 2e9, Value: math.Inf(1)},
				{Time: accepted.UnixNano() - 5, Value: math.SmallestNonzeroFloat64},
			}},
			{Metric: id(3), Policy: "low"},
			{Metric: id(4), Policy: "low", Measures: []ingest.Measure{{Time: math.MinInt64, Value: -1},
				{Time: math.MaxInt64, Value: 1}}},
		},
	},
	"delete": {Kind: ingest.RecordDelete, AcceptedAt: accepted, Metric: id(9)},
	"nudge":  {Kind: ingest.RecordNudge, AcceptedAt: accepted},
	"bare":   {Kind: ingest.RecordMeasures},
}

// TestGolden holds the format still: old logs must stay readable.
func TestGolden(t *testing.T) {
	for name, r := range golden {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".hex")
			got := encode(t, &r)
			if *update {
				if err := os.WriteFile(file, []byte(hex.Dump(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), hex.Dump(got)); diff != "" {
				t.Errorf("bytes differ (-want +got):\n%s", diff)
			}
			back, err := decode(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ingest.Delivery{Offset: 7, Record: r, Checksum: sumOf(got)}, back, bits); diff != "" {
				t.Errorf("record differs (-want +got):\n%s", diff)
			}
		})
	}
}

// sumOf is the checksum that a record carries.
func sumOf(record []byte) uint32 { return binary.LittleEndian.Uint32(record[checksumAt:]) }

// reseal makes the checksum right again, so that what is behind it is tried.
func reseal(data []byte) []byte {
	if len(data) >= headLen {
		binary.LittleEndian.PutUint32(data[checksumAt:], checksum(data))
	}
	return data
}

func TestDecodeRefuses(t *testing.T) {
	nudge := func() []byte { return encode(t, &ingest.Record{Kind: ingest.RecordNudge, AcceptedAt: accepted}) }
	measures := func(tail ...byte) []byte { // an empty head, then tail
		b := make([]byte, headLen, headLen+64)
		b[0], b[kindAt] = Version, byte(ingest.RecordMeasures)
		b = append(b, 0, 0, 0, 0) // producer, sequence, project, trace
		return reseal(append(b, tail...))
	}
	huge := binary.AppendUvarint(nil, 1<<62)
	metric := make([]byte, idLen)
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, test := range []struct {
		name string
		data []byte
		is   error
		says string
	}{
		{"nothing", nil, ErrDamaged, "empty"},
		{"a later version", append([]byte{9}, nudge()[1:]...), ErrVersion,
			"unknown version 9: this program knows version 2"},
		{"a later version, for who waits", append([]byte{9}, nudge()[1:]...), ingest.ErrNewer, "newer version"},
		{"an earlier version", append([]byte{1}, nudge()[1:]...), ErrVersion, "unknown version 1"},
		{"half a head", nudge()[:9], ErrDamaged, "9 bytes"},
		{"more than a record", zeros(ingest.MaxRecord + 1), ErrDamaged, "1000001 bytes"},
		{"cut", nudge()[:len(nudge())-1], ErrDamaged, "checksum"},
		{"a kind of tomorrow", func() []byte { b := nudge(); b[kindAt] = 77; return reseal(b) }(), ErrMalformed,
			"unknown kind 77"},
		{"left over", reseal(append(nudge(), 1, 2)), ErrMalformed, "2 bytes are left over"},
		{"no policies", measures(), ErrMalformed, "archive policies: a number"},
		{"policies that can't be", measures(huge...), ErrMalformed, "4611686018427387904 archive policies"},
		{"a policy name that can't be", measures(cat([]byte{1}, huge)...), ErrMalformed,
			"archive policy of 4611686018427387904 bytes"},
		{"entries that can't be", measures(cat([]byte{0}, huge)...), ErrMalformed, "4611686018427387904 entries"},
		{"measures that can't be", measures(cat([]byte{0, 0}, huge)...), ErrMalformed, "4611686018427387904 measures"},
		{"policy out of the table", measures(cat([]byte{0, 1, 0}, metric, []byte{0, 0})...), ErrMalformed,
			"archive policy 0 of 0"},
		{"entry with more than there are", measures(cat([]byte{1, 1, 'p', 1, 0}, metric, []byte{0, 1})...), ErrMalformed,
			"1 measures of a metric, and 0 are left"},
		{"fewer measures than said", measures(cat([]byte{1, 1, 'p', 1, 1}, metric, []byte{0, 0})...), ErrMalformed,
			"1 measures fewer"},
		{"no room for values", measures(cat([]byte{1, 1, 'p', 1, 2}, metric, []byte{0, 2, 0, 0})...), ErrMalformed,
			"values of a metric"},
		{"endless timestamp", measures(cat([]byte{1, 1, 'p', 1, 1}, metric, []byte{0, 1},
			[]byte(strings.Repeat("\xff", 18)))...), ErrMalformed, "timestamp"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode(test.data)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v, want one that is %q and says %q", err, test.is, test.says)
			}
			if got.Err != err || string(got.Raw) != string(test.data) || got.Offset != 7 {
				t.Errorf("the delivery is %+v, want the error and the bytes", got)
			}
		})
	}
}

func zeros(n int) []byte {
	b := make([]byte, n)
	b[0] = Version
	return b
}

// TestEveryFlippedBit: damage is always noticed, wherever it is.
func TestEveryFlippedBit(t *testing.T) {
	r := golden["measures"]
	data := encode(t, &r)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if _, err := decode(data); err == nil {
				t.Errorf("bit %d of byte %d flipped, and nobody saw it", bit, i)
			}
			data[i] ^= 1 << bit
		}
	}
}

func TestTooLarge(t *testing.T) {
	record := func(measures int, policy string) *ingest.Record {
		return &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: accepted,
			Entries: []ingest.Entry{{Metric: id(1), Policy: policy, Measures: make([]ingest.Measure, measures)}}}
	}
	// Equal timestamps take one byte each, values eight; the first is further away.
	head := len(encode(t, record(0, "p"))) + 2 + 2 + 8
	fits := (ingest.MaxRecord - head) / minMeasureLen
	dst := []byte("before")
	got, err := AppendRecord(dst, record(fits, "p"))
	if err != nil || len(got) > len(dst)+ingest.MaxRecord {
		t.Errorf("%d measures: %d bytes, %v; want a record that just fits", fits, len(got), err)
	}
	for _, r := range []*ingest.Record{record(fits+2, "p"), record(1<<20, "p"),
		record(0, strings.Repeat("p", ingest.MaxRecord))} {
		got, err := AppendRecord(dst, r)
		if !errors.Is(err, ingest.ErrTooLarge) || !ingest.IsPermanent(err) || string(got) != "before" {
			t.Errorf("got %d bytes and %v, want ErrTooLarge and what was there", len(got), err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, r := range []ingest.Record{
		{Kind: 99},
		{Kind: ingest.RecordNudge, AcceptedAt: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Kind: ingest.RecordNudge, AcceptedAt: time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if got, err := AppendRecord([]byte("before"), &r); err == nil || string(got) != "before" {
			t.Errorf("kind %d at %s: got %q, %v; want an error", r.Kind, r.AcceptedAt, got, err)
		}
	}
}

// randomRecord makes a record that leaves no corner out.
func randomRecord(rng *rand.Rand) *ingest.Record {
	r := &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: time.Unix(0, rng.Int64()).UTC(),
		Project:  strings.Repeat("x", rng.IntN(3)),
		Producer: rng.Uint64() >> rng.IntN(65), Sequence: rng.Uint64() >> rng.IntN(65)}
	if rng.IntN(4) == 0 {
		r.Trace = strings.Repeat("t", rng.IntN(300))
	}
	policies := 1 + rng.IntN(40)
	for range rng.IntN(60) {
		e := ingest.Entry{Metric: ingest.NewMetricID(), Policy: fmt.Sprint("policy", rng.IntN(policies))}
		now, step := rng.Int64(), rng.Int64N(1e10)
		for range rng.IntN(30) {
			m := ingest.Measure{Time: now, Value: rng.NormFloat64()}
			switch rng.IntN(10) {
			case 0:
				m.Time = int64(rng.Uint64())
			case 1:
				m.Value = math.Float64frombits(rng.Uint64())
			}
			now += step
			e.Measures = append(e.Measures, m)
		}
		r.Entries = append(r.Entries, e)
	}
	return r
}

// TestRoundTrip: many records through one decoder into one buffer, none longer
// than Record.Size says, and each as it was.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var (
		d       Decoder
		into    ingest.Deliveries
		records []*ingest.Record
		sums    []uint32
	)
	for n := range 300 {
		r := randomRecord(rng)
		data := encode(t, r)
		if len(data) > r.Size() {
			t.Fatalf("record %d takes %d bytes, more than its Size of %d", n, len(data), r.Size())
		}
		records, sums = append(records, r), append(sums, sumOf(data))
		if err := d.Decode(&into, ingest.Offset(n), data); err != nil {
			t.Fatal(err)
		}
		clear(data) // the decoder keeps nothing of it
	}
	for n, r := range records {
		if diff := cmp.Diff(ingest.Delivery{Offset: ingest.Offset(n), Record: *r, Checksum: sums[n]}, into.List[n],
			bits); diff != "" {
			t.Fatalf("record %d differs (-want +got):\n%s", n, diff)
		}
	}
}

// TestAppendOnly: what is in dst stays.
func TestAppendOnly(t *testing.T) {
	r := golden["measures"]
	got, err := AppendRecord([]byte("before"), &r)
	if err != nil || string(got[:6]) != "before" || string(got[6:]) != string(encode(t, &r)) {
		t.Errorf("AppendRecord spoils what is there (%v)", err)
	}
}

// TestBadBetweenGood: a bad record takes nothing from its neighbours.
func TestBadBetweenGood(t *testing.T) {
	r := golden["measures"]
	data := encode(t, &r)
	cut := reseal(append([]byte(nil), data[:len(data)-4]...))
	var (
		d    Decoder
		into ingest.Deliveries
	)
	for _, b := range [][]byte{data, cut, data} {
		d.Decode(&into, 1, b)
	}
	good := ingest.Delivery{Offset: 1, Record: r, Checksum: sumOf(data)}
	want := []ingest.Delivery{good, {Offset: 1, Err: into.List[1].Err, Raw: cut,
		Checksum: crc32.Checksum(cut, castagnoli)}, good}
	if diff := cmp.Diff(want, into.List, bits, cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
		t.Errorf("deliveries differ (-want +got):\n%s", diff)
	}
	if !errors.Is(into.List[1].Err, ErrMalformed) {
		t.Errorf("error is %v, want ErrMalformed", into.List[1].Err)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	data := encode(t, manyEntries())
	var (
		d    Decoder
		into ingest.Deliveries
	)
	buf := make([]byte, 0, manyEntries().Size())
	r := manyEntries()
	if n := testing.AllocsPerRun(20, func() {
		into.Reset()
		if err := d.Decode(&into, 1, data); err != nil {
			t.Fatal(err)
		}
		if _, err := AppendRecord(buf, r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

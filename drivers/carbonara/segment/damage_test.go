package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

// smallSegments makes one small segment of each kind.
func smallSegments(t testing.TB) map[Kind]Writer {
	rng := rand.New(rand.NewPCG(9, 9))
	raw := NewRawWriter()
	for _, run := range someRuns(rng, 20, 3) {
		raw.Add(run)
	}
	raw.Late([]LateTotal{{metricID(1), 5}})
	state := NewStateWriter()
	for i, id := range metricIDs(10) {
		state.Add(StateRow{id, []string{"low", "high"}[i%2], int64(i) * 1e9, uint64(i), ingest.MinTime})
	}
	methods := defaultMethods()
	sealed := NewSealedWriter(methods)
	runs := someSealed(rng, 3, 8, methods)
	divideMeans(runs, methods)
	for _, run := range runs {
		sealed.Add(run)
	}
	return map[Kind]Writer{Raw: raw, State: state, Sealed: sealed}
}

// contentOf opens and reads all of a segment, as text.
func contentOf(ctx context.Context, data []byte) (content string, err error) {
	f, err := Open(ctx, &object{data: data}, "a.parquet", int64(len(data)))
	if err != nil {
		return "", err
	}
	return textOf(ctx, f)
}

func textOf(ctx context.Context, f *Reader) (string, error) {
	var b strings.Builder
	lates, err := f.Lates()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&b, f.kind, f.Methods(), lates)
	switch f.kind {
	case Raw:
		scan := f.ScanRaw(ctx)
		for scan.Next() {
			fmt.Fprintln(&b, scan.Run())
		}
		return b.String(), scan.Err()
	case State:
		scan := f.ScanState(ctx)
		for scan.Next() {
			fmt.Fprintln(&b, scan.Row())
		}
		return b.String(), scan.Err()
	default:
		scan := f.ScanSealed(ctx)
		for scan.Next() {
			fmt.Fprintln(&b, scan.Run())
		}
		return b.String(), scan.Err()
	}
}

// Every bit of the file matters to somebody, or to nobody: damage is an error that
// names the segment, or it changes nothing.
func TestDamage(t *testing.T) {
	for k, e := range smallSegments(t) {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			file, description, err := e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			want, err := contentOf(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			check := func(what string, data []byte) (damaged bool) {
				got, err := contentOf(t.Context(), data)
				if err != nil && !strings.Contains(err.Error(), "a.parquet") {
					t.Errorf("%s: the error doesn't name the segment: %v", what, err)
				}
				if err == nil && got != want {
					t.Errorf("%s: wrong rows", what)
				}
				return err != nil
			}
			noticed := 0
			for i := range file {
				for _, flip := range []byte{1 << (i % 8), 0xff} {
					data := slices.Clone(file)
					data[i] ^= flip
					if check(fmt.Sprintf("byte %d ^ %#x", i, flip), data) {
						noticed++
					} else if i >= len(parquetMagic) {
						t.Logf("byte %d ^ %#x: nobody minds", i, flip)
					}
				}
			}
			if noticed < 2*(len(file)-len(parquetMagic))-4 {
				t.Errorf("%d of %d flips noticed", noticed, 2*len(file))
			}
			for n := range file {
				if !check(fmt.Sprintf("cut at %d", n), slices.Clone(file[:n])) {
					t.Errorf("cut at %d: not noticed", n)
				}
				data := slices.Clone(file) // a page of zeros, as file systems leave it
				clear(data[n:min(len(data), n+64)])
				check(fmt.Sprintf("zeros at %d", n), data)
			}
			data := slices.Clone(file)
			data[0] ^= 1 // which only verify looks at
			f, err := Open(t.Context(), &object{data: data}, "a.parquet", int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Verify(t.Context(), description); err == nil || !strings.Contains(err.Error(), "a.parquet") {
				t.Errorf("verify says %v", err)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	e := NewRawWriter()
	build := func(runs ...RawRun) ([]byte, Info) {
		for _, run := range runs {
			e.Add(run)
		}
		file, d, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(file), d
	}
	a, b := metricID(1), metricID(2)
	if CompareMetrics(a, b) > 0 {
		a, b = b, a
	}
	at := func(times ...int64) (list []ingest.Measure) {
		for _, t := range times {
			list = append(list, ingest.Measure{Time: t})
		}
		return list
	}
	verify := func(file []byte, d Info) error {
		f, err := Open(t.Context(), &object{data: file}, "a.parquet", int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		return f.Verify(t.Context(), d)
	}
	good, d := build(RawRun{a, "low", at(1, 2)}, RawRun{b, "low", at(1)})
	f := func(want string, file []byte, change func(*Info)) {
		t.Helper()
		changed := d
		change(&changed)
		err := verify(file, changed)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("", good, func(*Info) {})
	f("3 rows", good, func(d *Info) { d.Rows = 4 })
	f("bytes", good, func(d *Info) { d.Bytes++ })
	f("raw", good, func(d *Info) { d.Kind = State })
	f("rows are", good, func(d *Info) { d.MinTime = 0 })
	f("rows are", good, func(d *Info) { d.MaxTime = 3 })
	f("rows are", good, func(d *Info) { d.MinMetric = b })
	f("rows are", good, func(d *Info) { d.MaxMetric = a })
	f("rows are", good, func(d *Info) { d.Coarsest = time.Second })

	unordered := func(runs ...RawRun) {
		t.Helper()
		file, d := build(runs...)
		if err := verify(file, d); err == nil || !strings.Contains(err.Error(), "not after the row before it") {
			t.Errorf("got %v", err)
		}
	}
	unordered(RawRun{b, "low", at(1)}, RawRun{a, "low", at(1)})
	unordered(RawRun{a, "low", at(1, 1)})
	unordered(RawRun{a, "low", at(2, 1)})
}

// Files of format 1 had ids as UUIDs and timestamps in nanoseconds.
func TestOtherFormat(t *testing.T) {
	file, _, err := smallSegments(t)[Raw].Finish()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1", "3"} {
		other := bytes.Replace(file, []byte(keyFormat+"\x18\x01"+formatVersion), []byte(keyFormat+"\x18\x01"+version), 1)
		want := fmt.Sprintf("cannot read segment a.parquet: it is of format %q, this program knows %q",
			version, formatVersion)
		if _, err := contentOf(t.Context(), resummed(other)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestStoreErrors(t *testing.T) {
	e := NewRawWriter()
	for _, run := range someRuns(rand.New(rand.NewPCG(1, 1)), 5000, 20) { // more than is kept whole
		e.Add(run)
	}
	f, d := finished(t, e)
	store := f.source.(*object)
	if f.whole != nil {
		t.Fatalf("%d bytes are kept", f.size)
	}

	_, err := Open(t.Context(), store, "a.parquet", f.size-1)
	if err == nil || !strings.Contains(err.Error(), "a.parquet") {
		t.Errorf("another size: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	store.fail = errNotFound
	if _, err := Open(t.Context(), store, "a.parquet", f.size); !errors.Is(err, errNotFound) {
		t.Errorf("open: %v", err)
	}
	if _, err := textOf(t.Context(), f); !errors.Is(err, errNotFound) {
		t.Errorf("scan: %v", err)
	}
	if err := f.Verify(t.Context(), d); !errors.Is(err, errNotFound) {
		t.Errorf("verify: %v", err)
	}
	find := func(ctx context.Context, fail error) error {
		return f.FindRaw(ctx, []ingest.MetricID{d.MinMetric}, ingest.MinTime, ingest.MaxTime,
			func(int, []ingest.Measure, string) error { return fail })
	}
	if err := find(t.Context(), nil); !errors.Is(err, errNotFound) {
		t.Errorf("find: %v", err)
	}
	store.fail = nil
	if err := find(canceled, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("find: %v", err)
	}
	mine := errors.New("mine")
	if err := find(t.Context(), mine); err != mine {
		t.Errorf("find: %v", err)
	}
}

// resummed gives data a tail checksum that is right; nil if there is no place for it.
func resummed(data []byte) []byte {
	end := len(data) - footerEnd
	if end < 0 || string(data[end+4:]) != parquetMagic || int64(binary.LittleEndian.Uint32(data[end:])) > int64(end) {
		return nil
	}
	footer := data[end-int(binary.LittleEndian.Uint32(data[end:])) : end]
	sum, err := parseTailSum(footer)
	if err != nil || sum.index > int64(end-len(footer)) {
		return nil
	}
	data = slices.Clone(data)
	tail := data[end-len(footer)-int(sum.index):]
	digits := tail[int(sum.index)+sum.at:][:8]
	copy(digits, "00000000")
	copy(digits, fmt.Sprintf("%08x", crc32.ChecksumIEEE(tail[:len(tail)-footerEnd])))
	return data
}

func FuzzSegment(f *testing.F) {
	for _, e := range smallSegments(f) {
		file, _, err := e.Finish()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Open(t.Context(), &object{data: data}, "a.parquet", int64(len(data)))
		if err != nil {
			return
		}
		if _, err = textOf(t.Context(), file); err == nil {
			// Nothing that scans may break a lookup.
			lookUpEverything(t, file)
		}
	})
}

func lookUpEverything(t *testing.T, f *Reader) {
	metrics := []ingest.MetricID{{}, metricID(1)}
	for _, g := range f.groups {
		metrics = append(metrics, g.metrics[0][0], g.metrics[0][1])
	}
	slices.SortFunc(metrics, CompareMetrics)
	metrics = slices.Compact(metrics)
	var err error
	switch f.kind {
	case Raw:
		err = f.FindRaw(t.Context(), metrics, ingest.MinTime, ingest.MaxTime,
			func(int, []ingest.Measure, string) error { return nil })
	case State:
		err = f.FindState(t.Context(), metrics, func(int, StateRow) error { return nil })
	case Sealed:
		var wants []Want
		for _, id := range metrics {
			for _, m := range f.Methods() {
				wants = append(wants, everything(SealedRun{Metric: id, Granularity: time.Minute}, m))
			}
		}
		err = f.FindSealed(t.Context(), wants, func(int, []ingest.Measure) error { return nil })
	}
	if err != nil {
		t.Errorf("what scans cannot be looked up: %v", err)
	}
}

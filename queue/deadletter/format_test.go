package deadletter

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var goldenLetters = []ingest.DeadLetter{
	{
		ID: "0001-0000000000000010-0000", Sack: 1, Offset: 16,
		AcceptedAt: time.Unix(1_700_000_000, 1).UTC(), RejectedAt: time.Unix(1_700_000_060, 2).UTC(),
		Project: "a project", Metric: ingest.MetricID{0xde, 0xad, 15: 0x0f}, Policy: "low", Reason: "archive policy low is gone",
		Measures: []ingest.Measure{
			{Time: 1_700_000_000_000_000_000, Value: 1.5}, {Time: -1, Value: math.Copysign(0, -1)},
			{Time: math.MinInt64, Value: math.Float64frombits(0x7ff8_0000_0000_beef)}, {Time: math.MaxInt64, Value: math.Inf(-1)},
		},
	},
	{
		ID: "0002-7fffffffffffffff-0000", Sack: 2, Offset: math.MaxInt64,
		RejectedAt: time.Date(1, 2, 3, 4, 5, 6, 7, time.UTC), Reason: "record can't be decoded: damaged record", Raw: []byte{1, 0xff, 0},
	},
	{ID: "\xffany text", Sack: -1, Offset: -1},
}

// goldenSegment is a segment that is the second of two and holds a group of the
// letters and one of a removal.
func goldenSegment(t testing.TB) []byte {
	t.Helper()
	header := fileHeader{number: 2, first: 1, before: fileHeaderLen, whole: fileHeaderLen, salt: 0x0123_4567_89ab_cdef}
	data := header.append(nil)
	g := group{at: fileHeaderLen, from: fileHeaderLen, seed: header.seed()}
	for i := range goldenLetters {
		if _, err := g.letter(&goldenLetters[i]); err != nil {
			t.Fatal(err)
		}
	}
	data = append(data, g.buf...)
	g = group{at: int64(len(data)), from: int64(len(data)), seed: header.seed()}
	start := g.begin()
	g.buf = appendIDs(g.buf, []string{goldenLetters[0].ID, goldenLetters[2].ID})
	if _, _, err := g.end(start, kindRemoved); err != nil {
		t.Fatal(err)
	}
	return append(data, g.buf...)
}

// TestGolden holds the format still: what was written must stay readable.
func TestGolden(t *testing.T) {
	file := filepath.Join("testdata", "segment.hex")
	got := goldenSegment(t)
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
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
	first := fileHeader{number: 1, first: 1, whole: fileHeaderLen}
	l := mustOpen(t, image{firstFile: first.append(nil), secondFile: got}.with(t, "", nil), "dead", Config{})
	letters, err := l.List(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenLetters[1:2], letters, bits); diff != "" {
		t.Errorf("letters differ (-want +got):\n%s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range goldenLetters {
		got, err := parseLetter(appendLetter(nil, &want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, bits); diff != "" {
			t.Errorf("letter differs (-want +got):\n%s", diff)
		}
		if got.AcceptedAt.IsZero() != want.AcceptedAt.IsZero() {
			t.Error("the zero time is another")
		}
	}
}

func TestMalformed(t *testing.T) {
	for i := range goldenLetters {
		payload := appendLetter(nil, &goldenLetters[i])
		for cut := range payload {
			if _, err := parseLetter(payload[:cut]); !errors.Is(err, errMalformed) {
				t.Errorf("the first %d bytes of letter %d: %v, want errMalformed", cut, i, err)
			}
		}
		if _, err := parseLetter(append(payload, 0)); !errors.Is(err, errMalformed) {
			t.Errorf("letter %d with a byte more: %v, want errMalformed", i, err)
		}
	}
	for _, payload := range [][]byte{{}, {2, 1, 'a'}, {1, 1, 'a', 0}, {0xff, 0xff, 0xff, 0xff, 0x0f, 0}} {
		if ids, err := parseIDs(payload); !errors.Is(err, errMalformed) {
			t.Errorf("ids in %x: %q, %v, want errMalformed", payload, ids, err)
		}
	}
}

// FuzzPayload: no payload makes the decoders panic or take much memory, and what
// they understand they can say again.
func FuzzPayload(f *testing.F) {
	for i := range goldenLetters {
		f.Add(appendLetter(nil, &goldenLetters[i]))
	}
	f.Add(appendIDs(nil, []string{"a", "", "\xff"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := parseLetter(data); err == nil {
			again, err := parseLetter(appendLetter(nil, &l))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(l, again, bits); diff != "" {
				t.Fatalf("letter differs the second time (-first +second):\n%s", diff)
			}
			if len(l.Measures) > len(data)/measureLen {
				t.Fatalf("%d measures out of %d bytes", len(l.Measures), len(data))
			}
		}
		if ids, err := parseIDs(data); err == nil {
			again, err := parseIDs(appendIDs(nil, ids))
			if diff := cmp.Diff(ids, again); err != nil || diff != "" {
				t.Fatalf("ids differ the second time: %v (-first +second):\n%s", err, diff)
			}
		}
	})
}

// FuzzSegment opens a folder whose only file is any bytes behind a sound header, and
// ends in any payload: it opens, or says what is damaged.
func FuzzSegment(f *testing.F) {
	golden := goldenSegment(f)
	f.Add(golden[fileHeaderLen:], []byte(nil), byte(0))
	f.Add(golden[fileHeaderLen:200], []byte("\x01\x01a"), byte(kindRemoved))
	f.Add([]byte{}, appendLetter(nil, &goldenLetters[0]), byte(kindLetter))
	f.Fuzz(func(t *testing.T, data, payload []byte, kind byte) {
		header := fileHeader{number: 1, first: 1, whole: fileHeaderLen, salt: 0x0123_4567_89ab_cdef}
		file := append(header.append(nil), data...)
		if len(payload) > 0 && len(payload) < 1<<16 {
			file = file[:len(file)/alignment*alignment]
			g := group{at: int64(len(file)), from: int64(len(file)), seed: header.seed()}
			start := g.begin()
			g.buf = append(g.buf, payload...)
			if _, _, err := g.end(start, uint32(kind)); err != nil {
				t.Fatal(err)
			}
			file = append(file, g.buf...)
		}
		fsys := image{firstFile: file}.with(t, "", nil)
		l, err := Open(fsys, "dead", Config{})
		if err != nil {
			if _, ok := errors.AsType[*DamageError](err); !ok {
				t.Fatalf("Open returned %v, want a DamageError", err)
			}
			l, err = Open(fsys, "dead", Config{SkipMissing: true})
			if err != nil || len(l.Skipped()) == 0 {
				t.Fatalf("with SkipMissing Open returned %v, and nothing is skipped", err)
			}
		}
		defer l.Close()
		there := everything(t, l)
		mustAdd(t, l, 1)
		l.Close()
		l = mustOpen(t, fsys, "dead", Config{})
		there[idOf(1)] = numbered(1)
		if diff := cmp.Diff(there, everything(t, l), bits); diff != "" {
			t.Fatalf("letters differ after another start:\n%s", diff)
		}
	})
}

// FuzzFileHeader: no header is taken for another than the one that writes its bytes.
func FuzzFileHeader(f *testing.F) {
	f.Add(goldenSegment(f)[:fileHeaderLen])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= fileHeaderLen { // let the fuzzer past the checksum
			binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
		}
		h, wrong := parseFileHeader(b)
		if wrong != "" {
			return
		}
		binary.LittleEndian.PutUint32(b[12:], 0) // for later versions
		binary.LittleEndian.PutUint32(b[56:], 0)
		binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
		if got := h.append(nil); !bytes.Equal(got, b[:fileHeaderLen]) {
			t.Errorf("header %x says %+v, which is written %x", b[:fileHeaderLen], h, got)
		}
	})
}

package disklog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/disk/diskfault"
	"millrace/ingest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenBase = 0x18eb_1833_44f1_e5e0

// goldenSegment is a segment of two groups: one of two records, one of one.
func goldenSegment(t testing.TB) []byte {
	t.Helper()
	header := fileHeader{sacks: 4, base: goldenBase, salt: 0x0123_4567_89ab_cdef}
	data := header.append(nil)
	l := &Log{sacks: 4}
	for n, size := range []int{2, 1} {
		var out []ingest.Outgoing
		for i := range size {
			out = append(out, ingest.Outgoing{Sack: ingest.Sack(n + i), Record: &ingest.Record{
				Kind: ingest.RecordDelete, AcceptedAt: time.Unix(1_700_000_000, 0), Metric: ingest.MetricID{byte(n), byte(i)}}})
		}
		r := &appendRequest{}
		if err := l.encode(r, out); err != nil {
			t.Fatal(err)
		}
		at := int64(len(data))
		data = append(data, r.buf...)
		r.putFrames(data[at:], header.seed(), header.base+at, header.base+at)
	}
	return data
}

var goldenManifest = manifest{
	Format: 1, Sacks: 4, Origin: goldenBase - 1000, Forgotten: []ingest.Offset{0, 5, 0, 7},
	Segments: []listedSegment{{File: segmentName(goldenBase), Bytes: 232}, {File: segmentName(goldenBase + 1<<40)}},
}

// TestGolden holds the format still: old logs must stay readable.
func TestGolden(t *testing.T) {
	f := func(file, got string) {
		t.Helper()
		file = filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", file, diff)
		}
	}
	f("segment.hex", hex.Dump(goldenSegment(t)))
	f("log.json", string(goldenManifest.append(nil)))
	back, err := parseManifest(goldenManifest.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&goldenManifest, back); diff != "" {
		t.Errorf("manifest differs (-want +got):\n%s", diff)
	}
}

// FuzzSegment opens a log whose segment, still being written, is any bytes: the
// log opens with some of the records, or says what is damaged.
func FuzzSegment(f *testing.F) {
	golden := goldenSegment(f)
	f.Add(golden)
	f.Add(golden[:100])
	f.Add(golden[:fileHeaderLen])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= fileHeaderLen { // let the fuzzer past the first checksum
			binary.LittleEndian.PutUint64(data[16:], goldenBase)
			binary.LittleEndian.PutUint32(data[36:], crc32.Checksum(data[:36], castagnoli))
		}
		m := manifest{Format: 1, Sacks: 4, Origin: 1, Forgotten: make([]ingest.Offset, 4),
			Segments: []listedSegment{{File: segmentName(goldenBase)}}}
		fs := image{manifestName: m.append(nil), segmentName(goldenBase): data}.with(t, "", nil)
		l, err := tryOpen(t, fs, "log", 4, Config{})
		report, verifyErr := Verify(t.Context(), fs, "log")
		if err != nil {
			if _, ok := errors.AsType[*DamageError](err); !ok && !errors.Is(err, ingest.ErrNewer) || verifyErr == nil {
				t.Errorf("Open returned %v, want a DamageError; Verify says %v", err, verifyErr)
			}
			return
		}
		defer l.Close()
		records := int64(0)
		for s := range ingest.Sack(4) {
			b, _ := l.Backlog(t.Context(), s, 0)
			n := b.Records
			records += n
		}
		if verifyErr != nil || report.Records != records {
			t.Errorf("%d records are open, and Verify says %+v, %v", records, report, verifyErr)
		}
	})
}

// FuzzManifest: what parses is written again as it was meant.
func FuzzManifest(f *testing.F) {
	line, _, _ := bytes.Cut(goldenManifest.append(nil), []byte("\n"))
	f.Add(line)
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		data := append(line[:len(line):len(line)], '\n')
		data = fmt.Appendf(data, "crc32c %08x\n", crc32.Checksum(data, castagnoli))
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		again, err := parseManifest(m.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Errorf("manifest differs the second time (-first +second):\n%s", diff)
		}
	})
}

func TestVerifyNothing(t *testing.T) {
	if _, err := Verify(t.Context(), diskfault.New(), "log"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Verify of no log returned %v, want fs.ErrNotExist", err)
	}
}

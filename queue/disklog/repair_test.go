package disklog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/ingest"
)

// repaired has a log repaired, checks that it is sound then, and returns what is in it.
func repaired(t *testing.T, fs *diskfault.FS, c RepairConfig) (RepairReport, []ackedRecord) {
	t.Helper()
	c.Sacks, c.Quarantine = 2, "aside"
	r, err := Repair(t.Context(), fs, "log", c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), fs, "log"); err != nil {
		t.Errorf("after the repair Verify says %v", err)
	}
	again, err := Repair(t.Context(), fs, "log", c)
	if err != nil || again.Changed() || again.Kept != r.Kept {
		t.Errorf("a second repair found %+v, %v", again, err)
	}
	l := openLog(t, fs, "log", 2, Config{Deployment: c.Deployment})
	defer l.Close()
	got := drain(t, l, 0, 0)
	if int64(len(got)) != r.Kept {
		t.Errorf("%d records are kept, and there are %d", r.Kept, len(got))
	}
	return r, got
}

// without is the records but those from a to b.
func without(records []ackedRecord, a, b int) []ackedRecord {
	return slices.Concat(records[:a], records[b:])
}

func openAll(t *testing.T, fs disk.FS, names []string) {
	t.Helper()
	for _, name := range names {
		if _, err := fs.Open(name); err != nil {
			t.Errorf("not in the quarantine: %v", err)
		}
	}
}

// TestRepairCut cuts the end of a log that was closed at every byte: what is lost is the
// records cut, and their number is said exactly.
func TestRepairCut(t *testing.T) {
	files, acked, _ := groups(t, true, Config{}, 3, 2, 4)
	name := files.segments()[0]
	for cut := fileHeaderLen; cut < len(files[name]); cut++ {
		fs := files.with(t, name, files[name][:cut])
		r, got := repaired(t, fs, RepairConfig{})
		whole := 0
		for whole < len(acked) && recordEnd(t, files[name], acked[whole].offset) <= cut {
			whole++
		}
		if !slices.Equal(got, acked[:whole]) || r.Lost[0] != int64(len(acked)-whole) || r.Lost[1] != 0 || r.LostBytes != 0 {
			t.Fatalf("cut at byte %d: there is %d of %d, and it said %+v", cut, len(got), whole, r)
		}
		openAll(t, fs, r.Aside)
		if len(r.Aside) != 1 {
			t.Errorf("aside are %q", r.Aside)
		}
	}
}

// recordEnd is the byte of a segment file behind the record at an offset.
func recordEnd(t *testing.T, data []byte, offset ingest.Offset) int {
	t.Helper()
	header, wrong := parseFileHeader(data)
	if wrong != "" {
		t.Fatal(wrong)
	}
	at := int64(offset) - header.base
	h, ok := parseFrameHeader(data[at:], header, header.seed(), int64(offset))
	if !ok {
		t.Fatal("there is no frame")
	}
	return int(at) + h.size()
}

// TestRepairFlips flips a bit of every byte: at most the record that the byte is part of is
// lost, and it is counted, in a log that was closed and in one that was not.
func TestRepairFlips(t *testing.T) {
	for _, clean := range []bool{true, false} {
		files, acked, starts := groups(t, clean, Config{}, 3, 2, 1)
		name := files.segments()[0]
		end := len(files[name])
		if !clean {
			end = starts[2] // the last group's damage is taken for a crash's
		}
		for at := range end {
			if at >= 24 && at < 32 {
				continue // the salt, without which no frame is known
			}
			data := slices.Clone(files[name])
			data[at] ^= 1 << (at % 8)
			fs := files.with(t, name, data)
			r, got := repaired(t, fs, RepairConfig{})
			hit := slices.IndexFunc(acked, func(a ackedRecord) bool { return recordEnd(t, files[name], a.offset) > at })
			want := acked
			if at >= fileHeaderLen {
				want = without(acked, hit, hit+1)
			}
			if !slices.Equal(got, want) || !r.Changed() {
				t.Fatalf("clean end %t, byte %d: there is %+v, want %+v; it said %+v", clean, at, got, want, r)
			}
			if at >= fileHeaderLen && clean && r.Lost[0] != 1 {
				t.Errorf("byte %d: it said %+v", at, r)
			}
			if !clean && at >= fileHeaderLen && r.Lost[0] == 0 && r.LostBytes == 0 {
				t.Errorf("byte %d: nothing was said to be lost: %+v", at, r)
			}
			openAll(t, fs, r.Aside)
		}
	}
}

// TestRepairLostFiles: a segment that is missing is counted, a manifest is made anew for
// the log that it was, and what it does not list comes back.
func TestRepairLostFiles(t *testing.T) {
	files, acked, _ := groups(t, true, Config{SegmentBytes: 220}, 2, 2, 2)
	names := files.segments()
	for i, name := range names {
		fs := files.with(t, name, nil)
		r, got := repaired(t, fs, RepairConfig{})
		if want := without(acked, 2*i, 2*i+2); !slices.Equal(got, want) || r.Lost[0] != 2 {
			t.Errorf("segment %d is missing: there is %+v, want %+v; it said %+v", i, got, want, r)
		}
	}
	m, err := parseManifest(files[manifestName])
	if err != nil {
		t.Fatal(err)
	}
	id := ingest.LogID{ID: idPrefix + m.ID, Base: ingest.Offset(m.Origin)}
	for _, data := range [][]byte{nil, []byte("{}\n")} {
		fs := files.with(t, manifestName, data)
		r, got := repaired(t, fs, RepairConfig{Log: id, Deployment: "d"})
		l := openLog(t, fs, "log", 2, Config{Deployment: "d", MustExist: true})
		if !slices.Equal(got, acked) || l.Log() != id || (data != nil) != (len(r.Aside) == 1) {
			t.Errorf("no manifest: there is %+v of %+v; it said %+v", got, l.Log(), r)
		}
		l.Close()
	}
	old, first, _ := groups(t, true, Config{SegmentBytes: 220}, 1)
	fs := old.with(t, "", nil)
	l := openLog(t, fs, "log", 2, Config{})
	more, err := appendTo(l, 0, 7, 2)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	fs = imageOf(t, fs).with(t, manifestName, old[manifestName])
	if _, got := repaired(t, fs, RepairConfig{}); !slices.Equal(got, append(first, more...)) {
		t.Errorf("manifest of yesterday: there is %+v", got)
	}
}

// TestRepairNothing: no log becomes a new one, one that is sound is left alone, byte for byte, and
// what is not to be repaired is refused.
func TestRepairNothing(t *testing.T) {
	files, acked, _ := groups(t, false, Config{}, 2, 1) // not closed
	disk := files.with(t, "", nil)
	r, err := Repair(t.Context(), disk, "log", RepairConfig{Sacks: 2, Quarantine: "aside"})
	if err != nil || r.Changed() || r.Kept != int64(len(acked)) {
		t.Errorf("of a sound log it said %+v, %v", r, err)
	}
	for name, data := range imageOf(t, disk) {
		if !slices.Equal(data, files[name]) {
			t.Errorf("%s has changed", name)
		}
	}
	empty := diskfault.New()
	if r, got := repaired(t, empty, RepairConfig{Deployment: "d"}); len(got) > 0 || !r.Changed() {
		t.Errorf("of no log it said %+v", r)
	}
	if _, err := Repair(t.Context(), empty, "log", RepairConfig{Sacks: 2, Deployment: "other"}); !errors.Is(err,
		ingest.ErrForeign) {
		t.Errorf("a log of another deployment: %v", err)
	}
	if _, err := Repair(t.Context(), empty, "log", RepairConfig{Sacks: 3, Deployment: "d"}); err == nil ||
		!strings.Contains(err.Error(), "2 sacks") {
		t.Errorf("another number of sacks: %v", err)
	}
	m := goldenManifest
	m.Format = formatVersion + 1
	newer := files.with(t, manifestName, m.append(nil))
	if _, err := Repair(t.Context(), newer, "log", RepairConfig{Sacks: 4, Quarantine: "aside"}); !errors.Is(err,
		ingest.ErrNewer) {
		t.Errorf("a manifest of a newer version: %v", err)
	}
	data := slices.Clone(files[files.segments()[0]])
	binary.LittleEndian.PutUint32(data[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(data[36:], crc32.Checksum(data[:36], castagnoli))
	newer = files.with(t, files.segments()[0], data)
	if _, err := Repair(t.Context(), newer, "log", RepairConfig{Sacks: 2, Quarantine: "aside"}); !errors.Is(err,
		ingest.ErrNewer) {
		t.Errorf("a segment of a newer version: %v", err)
	}
}

// TestRepairCrashes: wherever a repair is interrupted, the next one ends it, and nothing
// more is lost.
func TestRepairCrashes(t *testing.T) {
	files, acked, _ := groups(t, true, Config{}, 3, 2, 1)
	name := files.segments()[0]
	data := slices.Clone(files[name])
	data[3] ^= 1                                                        // the header
	data[recordEnd(t, files[name], acked[1].offset)-1] ^= 1             // the second record
	data = data[:recordEnd(t, files[name], acked[len(acked)-2].offset)] // and the last
	for n := 1; ; n++ {
		fs := files.with(t, name, data)
		for _, dir := range []string{".", "log"} {
			if err := fs.SyncDir(dir); err != nil {
				t.Fatal(err)
			}
		}
		fs.CrashAt(fs.Ops() + n)
		_, err := Repair(t.Context(), fs, "log", RepairConfig{Sacks: 2, Quarantine: "aside"})
		for _, mode := range diskfault.Modes(3) {
			disk := fs.Crash(mode)
			r, err := Repair(t.Context(), disk, "log", RepairConfig{Sacks: 2, Quarantine: "aside"})
			if err != nil {
				t.Fatal(err)
			}
			l := openLog(t, disk, "log", 2, Config{})
			if got := drain(t, l, 0, 0); !slices.Equal(got, without(acked[:len(acked)-1], 1, 2)) {
				t.Fatalf("crash %d, %v: there is %+v; it said %+v", n, mode, got, r)
			}
			l.Close()
		}
		if err == nil {
			return
		}
	}
}

// TestOpenChecksDeployment: a log of another deployment is refused, and so is to make one
// where one has been.
func TestOpenChecksDeployment(t *testing.T) {
	disk := diskfault.New()
	_, err := tryOpen(t, disk, "log", 2, Config{Deployment: "d", MustExist: true})
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.File != manifestName {
		t.Errorf("a log that is gone: %v", err)
	}
	if _, err := disk.Open(filepath.Join("log", manifestName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it has been made: %v", err)
	}
	openLog(t, disk, "log", 2, Config{Deployment: "d"}).Close()
	openLog(t, disk, "log", 2, Config{Deployment: "d", MustExist: true}).Close()
	openLog(t, disk, "log", 2, Config{}).Close()
	if _, err := tryOpen(t, disk, "log", 2, Config{Deployment: "e"}); !errors.Is(err, ingest.ErrForeign) ||
		!strings.Contains(err.Error(), "deployment d") {
		t.Errorf("another deployment's log: %v", err)
	}
}

// TestGoesOnBehindACutTail: a disk loses the end of the log, which a sack had applied. The
// sack waits for what comes next, before and after a restart, and gets it.
func TestGoesOnBehindACutTail(t *testing.T) {
	files, acked, _ := groups(t, false, Config{}, 2, 1, 1)
	name := files.segments()[0]
	for _, cut := range []int{7, 100, 200} {
		disk := files.with(t, name, files[name][:len(files[name])-cut])
		applied := acked[3].offset + 1
		for restart := range 3 {
			l := openLog(t, disk, "log", 2, Config{})
			if err := l.Check(t.Context(), 0, ingest.Watermark{Offset: applied, Log: l.Log(),
				Last: ingest.Fingerprint{Offset: acked[3].offset, Checksum: 7}}); err != nil {
				t.Fatalf("%d bytes were cut, restart %d: Check says %v", cut, restart, err)
			}
			got := make(chan ingest.Offset)
			go func() {
				var buf ingest.Deliveries
				if err := l.Fetch(t.Context(), 0, applied, &buf); err != nil {
					t.Errorf("Fetch: %v", err)
					close(got)
					return
				}
				got <- buf.List[0].Offset
			}()
			select {
			case at := <-got:
				t.Fatalf("there was a record at %d", at)
			case <-time.After(10 * time.Millisecond):
			}
			more, err := appendTo(l, 0, 50+restart, 1)
			if err != nil {
				t.Fatal(err)
			}
			if at := <-got; at != more[0].offset || at <= applied {
				t.Errorf("fetched %d, want %d, which is behind %d", at, more[0].offset, applied)
			}
			// Of another run of the log it still is not.
			l.mu.Lock()
			err = l.check(0, more[0].offset+1<<33)
			l.mu.Unlock()
			if !errors.Is(err, ingest.ErrGone) {
				t.Errorf("far behind the end: %v", err)
			}
			applied = more[0].offset + 1
			disk = disk.Restart()
			l.Close()
			disk = imageOf(t, disk).with(t, "", nil)
			if restart == 0 { // the log loses the new record as well
				m := imageOf(t, disk)
				newest := m.segments()[len(m.segments())-1]
				disk = m.with(t, newest, m[newest][:len(m[newest])-7])
			}
		}
	}
}

// TestSegmentsFollowTheLog: a small log has small segments, and one that does not get
// applied has larger and larger ones.
func TestSegmentsFollowTheLog(t *testing.T) {
	c, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for used, want := range map[int64]int64{0: 1 << 20, 3 << 20: 1 << 20, 40 << 20: 10 << 20, 1 << 40: 64 << 20} {
		if got := c.segmentBytes(used); got != want {
			t.Errorf("in a log of %d bytes a segment has %d, want %d", used, got, want)
		}
	}
	l := openLog(t, diskfault.New(), "log", 1, Config{})
	defer l.Close()
	big := strings.Repeat("x", 100_000)
	for n := range 400 {
		if err := l.Append(t.Context(), []ingest.Outgoing{{Record: &ingest.Record{Kind: ingest.RecordMeasures,
			AcceptedAt: time.Now(), Project: big,
			Entries: []ingest.Entry{{Metric: ingest.NewMetricID(),
				Measures: []ingest.Measure{{Time: int64(n)}}}}}}}); err != nil {
			t.Fatal(err)
		}
		if n%3 > 0 {
			continue
		}
		end, _ := l.End(t.Context())
		if n < 200 {
			l.Applied(0, end[0])
			if err := l.forget(); err != nil {
				t.Fatal(err)
			}
			if used := l.held(); used > 3<<20 {
				t.Fatalf("all is applied, and the log holds %d bytes", used)
			}
		}
	}
	if n := segmentCount(l); n > 15 {
		t.Errorf("%d segments for %d bytes", n, l.held())
	}
}

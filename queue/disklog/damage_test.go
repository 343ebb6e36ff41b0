package disklog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/ingest"
)

// An image is the log's folder as it lies on a disk.
type image map[string][]byte

func imageOf(t *testing.T, fs disk.FS) image {
	t.Helper()
	entries, err := fs.ReadDir("log")
	if err != nil {
		t.Fatal(err)
	}
	files := image{}
	for _, e := range entries {
		file, err := fs.Open(filepath.Join("log", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		size, _ := file.Size()
		data := make([]byte, size)
		if err := readAt(file, data, 0); err != nil && size > 0 {
			t.Fatal(err)
		}
		file.Close()
		files[e.Name()] = data
	}
	return files
}

// with returns a disk that holds the image, with one file replaced, or without it.
func (m image) with(t *testing.T, name string, data []byte) *diskfault.FS {
	t.Helper()
	fs := diskfault.New()
	if err := fs.MkdirAll("log", 0o700); err != nil {
		t.Fatal(err)
	}
	for n, d := range m {
		if n == name {
			if data == nil {
				continue
			}
			d = data
		}
		if err := writeFile(fs, filepath.Join("log", n), d); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// segments returns the names of the image's segments, oldest first.
func (m image) segments() []string {
	var names []string
	for name := range m {
		if strings.HasSuffix(name, segmentSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// groups writes a log with one group after the other, of so many records each, and
// returns its image after a clean end or a kill, the records, and the first byte
// of each group in the last segment.
func groups(t *testing.T, clean bool, config Config, sizes ...int) (image, []ackedRecord, []int) {
	t.Helper()
	fs := diskfault.New()
	l := openLog(t, fs, "log", 2, config)
	var acked []ackedRecord
	var starts []int
	for i, n := range sizes {
		more, err := appendTo(l, 0, 10*i, n)
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, int(int64(more[0].offset)-l.active.header.base))
		acked = append(acked, more...)
	}
	if clean {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return imageOf(t, fs), acked, starts
	}
	fs = fs.Restart()
	l.Close()
	return imageOf(t, fs), acked, starts
}

// TestTornEnd cuts the last group at every byte, with nothing, zeros or noise in
// the place of what is missing: everything before it is there.
func TestTornEnd(t *testing.T) {
	files, acked, starts := groups(t, false, Config{}, 2, 1, 3)
	name := files.segments()[0]
	whole := files[name]
	last := starts[2]
	rests := map[string]func(n int) []byte{
		"nothing": func(int) []byte { return nil },
		"zeros":   func(n int) []byte { return make([]byte, n) },
		"noise":   func(n int) []byte { return slices.Repeat([]byte{0xa7, 3, 0, 0x11}, n/4+1)[:n] },
	}
	for what, rest := range rests {
		t.Run(what, func(t *testing.T) {
			for cut := last; cut < len(whole); cut++ {
				data := append(slices.Clone(whole[:cut]), rest(len(whole)-cut)...)
				if slices.Equal(data, whole) { // padding is zeros
					continue
				}
				fs := files.with(t, name, data)
				l, err := tryOpen(t, fs, "log", 2, Config{})
				if err != nil {
					t.Fatalf("cut at byte %d: %v", cut, err)
				}
				got := drain(t, l, 0, 0)
				if len(got) < 3 || !slices.Equal(got, acked[:len(got)]) || len(got) == len(acked) {
					t.Errorf("cut at byte %d: there is %+v, want %+v and a part of the rest", cut, got, acked[:3])
				}
				more, err := appendTo(l, 0, 100, 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = openLog(t, fs, "log", 2, Config{})
				if again := drain(t, l, 0, 0); !slices.Equal(again, append(got, more...)) {
					t.Errorf("cut at byte %d: the second time there is %+v", cut, again)
				}
				l.Close()
			}
		})
	}
}

// TestTornWithin loses a part from the middle of the last group, as a disk does that
// reorders: what follows in the same group is no sign of damage.
func TestTornWithin(t *testing.T) {
	files, acked, starts := groups(t, false, Config{}, 2, 4)
	name := files.segments()[0]
	for at := starts[1]; at < len(files[name]); at += 8 {
		data := slices.Clone(files[name])
		clear(data[at : at+8])
		l, err := tryOpen(t, files.with(t, name, data), "log", 2, Config{})
		if err != nil {
			t.Fatalf("hole at byte %d: %v", at, err)
		}
		if got := drain(t, l, 0, 0); len(got) < 2 || !slices.Equal(got, acked[:len(got)]) {
			t.Errorf("hole at byte %d: there is %+v", at, got)
		}
		l.Close()
	}
}

// mustAlarm says that a log does not open, names the file, and is not changed.
func mustAlarm(t *testing.T, fs *diskfault.FS, file string) {
	t.Helper()
	before := fs.Ops()
	l, err := tryOpen(t, fs, "log", 2, Config{})
	damage, ok := errors.AsType[*DamageError](err)
	if !ok || damage.File != file {
		if l != nil {
			l.Close()
		}
		t.Fatalf("Open returned %v, want a DamageError about %s", err, file)
	}
	if ops := fs.Ops() - before; ops > 3 { // folder and lock
		t.Errorf("Open changed the damaged log in %d operations", ops)
	}
	if _, err := Verify(t.Context(), fs, "log"); !errors.As(err, &damage) {
		t.Errorf("Verify returned %v, want a DamageError", err)
	}
}

// TestDamage flips a bit of every byte that a later group, a later segment or a
// clean end vouches for: each is an alarm.
func TestDamage(t *testing.T) {
	flipAll := func(t *testing.T, files image, name string, from, to int) {
		for at := from; at < to; at++ {
			data := slices.Clone(files[name])
			data[at] ^= 1 << (at % 8)
			mustAlarm(t, files.with(t, name, data), name)
			if t.Failed() {
				t.Fatalf("a flipped bit at byte %d of %d goes unnoticed", at, len(data))
			}
		}
	}
	t.Run("last segment", func(t *testing.T) {
		files, _, starts := groups(t, false, Config{}, 1, 2, 1)
		name := files.segments()[0]
		flipAll(t, files, name, 0, starts[2])
	})
	t.Run("clean end", func(t *testing.T) {
		files, _, _ := groups(t, true, Config{}, 1, 2)
		name := files.segments()[0]
		flipAll(t, files, name, 0, len(files[name]))
	})
	t.Run("earlier segment", func(t *testing.T) {
		files, _, _ := groups(t, false, Config{SegmentBytes: 220}, 2, 2, 1)
		name := files.segments()[0]
		flipAll(t, files, name, 0, len(files[name]))
	})
	t.Run("manifest", func(t *testing.T) {
		files, _, _ := groups(t, false, Config{}, 1)
		flipAll(t, files, manifestName, 0, len(files[manifestName]))
	})
	t.Run("clean end cut off", func(t *testing.T) {
		files, _, starts := groups(t, true, Config{}, 1, 2)
		name := files.segments()[0]
		for _, cut := range []int{0, 1, starts[1], starts[1] + 1, len(files[name]) - 1} {
			mustAlarm(t, files.with(t, name, files[name][:cut]), name)
		}
	})
	t.Run("missing segment", func(t *testing.T) {
		files, _, _ := groups(t, false, Config{SegmentBytes: 220}, 2, 2, 1)
		if len(files.segments()) != 3 {
			t.Fatalf("there are %d segments", len(files.segments()))
		}
		for _, name := range files.segments() {
			mustAlarm(t, files.with(t, name, nil), name)
		}
	})
	t.Run("missing manifest", func(t *testing.T) {
		files, _, _ := groups(t, true, Config{}, 1)
		mustAlarm(t, files.with(t, manifestName, nil), manifestName)
	})
	t.Run("manifest of yesterday", func(t *testing.T) {
		old, _, _ := groups(t, true, Config{}, 1)
		fs := old.with(t, "", nil)
		l := openLog(t, fs, "log", 2, Config{})
		if _, err := appendTo(l, 0, 7, 1); err != nil {
			t.Fatal(err)
		}
		l.Close()
		files := imageOf(t, fs)
		fs = files.with(t, manifestName, old[manifestName])
		_, err := tryOpen(t, fs, "log", 2, Config{})
		if damage, ok := errors.AsType[*DamageError](err); !ok || damage.File != manifestName {
			t.Errorf("Open returned %v, want a DamageError about the manifest", err)
		}
	})
}

// TestDamageWhileOpen: a file that rots under an open log is an error of Fetch, not
// a record that is missing.
func TestDamageWhileOpen(t *testing.T) {
	files, acked, _ := groups(t, true, Config{}, 2, 1)
	fs := files.with(t, "", nil)
	l := openLog(t, fs, "log", 2, Config{})
	undo := fs.Inject(diskfault.Fault{On: diskfault.Read, Path: "*.log", Flip: true})
	var buf ingest.Deliveries
	err := l.Fetch(t.Context(), 0, 0, &buf)
	if _, ok := errors.AsType[*DamageError](err); !ok || len(buf.List) > 0 {
		t.Errorf("Fetch of a damaged file returned %v and %d records", err, len(buf.List))
	}
	undo()
	if got := drain(t, l, 0, 0); !slices.Equal(got, acked) {
		t.Errorf("when the file is well again there is %+v", got)
	}
	l.Close()
}

func TestOpenRefuses(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "log", 2, Config{})
	if _, err := tryOpen(t, fs, "log", 2, Config{}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a second Open returned %v, want ErrLocked", err)
	}
	l.Close()
	for _, sacks := range []int{1, 3} {
		if _, err := tryOpen(t, fs, "log", sacks, Config{}); err == nil || !strings.Contains(err.Error(), "2 sacks") {
			t.Errorf("Open with %d sacks of a log with 2 returned %v", sacks, err)
		}
	}
	for _, config := range []Config{{SegmentBytes: 2 << 30}, {SegmentBytes: -1}, {MaxBytes: -1}} {
		if _, err := tryOpen(t, fs, "log", 2, config); err == nil {
			t.Errorf("Open with %+v succeeded", config)
		}
	}
	if _, err := tryOpen(t, fs, "log", 0, Config{}); err == nil {
		t.Error("Open with 0 sacks succeeded")
	}
	if err := writeFile(fs, "file", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, fs, "file", 2, Config{}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a file returned %v", err)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/index"
)

// check runs it on a data directory.
func check(t *testing.T, dir string) (out, errOut string, code int) {
	t.Helper()
	return command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}, "check")
}

// What is sound is said to be; one flipped byte, wherever, is found and its file named.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "", "MILLRACE_QUEUE_RETAIN=1h")
	for i := range 3 {
		id := p.newMetric(t, fmt.Sprint(i), "high")
		for hour := range 5 {
			p.post(t, id, fmt.Sprintf(`[{"timestamp": "2024-05-05T%02d:05:05", "value": 1}, {"timestamp": `+
				`"2024-05-05T%02d:05:06", "value": 2}]`, hour, hour))
		}
		p.series(t, id, "")
	}
	if _, errOut, code := check(t, dir); code != 1 || !strings.Contains(errOut, "the data directory "+dir+
		" is in use by another millrace process") {
		t.Errorf("beside the server: status %d, %s", code, errOut)
	}
	if code := p.terminate(); code != 0 {
		t.Fatalf("status %d\n%s", code, p.log)
	}
	sound := regexp.MustCompile(`^index: 3 metrics, 0 dead letters
log: \d+ segments, 15 records, \S+B
storage: \d+ segments, \d+ rows, \S+B; \d+ orphans waiting to be collected
all is sound
$`)
	if out, errOut, code := check(t, dir); code != 0 || errOut != "" || !sound.MatchString(out) {
		t.Errorf("status %d: %q %s", code, out, errOut)
	}

	logs, err := filepath.Glob(filepath.Join(dir, "log", "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	files := slices.Concat(liveSegments(t, dir), logs)
	if len(files) < 4 { // all metrics may be in one sack
		t.Errorf("only %q: is the layout another?", files)
	}
	for _, path := range files {
		restore := flip(t, path)
		out, errOut, code := check(t, dir)
		if code != 1 || !strings.Contains(errOut, filepath.Base(path)) || strings.Contains(out, "sound") {
			t.Errorf("a byte of %s is flipped: status %d, %q %s", path, code, errOut, out)
		}
		restore()
		hidden := path + ".hidden"
		if err := os.Rename(path, hidden); err != nil {
			t.Fatal(err)
		}
		if _, errOut, code := check(t, dir); code != 1 || !strings.Contains(errOut, filepath.Base(path)) {
			t.Errorf("%s is missing: status %d, %q", path, code, errOut)
		}
		if err := os.Rename(hidden, path); err != nil {
			t.Fatal(err)
		}
	}
	if out, errOut, code := check(t, dir); code != 0 {
		t.Errorf("restored: status %d: %q %s", code, out, errOut)
	}
	if _, errOut, code := check(t, filepath.Join(dir, "none")); code != 1 ||
		!strings.Contains(errOut, "there is no data directory") {
		t.Errorf("no directory: status %d: %s", code, errOut)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, "none")); err != nil || len(entries) > 0 {
		t.Errorf("check has made a directory: %q, %v", entries, err)
	}
}

// liveSegments are the segments that the manifests of a storage name, and those
// manifests.
func liveSegments(t *testing.T, dir string) []string {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(dir, "storage", "sack", "*", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, path := range manifests {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Segments []struct{ Name string } }
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(m.Segments) > 0 {
			paths = append(paths, path)
		}
		for _, s := range m.Segments {
			paths = append(paths, filepath.Join(filepath.Dir(path), s.Name))
		}
	}
	return paths
}

// flip turns one bit in the middle of a file around, and returns what undoes that.
func flip(t *testing.T, path string) (restore func()) {
	t.Helper()
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), sound...)
	damaged[len(damaged)/2] ^= 1
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(damaged)
	return func() { write(sound) }
}

// What check --repair has mended is sound, and the server starts on it and has everything.
func TestCheckRepair(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "", "MILLRACE_SACKS=2")
	id := p.newMetric(t, "m", "high")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:05", "value": 1}, {"timestamp": "2024-05-05T05:05:06", "value": 2}]`)
	before := p.series(t, id, "granularity=1")
	p.terminate()
	for _, name := range []string{"layout.json", "sack/0/manifest.json", "sack/1/manifest.json"} {
		path := filepath.Join(dir, "storage", name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=2"}, "check"); code != 1 ||
			!strings.Contains(errOut, name) {
			t.Errorf("%s is gone: status %d, %s", name, code, errOut)
		}
		out, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=2"}, "check", "--repair")
		if code != 0 || !strings.Contains(out, name) || !strings.Contains(out, "all is sound") {
			t.Errorf("%s is gone: status %d, %s%s", name, code, out, errOut)
		}
	}
	p = startHere(t, dir, "", "MILLRACE_SACKS=2")
	if after := p.series(t, id, "granularity=1"); !slices.Equal(before, after) {
		t.Errorf("%v before, %v after the repair", before, after)
	}
}

// A log whose end was cut off after a clean stop refuses to start, naming the repair; the
// repair keeps what is whole and counts the rest.
func TestCheckRepairLog(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "", "MILLRACE_QUEUE_RETAIN=1h")
	id := p.newMetric(t, "m", "high")
	for second := range 5 {
		p.post(t, id, fmt.Sprintf(`[{"timestamp": "2024-05-05T05:05:0%d", "value": 1}]`, second))
	}
	before := p.series(t, id, "granularity=1")
	p.terminate()
	logs, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	path := logs[len(logs)-1]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	settings := []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}
	if _, errOut, code := command(t, settings, "check"); code != 1 || !strings.Contains(errOut, "check --repair") {
		t.Errorf("status %d, %s", code, errOut)
	}
	out, errOut, code := command(t, settings, "check", "--repair")
	if code != 0 || !strings.Contains(out, "log: LOST 1 records of sack") || !strings.Contains(out, "all is sound") {
		t.Errorf("status %d, %s%s", code, out, errOut)
	}
	if copies, _ := filepath.Glob(filepath.Join(dir, "quarantine", "*", filepath.Base(path))); len(copies) != 1 {
		t.Errorf("in the quarantine: %q", copies)
	}
	p = startHere(t, dir, "", "MILLRACE_QUEUE_RETAIN=1h")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:09", "value": 1}]`)
	if after := p.series(t, id, "granularity=1"); len(after) != len(before)+1 {
		t.Errorf("%v before, %v after the repair and one more", before, after)
	}
}

// What a start needs and does not find, and what does not belong together, is named: nothing
// is said to be sound that can't start.
func TestCheckCompares(t *testing.T) {
	dir := t.TempDir()
	settings := []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=2"}
	write := func(dir string) {
		t.Helper()
		p := startHere(t, dir, "", "MILLRACE_SACKS=2", "MILLRACE_QUEUE_RETAIN=1h")
		for i := range 4 { // both sacks have some, but for one time in eight
			p.post(t, p.newMetric(t, fmt.Sprint(i), "high"), `[{"timestamp": "2024-05-05T05:05:05", "value": 1}]`)
		}
		p.terminate()
	}
	write(dir)
	if out, errOut, code := command(t, settings, "check"); code != 0 || errOut != "" {
		t.Fatalf("status %d: %s%s", code, out, errOut)
	}
	other := t.TempDir()
	write(other)
	for name, f := range map[string]struct {
		harm func(t *testing.T, dir string)
		want []string
	}{
		"no index":      {remove("index.db", "index.db-wal", "index.db-shm"), []string{"the index is missing", "index.db"}},
		"an empty file": {empty("index.db"), []string{"the index ", "index.db"}},
		"a page of the index": {func(t *testing.T, dir string) {
			scribble(t, filepath.Join(dir, "index.db"), 3*4096)
		}, []string{"index.db: it is damaged"}},
		"the header of the index": {func(t *testing.T, dir string) {
			scribble(t, filepath.Join(dir, "index.db"), 0)
		}, []string{"index.db"}},
		"no log":          {remove("log"), []string{"the log: "}},
		"no storage":      {remove("storage"), []string{"the storage: "}},
		"a sack's folder": {remove("storage/sack/0"), []string{"sack/0/manifest.json"}},
		"a foreign index": {replaced(other, "index.db"), []string{"the parts are not of one deployment",
			"the index belongs to the log"}},
		"a foreign log": {replaced(other, "log"), []string{"the parts are not of one deployment", "the log here is"}},
		"a foreign store": {replaced(other, "storage"), []string{"the parts are not of one deployment",
			"was applied from the log"}},
		"more sacks":       {nil, []string{"has 2 sacks, and 3 are configured"}},
		"an emptied index": {replaced("", "index.db"), []string{"the index ", "is new, but "}},
	} {
		t.Run(name, func(t *testing.T) {
			broken := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(broken, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			sacks := "2"
			if f.harm == nil {
				sacks = "3"
			} else {
				f.harm(t, broken)
			}
			settings := []string{"MILLRACE_DATA_DIR=" + broken, "MILLRACE_SACKS=" + sacks}
			out, errOut, code := command(t, settings, "check")
			if code != 1 || strings.Contains(out, "sound") {
				t.Errorf("status %d: %s%s", code, out, errOut)
			}
			for _, want := range f.want {
				if !strings.Contains(errOut, want) {
					t.Errorf("it does not say %q: %s", want, errOut)
				}
			}
		})
	}
}

func remove(names ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, name := range names {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func empty(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		remove("index.db-wal", "index.db-shm")(t, dir)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// replaced puts a part of another deployment in the place of this one's; none: of one that
// has just been made.
func replaced(from, name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		from := from
		if from == "" {
			from = t.TempDir()
			p := startHere(t, from, "", "MILLRACE_SACKS=2")
			p.terminate()
			blankIndex(t, filepath.Join(from, "index.db"))
		}
		remove(name, name+"-wal", name+"-shm")(t, dir)
		source := filepath.Join(from, name)
		if info, err := os.Stat(source); err == nil && info.IsDir() {
			if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			return
		}
		data, err := os.ReadFile(source)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// blankIndex makes an index that is part of no deployment yet.
func blankIndex(t *testing.T, path string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.RemoveAll(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	x, err := index.Open(t.Context(), "sqlite:"+path, index.Config{}, slog.New(slog.NewTextHandler(t.Output(), nil)),
		noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

// scribble overwrites a part of a file with what means nothing.
func scribble(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", 2048)), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

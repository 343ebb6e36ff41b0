package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/testservers"
)

// refusesToStart has a server not start, and say why.
func refusesToStart(t *testing.T, dir, why string, settings ...string) {
	t.Helper()
	p := launch(t, dir, settings...)
	err := <-p.exited
	p.exited <- err
	if err == nil || !strings.Contains(p.log.String(), why) {
		t.Errorf("it ended with %v, want the reason %q:\n%s", err, why, p.log)
	}
}

// writeMeasures creates a metric and has a measure of it applied.
func writeMeasures(t *testing.T, p *process) (metric string) {
	t.Helper()
	metric = p.newMetric(t, "m", "high")
	body := []byte(`[{"timestamp": 1700000000, "value": 7}]`)
	if _, err := p.do(t.Context(), "POST", "/metric/"+metric+"/measures", nil, body, nil); err != nil {
		t.Fatal(err)
	}
	var rows []row
	if _, err := p.do(t.Context(), "GET", "/metric/"+metric+"/measures?refresh=true", nil, nil, &rows); err != nil {
		t.Fatal(err)
	}
	return metric
}

// TestLostIndex starts a deployment without its index, and with that of another.
func TestLostIndex(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{dir, other} {
		p := start(t, dir)
		writeMeasures(t, p)
		if err := p.terminate(); err != nil {
			t.Fatal(err)
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Rename(filepath.Join(dir, "index.db"+suffix), filepath.Join(dir, "kept.db"+suffix))
	}
	refusesToStart(t, dir, "index.db is new, but the log holds data")
	refusesToStart(t, dir, "Or the data are of another deployment, which must not be adopted")
	refusesToStart(t, dir, "index and storage are not of one deployment", "MILLRACE_INDEX_URL=sqlite:"+other+"/index.db")
	p := start(t, dir, "MILLRACE_INDEX_URL=sqlite:"+dir+"/kept.db")
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}

	// An index that can't be restored is given up.
	out, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}, "index", "adopt")
	if code != 0 || !strings.Contains(out, "index.db goes on with the log disklog:") {
		t.Fatalf("adopt ended with %d: %s%s", code, out, errOut)
	}
	writeMeasures(t, start(t, dir))
}

// TestLostLog starts a deployment without its log.
func TestLostLog(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	metric := writeMeasures(t, p)
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "kept")); err != nil {
		t.Fatal(err)
	}
	refusesToStart(t, dir, "the log of this deployment was lost or replaced")
	// And with that of another.
	other := t.TempDir()
	p = start(t, other)
	writeMeasures(t, p)
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(other, "log"), filepath.Join(dir, "log"))
	refusesToStart(t, dir, "the log of this deployment was lost or replaced")
	put(t, filepath.Join(dir, "kept"), filepath.Join(dir, "log"))
	p = start(t, dir)
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}

	// One that can't be restored is given up; what was applied is still there.
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}, "index",
		"adopt"); code != 0 {
		t.Fatalf("adopt ended with %d: %s%s", code, out, errOut)
	}
	p = start(t, dir)
	var rows []row
	if _, err := p.do(t.Context(), "GET", "/metric/"+metric+"/measures", nil, nil, &rows); err != nil || len(rows) == 0 {
		t.Errorf("there are %d rows, %v", len(rows), err)
	}
	writeMeasures(t, p)
}

// put moves a folder to the place of another.
func put(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestLostStorage starts a deployment without its storage, with that of another, and
// without what says which it is.
func TestLostStorage(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	metric := ""
	for _, dir := range []string{other, dir} {
		p := start(t, dir)
		metric = writeMeasures(t, p)
		if err := p.terminate(); err != nil {
			t.Fatal(err)
		}
	}
	storage, kept := filepath.Join(dir, "storage"), filepath.Join(dir, "kept")
	put(t, storage, kept)
	refusesToStart(t, dir, "the storage is empty, or another than before")
	if err := os.MkdirAll(storage, 0o700); err != nil {
		t.Fatal(err)
	}
	refusesToStart(t, dir, "the storage is empty, or another than before")
	put(t, filepath.Join(other, "storage"), storage)
	refusesToStart(t, dir, "the storage belongs to deployment")
	put(t, kept, storage)
	if err := os.Remove(filepath.Join(storage, "layout.json")); err != nil {
		t.Fatal(err)
	}
	refusesToStart(t, dir, "it has no layout.json")
	environ := []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=3"}
	if out, errOut, code := command(t, environ, "check"); code == 0 {
		t.Errorf("a check finds nothing wrong: %s%s", out, errOut)
	}
	if out, errOut, code := command(t, environ, "check", "--repair"); code != 0 {
		t.Fatalf("the repair ends with %d: %s%s", code, out, errOut)
	}
	p := start(t, dir)
	var rows []row
	if _, err := p.do(t.Context(), "GET", "/metric/"+metric+"/measures", nil, nil, &rows); err != nil || len(rows) == 0 {
		t.Errorf("after the repair there are %d rows, %v", len(rows), err)
	}
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}

	// A storage that can't be restored is given up.
	if err := os.RemoveAll(storage); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := command(t, environ, "index", "adopt"); code != 0 {
		t.Fatalf("adopt ended with %d: %s%s", code, out, errOut)
	}
	writeMeasures(t, start(t, dir))
}

// TestIndexCopy moves a deployment's index to PostgreSQL and back.
func TestIndexCopy(t *testing.T) {
	postgres := testservers.Postgres(t)
	url := postgres.URL(postgres.Database(t))
	dir := t.TempDir()
	back := "sqlite:" + filepath.Join(dir, "back.db")
	p := start(t, dir)
	metric := writeMeasures(t, p)
	for _, move := range []struct{ from, to string }{{"sqlite:" + filepath.Join(dir, "index.db"), url}, {url, back}} {
		if err := p.terminate(); err != nil {
			t.Fatal(err)
		}
		out, errOut, code := command(t, nil, "index", "copy", move.from, move.to)
		if code != 0 || !strings.Contains(out, "\nmetrics: ") {
			t.Fatalf("copying from %s to %s ended with %d: %s%s", move.from, move.to, code, out, errOut)
		}
		if out, errOut, code := command(t, nil, "index", "copy", move.from, move.to); code == 0 {
			t.Errorf("copied twice: %s%s", out, errOut)
		}
		p = start(t, dir, "MILLRACE_INDEX_URL="+move.to)
		var rows []row
		if _, err := p.do(t.Context(), "GET", "/metric/"+metric+"/measures", nil, nil, &rows); err != nil || len(rows) == 0 {
			t.Errorf("with the index %s there are %d rows: %v", move.to, len(rows), err)
		}
		p.newMetric(t, "another", "high")
		p.command(t, "dead-letters", "list")
	}
}

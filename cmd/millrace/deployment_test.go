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
	refusesToStart(t, dir, "belongs to the log disklog:", "MILLRACE_INDEX_URL=sqlite:"+other+"/index.db")
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
	writeMeasures(t, p)
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "kept")); err != nil {
		t.Fatal(err)
	}
	refusesToStart(t, dir, "the log of this deployment was lost or replaced")
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "kept"), filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
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

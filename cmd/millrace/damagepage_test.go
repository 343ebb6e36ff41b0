package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A mishap is a line of docs/damage.md: what is done to a deployment, and what is left when
// it was repaired as the page says.
type mishap struct {
	harm  func(t *testing.T, dir string)
	adopt bool // index adopt is run, not check --repair
	left  int  // of two measures that were applied; -1: no metric is known any more
	fatal bool // nothing but a copy repairs it
}

// globbed is the last file of a pattern.
func globbed(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("there is no %s: %v", pattern, err)
	}
	return paths[len(paths)-1]
}

func flipped(pattern string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { flip(t, globbed(t, dir, pattern)) }
}

var mishaps = map[string]mishap{
	"a byte of the log":  {harm: flipped("log/*.log"), left: 2},
	"the log is cut":     {harm: cutLog, left: 2},
	"the log's manifest": {harm: flipped("log/log.json"), left: 2},
	"the log is lost":    {harm: remove("log"), adopt: true, left: 2},
	"the index is lost":  {harm: remove("index.db", "index.db-wal", "index.db-shm"), adopt: true, left: -1},
	"the index is emptied": {
		harm: empty("index.db"), adopt: true, left: -1,
	},
	"a page of the index": {
		harm: func(t *testing.T, dir string) { scribble(t, filepath.Join(dir, "index.db"), 3*4096) }, fatal: true,
	},
	"the index's header": {
		harm: func(t *testing.T, dir string) { scribble(t, filepath.Join(dir, "index.db"), 0) }, fatal: true,
	},
	"`layout.json` of the storage is lost": {harm: remove("storage/layout.json"), left: 2},
	"the storage is lost":                  {harm: remove("storage"), adopt: true, left: 2}, // of the log
	"a sack's manifest":                    {harm: flipped("storage/sack/0/manifest.json"), left: 2},
	"a sack's manifest is lost":            {harm: remove("storage/sack/0/manifest.json"), left: 2},
	"a sack's folder is lost":              {harm: remove("storage/sack/0"), left: 2}, // of the log
	"a segment":                            {harm: flipped("storage/sack/0/*.parquet")},
	"a segment is lost": {harm: func(t *testing.T, dir string) {
		if err := os.Remove(globbed(t, dir, "storage/sack/0/*.parquet")); err != nil {
			t.Fatal(err)
		}
	}},
}

func cutLog(t *testing.T, dir string) {
	path := globbed(t, dir, "log/*.log")
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-7)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Every line of the operator's page is tried: what a start or a read says, what check says,
// what the repair leaves.
func TestDamagePage(t *testing.T) {
	settings := []string{"MILLRACE_SACKS=1", "MILLRACE_QUEUE_RETAIN=1h"}
	whole := t.TempDir()
	p := startHere(t, whole, "", settings...)
	id := p.newMetric(t, "m", "high")
	for _, second := range []string{"05", "06"} {
		p.post(t, id, `[{"timestamp": "2024-05-05T05:05:`+second+`", "value": 1}]`)
		p.series(t, id, "granularity=1")
	}
	p.terminate()

	page, err := os.ReadFile("../../docs/damage.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	tried := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if strings.HasPrefix(line, "## When one part alone") {
			break // TestRestoredAlone
		}
		if len(cells) != 7 || strings.HasPrefix(cells[1], "---") || strings.HasPrefix(cells[1], " damage ") {
			continue
		}
		name := strings.TrimSpace(cells[1])
		m, known := mishaps[name]
		if !known {
			t.Errorf("the page has a line %q that nobody tries", name)
			continue
		}
		tried++
		said := func(cell string) string { return quoted.FindStringSubmatch(cell)[1] }
		t.Run(strings.Trim(name, "`"), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			m.harm(t, dir)
			m.live(t, dir, id, settings, said(cells[2]), said(cells[3]), strings.HasPrefix(cells[2], " refuses"))
		})
	}
	if tried != len(mishaps) {
		t.Errorf("%d mishaps are tried, and the page has %d of them", len(mishaps), tried)
	}
}

// live has an operator meet a damaged deployment: says is what a start or a read says,
// checked what check does.
func (m *mishap) live(t *testing.T, dir, metric string, settings []string, says, checked string, refuses bool) {
	environment := []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=1"}
	if out, errOut, code := command(t, environment, "check"); code != 1 || !strings.Contains(errOut, checked) {
		t.Errorf("check ends with %d and does not say %q: %s%s", code, checked, out, errOut)
	}
	if refuses {
		refusesToStart(t, dir, says, settings...)
	} else {
		p := start(t, dir, settings...)
		a := p.ask(t, "GET", "/metric/"+metric+"/measures?granularity=1", "")
		if a.status != 500 || a.header.Get("Retry-After") != "" {
			t.Errorf("a read gets %d %s, %v", a.status, a.body, a.header)
		}
		p.saysSoon(t, says)
		if err := p.terminate(); err != nil {
			t.Log(err) // a sack that stands still can't be flushed
		}
	}
	words := []string{"check", "--repair"}
	if m.adopt {
		words = []string{"index", "adopt"}
	}
	out, errOut, code := command(t, environment, words...)
	if m.fatal {
		if code != 1 {
			t.Errorf("%q ends with %d: %s%s", words, code, out, errOut)
		}
		return
	}
	if code != 0 {
		t.Fatalf("%q ends with %d: %s%s", words, code, out, errOut)
	}
	p := start(t, dir, settings...)
	a := p.ask(t, "GET", "/metric/"+metric+"/measures?granularity=1&refresh=true", "")
	if m.left < 0 {
		if a.status != 404 {
			t.Errorf("a read gets %d %s, want 404", a.status, a.body)
		}
	} else if got := strings.Count(a.body, "2024-05-05T05:05:0"); a.status != 200 || got != m.left {
		t.Errorf("a read gets %d %s, want %d measures", a.status, a.body, m.left)
	}
	if err := p.terminate(); err != nil {
		t.Errorf("it ends with %v\n%s", err, p.log)
	}
}

// One part comes from an older copy, and the others are of today: what the page says of it
// is tried.
func TestRestoredAlone(t *testing.T) {
	settings := []string{"MILLRACE_SACKS=1", "MILLRACE_QUEUE_RETAIN=1h"}
	today, old := t.TempDir(), filepath.Join(t.TempDir(), "old")
	write := func(p *thread, second string, ids ...string) {
		for _, id := range ids {
			p.post(t, id, `[{"timestamp": "2024-05-05T05:05:`+second+`", "value": 1}]`)
			p.series(t, id, "granularity=1")
		}
		p.terminate()
	}
	p := startHere(t, today, "", settings...)
	first := p.newMetric(t, "first", "high")
	write(p, "05", first)
	if err := os.CopyFS(old, os.DirFS(today)); err != nil {
		t.Fatal(err)
	}
	p = startHere(t, today, "", settings...)
	second := p.newMetric(t, "second", "high")
	write(p, "06", first, second)

	for part, want := range map[string]struct {
		check  string // what it says; it is content if that is "all is sound"
		says   string // what the server's log says before a repair; "": nothing is wrong
		second int    // status of a read of the metric that the copy doesn't have
	}{
		"index.db": {"all is sound", "", 404},
		"log":      {"the log doesn't go on there", "log does not hold this offset", 200},
		"storage":  {"all is sound", "", 200},
	} {
		t.Run(part, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(today)); err != nil {
				t.Fatal(err)
			}
			replaced(old, part)(t, dir)
			environment := []string{"MILLRACE_DATA_DIR=" + dir, "MILLRACE_SACKS=1"}
			out, errOut, code := command(t, environment, "check")
			if !strings.Contains(out+errOut, want.check) || (code == 0) != (want.says == "") {
				t.Errorf("check ends with %d and does not say %q: %s%s", code, want.check, out, errOut)
			}
			if want.says != "" {
				p := start(t, dir, settings...)
				p.saysSoon(t, want.says)
				_ = p.terminate() // a sack that stands still can't be flushed
				if out, errOut, code := command(t, environment, "check", "--repair"); code != 0 {
					t.Fatalf("the repair ends with %d: %s%s", code, out, errOut)
				}
			}
			p := start(t, dir, settings...)
			rows := func(id string) (status, rows int) {
				a := p.ask(t, "GET", "/metric/"+id+"/measures?granularity=1&refresh=true", "")
				return a.status, strings.Count(a.body, "2024-05-05T05:05:0")
			}
			if status, n := rows(first); status != 200 || n != 2 {
				t.Errorf("the first metric: %d with %d measures, want 2", status, n)
			}
			if status, n := rows(second); status != want.second || status == 200 && n != 1 {
				t.Errorf("the second metric: %d with %d measures, want %d", status, n, want.second)
			}
			if err := p.terminate(); err != nil {
				t.Errorf("it ends with %v\n%s", err, p.log)
			}
		})
	}
}

// saysSoon waits until a server's log says something.
func (s *server) saysSoon(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.log.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not say %q:\n%s", text, s.log)
		}
	}
}

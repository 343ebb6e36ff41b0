package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/testservers"
)

// folder writes files and returns the folder that they are in.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// metrics returns the ids of the metrics by name. A name that is there twice is an error.
func (p *server) metrics(t *testing.T) map[string]string {
	t.Helper()
	ids := make(map[string]string)
	for name, all := range p.allMetrics(t) {
		if len(all) > 1 {
			t.Errorf("there are %d metrics called %s", len(all), name)
		}
		ids[name] = all[0]
	}
	return ids
}

func (p *server) allMetrics(t *testing.T) map[string][]string {
	t.Helper()
	var list []struct{ ID, Name string }
	if _, err := p.do(t.Context(), "GET", "/metric", nil, nil, &list); err != nil {
		t.Fatal(err)
	}
	ids := make(map[string][]string)
	for _, m := range list {
		ids[m.Name] = append(ids[m.Name], m.ID)
	}
	return ids
}

// series reads one aggregated series, once all has been applied, as "time value" texts.
func (p *server) series(t *testing.T, id, query string) []string {
	t.Helper()
	var rows []row
	if _, err := p.do(t.Context(), "GET", "/metric/"+id+"/measures?refresh=true&"+query, nil, nil, &rows); err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = fmt.Sprintf("%s %v", r.at.Format("2006-01-02T15:04:05"), r.value)
	}
	return texts
}

// Whatever the columns are called and wherever they are.
func TestImport(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	f := func(name, text string, flags []string, status int, summary, complaints string, want map[string][]string) {
		t.Helper()
		dir := folder(t, map[string]string{name: text})
		args := append([]string{"import", dir, "--policy", "high", "--url", p.base.String(), "--state",
			filepath.Join(t.TempDir(), "state.json")}, flags...)
		out, errOut, code := command(t, nil, args...)
		if code != status || !strings.Contains(out, summary) {
			t.Errorf("%s: status %d: %s%s", name, code, out, errOut)
		}
		if status != 0 {
			var end string
			errOut, end, _ = strings.Cut(errOut, "millrace: ")
			if !strings.Contains(end, "not all was taken: ") {
				t.Errorf("%s: it ends with %q", name, end)
			}
		}
		if want := strings.ReplaceAll(complaints, "FILE", filepath.Join(dir, name)); errOut != want {
			t.Errorf("%s: complaints %q, want %q", name, errOut, want)
		}
		ids := p.metrics(t)
		got := make(map[string][]string)
		for name := range want {
			got[name] = p.series(t, ids[name], "aggregation=sum&granularity=1")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	two := []string{"2014-03-01T00:00:01 1.5", "2014-03-01T00:00:02 -2"}
	f("plain.csv", "timestamp,value\n2014-03-01 00:00:01,1.5\n2014-03-01T00:00:02Z,-2\n", nil, 0,
		"1 files, 1 metrics: 2 measures accepted and durable", "", map[string][]string{"plain": two})
	f("bare.csv", "2014-03-01 00:00:01,1.5\r\n2014-03-01 01:00:02+01:00,-2", []string{"--whole"}, 0,
		"2 measures accepted", "", map[string][]string{"bare": two})
	f("order.csv", "\ufeffunit,Value,host, TIMESTAMP \nkW,1.5,a,1393632001\nkW,-2,a,1393632002.0\n", nil, 0,
		"2 measures accepted", "", map[string][]string{"order": two})
	f("below/a b/c.csv", "timestamp,value\n2014-03-01 00:00:01,1.5\n2014-03-01 00:00:02,-2\n", nil, 0,
		"2 measures accepted", "", map[string][]string{"below.a b.c": two})
	f("many.csv", "timestamp,metric,value\n2014-03-01 00:00:01,x,1.5\n2014-03-01 00:00:01,y.z,3\n2014-03-01 "+
		"00:00:02,x,-2\n", []string{"--metric-column", "Metric", "--batch", "1"}, 0,
		"1 files, 2 metrics: 3 measures accepted", "", map[string][]string{"x": two, "y.z": {"2014-03-01T00:00:01 3"}})
	f("bad.csv", "timestamp,value\n2014-03-01 00:00:01,1.5\nyesterday?,1\n2014-03-01 "+
		"00:00:03,much\n\n2014-03-01\n\"2014-03-01 00:00:02\",-2\n2014-03-01 00:00:0\"4,1\n", nil, 2,
		"2 measures accepted and durable", `FILE:3: timestamp "yesterday?" is no time
FILE:4: value "much" is not a number
FILE:6: 1 columns, want at least 2
FILE:8: bare " in a cell without quotes
`, map[string][]string{"bad": two})
	f("same.csv", "timestamp,value\n2014-03-01 00:00:01,9\n2014-03-01 00:00:01,1.5\n2014-03-01 00:00:02,-2\n", nil, 0,
		"3 measures accepted", "", map[string][]string{"same": two})
	f("late.csv", "timestamp,value\n2014-03-01 00:00:01,1.5\n2014-03-01 00:00:02,-2\n2014-02-28 "+
		"23:59:59,7\n2014-02-28 23:00:00,7\n", []string{"--batch", "2"}, 2,
		"2 measures came too late and were dropped", "", map[string][]string{"late": two})
	f("future.csv", "timestamp,value\n2014-03-01 00:00:01,1.5\n2114-03-01 00:00:01,7\n2014-03-01 00:00:02,-2\n", nil, 2,
		"2 measures accepted",
		"the server refuses a measure of metric future: timestamp 2114-03-01T00:00:01Z is more than 30m0s in the future\n",
		map[string][]string{"future": two})
	f("extreme.csv", "timestamp,value\n2014-03-01 00:00:01,NaN\n2014-03-01 00:00:01,1.5\n2014-03-01 "+
		"00:00:02,-2e0\n2014-03-01 00:00:03,1e999\n2014-03-01 00:00:04,-inf\n", nil, 0,
		"5 measures accepted", "", map[string][]string{})
	f("empty.csv", "", nil, 0, "1 files, 0 metrics: 0 measures accepted", "", map[string][]string{})
	f("header.csv", "timestamp,value\n", nil, 0, "1 files, 0 metrics: 0 measures accepted", "", map[string][]string{})
}

func TestImportErrors(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	dir := folder(t, map[string]string{
		"half.csv": "timestamp,val\n", "columns.csv": "timestamp,value\n", "bare.csv": "2014-03-01 00:00:01,1\n",
		"notes.txt": "", "sub/none.txt": "", "state.json": "[]",
		"other.json": `{"server":"http://192.0.2.1","metrics":{},"files":{}}`,
	})
	status := 1
	f := func(want string, args ...string) {
		t.Helper()
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "DIR", dir)
		}
		_, errOut, code := command(t, nil, append([]string{"import", "--url", p.base.String(), "--state",
			filepath.Join(t.TempDir(), "s.json")}, args...)...)
		if code != status || !strings.Contains(errOut, want) {
			t.Errorf("%q: status %d, %q does not say %q", args, code, errOut, want)
		}
		if strings.Contains(errOut, "Run the same command again") {
			t.Errorf("%q: the advice does not help: %s", args, errOut)
		}
	}
	f("requires at least 1 arg")
	f("no such file", "DIR/nothing.csv")
	f("there are no files to import: want .csv or .tsv", "DIR/sub")
	f("is neither a file nor a folder", "/dev/null")
	f(`--time-unit "h" is not known: want s, ms, us, ns`, "DIR/bare.csv", "--time-unit", "h")
	f(`--separator "|" is not known`, "DIR/bare.csv", "--separator", "|")
	f("--resource-column needs --metric-column", "DIR/bare.csv", "--resource-column", "r")
	f("--resource-type-column needs --resource-column", "DIR/bare.csv", "--resource-type-column", "t")
	f("--batch must be at least 1", "DIR/bare.csv", "--batch", "0")
	f("state.json is not the state of an import", "DIR/bare.csv", "--state", "DIR/state.json")
	f("is the state of an import into http://192.0.2.1", "DIR/bare.csv", "--state", "DIR/other.json")
	f("--policy: the server answers 404 Not Found: Archive policy golden does not exist", "DIR/bare.csv", "--policy",
		"golden")
	f("cannot reach the server", "DIR/bare.csv", "--url", "http://127.0.0.1:1")
	f("is not an address such as http://127.0.0.1:8041", "DIR/bare.csv", "--url", "nowhere")

	status = 3
	f(`half.csv:1: the header "timestamp,val" does not name both timestamp and value`, "DIR/half.csv")
	f(`columns.csv:1: the header "timestamp,value" does not name the metric column host`, "DIR/columns.csv",
		"--metric-column", "host")
	f("bare.csv:1: there is no header", "DIR/bare.csv", "--metric-column", "host")
}

// An import that has been done is not done again; what is appended is; another file
// of the same name, or a metric that is gone, is told.
func TestImportAgain(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	dir := folder(t, map[string]string{"a.csv": "timestamp,value\n2014-03-01 00:00:01,1\nbad,1\n",
		"b.csv": "2014-03-01 00:00:01,1\n"})
	args := []string{"import", dir, "--policy", "high", "--state", filepath.Join(t.TempDir(), "state.json")}
	f := func(want string) {
		t.Helper()
		out, errOut, code := command(t, nil, append(args, "--url", p.base.String())...)
		if !strings.Contains(out, want) || code != 0 {
			t.Errorf("status %d: %q does not say %q\n%s", code, out, want, errOut)
		}
	}
	if _, _, code := command(t, nil, append(args, "--url", p.base.String())...); code != 2 {
		t.Errorf("status %d, though a row is refused", code)
	}
	f(" 0 measures accepted and durable in ")
	f("; 3 rows are known from an earlier run")
	for _, name := range []string{"a.csv", "b.csv"} {
		file, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(file, "2014-03-01 00:00:02,2\n2014-03-01 00:00:03,3\nworse,\n")
		file.Close()
	}
	_, errOut, code := command(t, nil, append(args, "--url", p.base.String())...)
	if want := filepath.Join(dir, "a.csv") + ":6: timestamp \"worse\""; code != 2 || !strings.Contains(errOut, want) {
		t.Errorf("status %d: %q does not say %q", code, errOut, want)
	}
	f(" 0 measures accepted and durable in ")
	ids := p.metrics(t)
	want := []string{"2014-03-01T00:00:01 1", "2014-03-01T00:00:02 1", "2014-03-01T00:00:03 1"}
	for _, name := range []string{"a", "b"} {
		if diff := cmp.Diff(want, p.series(t, ids[name], "aggregation=count&granularity=1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	if err := os.WriteFile(filepath.Join(dir, "a.csv"),
		[]byte("2015-03-01 00:00:01,1\n2015-03-01 00:00:02,1\n2015-03-01 00:00:03,1\n2015-03-01 00:00:04,1\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut, code = command(t, nil, append(args, "--url", p.base.String())...)
	if want := "a.csv is not the file any more that was imported up to byte "; code != 1 ||
		!strings.Contains(errOut, want) {
		t.Errorf("status %d: %q does not say %q", code, errOut, want)
	}
	if err := os.Remove(filepath.Join(dir, "a.csv")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.do(t.Context(), "DELETE", "/metric/"+ids["b"], nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	_, errOut, code = command(t, nil, append(args, "--url", p.base.String())...)
	if want := "metric b, which " + args[5] + " says was created, does not exist any more"; code != 1 ||
		!strings.Contains(errOut, want) {
		t.Errorf("status %d: %q does not say %q", code, errOut, want)
	}
}

// Advice to run an import again is given where that helps.
func TestImportAdvice(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		ctx   context.Context
		err   error
		again bool
	}{
		{t.Context(), &unreachableError{errors.New("no route")}, true},
		{t.Context(), fmt.Errorf("f.csv: %w", &apiError{status: 503}), true},
		{t.Context(), &apiError{status: 500}, true},
		{t.Context(), &apiError{status: 429}, true},
		{stopped, context.Canceled, true},
		{t.Context(), &apiError{status: 403}, false},
		{t.Context(), errors.New("f.csv is not the file any more"), false},
	} {
		err := advise(c.ctx, c.err, "state.json")
		if strings.Contains(err.Error(), "Run the same command again") != c.again || !errors.Is(err, c.err) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

// What a writer has not finished waits, and is imported once it is.
func TestImportUnfinished(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	dir := folder(t, map[string]string{"a.csv": "timestamp,value\n2014-03-01T00:00:01,1\n2014-03-01T00:3"})
	path, state := filepath.Join(dir, "a.csv"), filepath.Join(t.TempDir(), "state.json")
	run := func(flags ...string) (string, int) {
		t.Helper()
		out, errOut, code := command(t, nil, append([]string{"import", dir, "--policy", "high", "--state", state, "--url",
			p.base.String()}, flags...)...)
		return out + errOut, code
	}
	add := func(text string) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteString(text)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := run(); code != 0 || !strings.Contains(out, "1 measures accepted") ||
		!strings.Contains(out, path+":3: the last line has no line end: it waits") {
		t.Errorf("status %d: %s", code, out)
	}
	add("0:02,3\n2014-03-01T00:30:03,4")
	if out, code := run(); code != 0 || !strings.Contains(out, " 1 measures accepted") {
		t.Errorf("status %d: %s", code, out)
	}
	if out, code := run("--whole"); code != 0 || !strings.Contains(out, " 1 measures accepted") {
		t.Errorf("status %d: %s", code, out)
	}
	want := []string{"2014-03-01T00:00:01 1", "2014-03-01T00:30:02 3", "2014-03-01T00:30:03 4"}
	if diff := cmp.Diff(want, p.series(t, p.metrics(t)["a"], "aggregation=sum&granularity=1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	add("\n2014-03-01T00:30:04,5")
	if out, code := run("--whole"); code != 0 || !strings.Contains(out, " 1 measures accepted") {
		t.Errorf("status %d: %s", code, out)
	}
	add("7\n")
	if out, code := run(); code != 1 || !strings.Contains(out, path+
		":5: the line that was imported without its end has been continued") {
		t.Errorf("status %d: %s", code, out)
	}
}

// A file in which nothing fits is told and left as it is, whatever else there is.
func TestImportHopeless(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	packed := make(map[string]string)
	for name, pack := range packings {
		packed[name] = string(pack(t, "timestamp;value\n2014-03-01 00:00:01;1,5\n"))
	}
	dir := folder(t, map[string]string{
		"good.csv": "2014-03-01 00:00:01,1.5\n", "a.CSV.GZ": packed["gzip"], "b.tsv.zst": packed["zstd"],
		"ms.csv": strings.Repeat("1393632001000,1\n", 2*hopelessRows), "utf16.csv": "\xff\xfe1\x002\x00",
		"few.csv":     "a,b\nc,d\n",
		".hidden.csv": "1,1\n", ".git/x.csv": "1,1\n", "notes.txt": "", "sub/data.xls": "",
	})
	state := filepath.Join(t.TempDir(), "state.json")
	args := []string{"import", dir, "--policy", "high", "--state", state, "--url", p.base.String()}
	for range 2 { // it is told again
		out, errOut, code := command(t, nil, args...)
		want := strings.ReplaceAll(`left out, for the endings are neither .csv nor .tsv: DIR/notes.txt, DIR/sub/data.xls
DIR/few.csv:1: timestamp "a" is no time. None of the 2 rows makes sense: expected rows of a timestamp (2014-03-01T00:00:01Z, or seconds since 1970) and a value, separated by commas, semicolons or tabs, or a header that names the columns timestamp and value
DIR/ms.csv:1: timestamp "1393632001000" is too large for seconds: if it is ms, say --time-unit ms. None of the first 100 rows makes sense: expected rows of a timestamp (2014-03-01T00:00:01Z, or seconds since 1970) and a value, separated by commas, semicolons or tabs, or a header that names the columns timestamp and value
DIR/utf16.csv:1: the file is UTF-16: make it UTF-8 (iconv -f UTF-16 -t UTF-8)
millrace: in 3 files nothing could be read
`, "DIR", dir)
		if diff := cmp.Diff(want, errOut); code != 3 || diff != "" {
			t.Errorf("status %d: %s (-want +got):\n%s", code, out, diff)
		}
	}
	out, errOut, code := command(t, nil, append(args, "--time-unit", "ms", filepath.Join(dir, "ms.csv"))...)
	if code != 3 || !strings.Contains(out, " 200 measures accepted") {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
	ids := p.metrics(t)
	for _, name := range []string{"a", "b", "good"} {
		if diff := cmp.Diff([]string{"2014-03-01T00:00:01 1.5"}, p.series(t, ids[name],
			"aggregation=sum&granularity=1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(ids) != 4 {
		t.Errorf("metrics: %v", ids)
	}
}

// A stray quote swallows nothing.
func TestImportStrayQuote(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	var b strings.Builder
	b.WriteString("timestamp,value\n2014-03-01 00:00:00,\"1\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "%d,%d\n", 1_393_632_001+i, i)
	}
	dir := folder(t, map[string]string{"a.csv": b.String()})
	out, errOut, code := command(t, nil, "import", dir, "--policy", "high", "--state",
		filepath.Join(t.TempDir(), "state.json"), "--url", p.base.String())
	if code != 2 || !strings.Contains(out, " 20000 measures accepted") ||
		!strings.Contains(errOut, `a.csv:2: the quote " is not closed`) {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
}

// A name that can't be one refuses its rows and no others, whoever says so.
func TestImportBadNames(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	front := refuseMetrics(t, p, "b", "'b' is not supported in metric name")
	dir := folder(t, map[string]string{"all.csv": "timestamp,metric,value\n1393632001,a,1\n1393632001,x/y," +
		"2\n1393632001,b,3\n1393632002,b,3\n1393632002,a,4\n"})
	out, errOut, code := command(t, nil, "import", dir, "--policy", "high", "--metric-column", "metric", "--state",
		filepath.Join(t.TempDir(), "state.json"), "--url", front)
	if code != 2 || !strings.Contains(out, "1 metrics: 2 measures accepted") || !strings.Contains(out, "3 rows refused") {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
	for _, want := range []string{`all.csv:3: metric "x/y" has a /`,
		"metric b: 2 rows refused: cannot create metric b: the server answers 400 Bad Request: 'b' is not supported"} {
		if !strings.Contains(errOut, want) {
			t.Errorf("%q does not say %q", errOut, want)
		}
	}
	if diff := cmp.Diff([]string{"2014-03-01T00:00:01 1", "2014-03-01T00:00:02 4"},
		p.series(t, p.metrics(t)["a"], "aggregation=sum&granularity=1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// refuseMetrics is a server in front of another that refuses to create one metric.
func refuseMetrics(t *testing.T, p *thread, name, reason string) (url string) {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(p.base)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/v1/metric" {
			body, err := io.ReadAll(r.Body)
			if err != nil || strings.Contains(string(body), `"name":"`+name+`"`) {
				w.WriteHeader(http.StatusBadRequest)
				json.NewEncoder(w).Encode(map[string]any{"code": 400, "title": "Bad Request", "description": reason})
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// Two imports with one state would each forget what the other has done.
func TestImportsExcludeEachOther(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	dir, state := folder(t, map[string]string{"a.csv": "1393632001,1\n"}), filepath.Join(t.TempDir(), "state.json")
	lock, err := lockImportState(state)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"import", dir, "--policy", "high", "--state", state, "--url", p.base.String()}
	if _, errOut, code := command(t, nil, args...); code != 1 || !strings.Contains(errOut, "another import is using "+
		state) {
		t.Errorf("status %d: %s", code, errOut)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := command(t, nil, args...); code != 0 || !strings.Contains(out, "1 measures accepted") {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
}

// A refusal to come back from, and an answer that is lost, are tried again.
func TestImportTriesAgain(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	var posts atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(p.base)
	proxy.ErrorLog = nil
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			proxy.ServeHTTP(w, r)
			return
		}
		switch posts.Add(1) { // metrics a and b are created in some order, then there are two batches
		case 1, 4:
			w.Header().Set("Retry-After", "0")
			http.Error(w, `{"code": 503, "title": "Service Unavailable", "description": "not now"}`,
				http.StatusServiceUnavailable)
		case 3, 5, 7: // taken, and the answer is lost
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	defer front.Close()
	dir := folder(t, map[string]string{"all.csv": "timestamp,metric,value\n2014-03-01 00:00:01,a,1\n2014-03-01 " +
		"00:00:01,b,2\n2014-03-01 00:00:02,a,3\n"})
	policy := map[string]any{"name": "sums", "aggregation_methods": []string{"sum"},
		"definition": []any{map[string]any{"granularity": 1}}}
	if _, err := p.do(t.Context(), "POST", "/archive_policy", nil, policy, nil); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state.json")
	out, errOut, code := command(t, nil, "import", dir, "--policy", "sums", "--metric-column", "metric", "--batch", "2",
		"--state", state, "--url", front.URL)
	if code != 0 || !strings.Contains(out, "2 metrics: 3 measures accepted") {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
	ids := p.metrics(t)
	want := []string{"2014-03-01T00:00:01 1", "2014-03-01T00:00:02 3"}
	if diff := cmp.Diff(want, p.series(t, ids["a"], "aggregation=sum&granularity=1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := posts.Load(); n < 7 {
		t.Errorf("%d posts: what was lost was not sent again", n)
	}
}

// A metric whose creation the server has not even begun when the import gives up waiting, and
// creates it again, is created once.
func TestImportOvertakesItself(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	var posts atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(p.base)
	overtaken := make(chan *http.Request, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/v1/metric") {
			switch posts.Add(1) {
			case 1:
				body, _ := io.ReadAll(r.Body)
				late := r.Clone(context.WithoutCancel(r.Context()))
				late.Body = io.NopCloser(bytes.NewReader(body))
				overtaken <- late
				panic(http.ErrAbortHandler)
			case 2:
				proxy.ServeHTTP(w, r)
				proxy.ServeHTTP(httptest.NewRecorder(), <-overtaken)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	dir := folder(t, map[string]string{"a.csv": "timestamp,value\n2014-03-01 00:00:01,1\n"})
	out, errOut, code := command(t, nil, "import", dir, "--policy", "high", "--state", filepath.Join(t.TempDir(), "state.json"),
		"--url", front.URL)
	if code != 0 || !strings.Contains(out, "1 measures accepted") || posts.Load() != 2 {
		t.Errorf("status %d after %d posts: %s%s", code, posts.Load(), out, errOut)
	}
	if of := p.allMetrics(t)["a"]; len(of) != 1 {
		t.Errorf("there are %d metrics a", len(of))
	}
}

// An import is killed again and again, and so is the server; run again until it gets
// to its end, it has imported every row once, and made one metric of each name.
func TestImportIsKilled(t *testing.T) {
	t.Parallel()
	const files, rows = 4, 3000
	texts := make(map[string]string)
	for i := range files {
		var b strings.Builder
		b.WriteString("timestamp,value\n")
		for s := range rows {
			fmt.Fprintf(&b, "%s,%d\n", time.Unix(1_700_000_000+int64(s), 0).UTC().Format(time.DateTime), s+i)
		}
		texts[fmt.Sprintf("m%d.csv", i)] = b.String()
	}
	dir, data, state := folder(t, texts), t.TempDir(), filepath.Join(t.TempDir(), "state.json")
	listen := "MILLRACE_API_LISTEN=" + fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
	p := start(t, data, listen)
	policy := map[string]any{"name": "all", "aggregation_methods": []string{"count", "sum", "last"},
		"definition": []any{map[string]any{"granularity": 1}, map[string]any{"granularity": 3600}}}
	if _, err := p.do(t.Context(), "POST", "/archive_policy", nil, policy, nil); err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	kills, done := 0, false
	for attempt := 1; !done; attempt++ {
		if attempt > 200 {
			t.Fatal("the import does not get to its end")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+2*attempt)*time.Millisecond) // kills it
		out, runErr := commandOf(ctx, path, "import", dir, "--policy", "all", "--batch", "50", "--state", state, "--url",
			p.base.String())
		done = runErr == nil
		killed := ctx.Err() != nil
		cancel()
		if !done && !killed {
			t.Fatalf("the import fails: %v\n%s", runErr, out)
		}
		if killed {
			kills++
		}
		if attempt%5 == 0 && !done {
			p.kill()
			p = start(t, data, listen)
		}
	}
	ids := p.allMetrics(t)
	for i := range files {
		of := ids[fmt.Sprintf("m%d", i)]
		if len(of) != 1 {
			t.Fatalf("there are %d metrics m%d", len(of), i)
		}
		id := of[0]
		counts := p.series(t, id, "aggregation=count&granularity=1")
		sums := p.series(t, id, "aggregation=sum&granularity=1")
		if len(counts) != rows || len(sums) != rows {
			t.Fatalf("m%d has %d rows and %d sums, want %d", i, len(counts), len(sums), rows)
		}
		for s := range rows {
			at := time.Unix(1_700_000_000+int64(s), 0).UTC().Format("2006-01-02T15:04:05")
			if want := fmt.Sprintf("%s %d", at, s+i); sums[s] != want || counts[s] != at+" 1" {
				t.Fatalf("m%d: %s (%s), want %s, once", i, sums[s], counts[s], want)
			}
		}
	}
	t.Logf("suite: import killed %d times, the server as well: %d rows imported once each", kills, files*rows)
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// csvDefaults are the options of an import without flags.
func csvDefaults() csvOptions { return csvOptions{time: "timestamp", value: "value", unit: 1e9} }

// readCSV reads a file to its end: its rows as "line: metric time value" or what is
// wrong with them, and what it ends with.
func readCSV(t *testing.T, text string, options csvOptions) (rows []string, f *csvFile, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = openCSV(path, "f", options, time.Date(2024, 5, 5, 12, 0, 0, 0, time.UTC))
	if err != nil {
		return nil, nil, err
	}
	defer f.close()
	for {
		row, err := f.next()
		switch {
		case errors.Is(err, io.EOF):
			return rows, f, nil
		case err != nil:
			return rows, f, err
		case row.refusal != nil:
			rows = append(rows, fmt.Sprintf("%d: %v", row.line, row.refusal))
		default:
			rows = append(rows, fmt.Sprintf("%d: %s %v %v", row.line, row.target.metric, float64(row.measure.Time)/1e9,
				row.measure.Value))
		}
	}
}

func TestCSV(t *testing.T) {
	f := func(what, text string, change func(*csvOptions), want ...string) {
		t.Helper()
		options := csvDefaults()
		if change != nil {
			change(&options)
		}
		got, _, err := readCSV(t, text, options)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	one, two := "1: f 10 1.5", "2: f 11 2"
	f("commas", "10,1.5\n11,2\n", nil, one, two)
	f("semicolons", "10;1.5\n11;2\n", nil, one, two)
	f("tabs", "10\t1.5\n11\t2\n", nil, one, two)
	f("decimal commas", "10;1,5\n11;2\n", nil, one, two)
	f("decimal commas in times", "10,25;1,5\n1970-01-01 00:00:11,5;2\n", nil, "1: f 10.25 1.5", "2: f 11.5 2")
	f("a header with semicolons", "timestamp;note;value\n10;a,b;1,5\n", nil, "2: f 10 1.5")
	f("a header in quotes with tabs", "\"timestamp\"\t\"value\"\n10\t1.5\n", nil, "2: f 10 1.5")
	f("a mark and a header in quotes", "\ufeff\"timestamp\",\"value\"\n10,1.5\n", nil, "2: f 10 1.5")
	f("what Excel writes", "\ufeffsep=;\r\ntimestamp;value\r\n10;1,5\r\n", nil, "3: f 10 1.5")
	f("a separator that was asked for", "10;1,5\n", func(o *csvOptions) { o.separator = ',' },
		`1: timestamp "10;1" is no time`)
	f("both decimal marks", "10;1,5\n11;2.5\n12;1.000,5\n", nil, one,
		`2: value "2.5" has another decimal mark than the , of the rows before`, `3: value "1.000,5" is not a number`)
	f("a decimal comma between commas", "10,1.5\n11,\"2,5\"\n", nil, one, `2: value "2,5" is not a number`)
	f("other columns", "when,what\n10,1.5\n", func(o *csvOptions) { o.time, o.value = "when", "What" }, "2: f 10 1.5")

	// One grammar for numbers.
	f("numbers", "10,0x1p3\n10,1_000\n10,+1.5e0\n10, nan\n0x10,1\n1_0,1\n", nil,
		`1: value "0x1p3" is not a number`, `2: value "1_000" is not a number`, "3: f 10 1.5", "4: f 10 NaN",
		`5: timestamp "0x10" is no time`, `6: timestamp "1_0" is no time`)

	// A row ends at its line end, unless quotes say otherwise and it makes sense.
	f("a stray quote", "10,1.5\n11,\"1\n12,2\n13,3\n", nil, one, `2: the quote " is not closed`, "3: f 12 2", "4: f 13 3")
	f("two stray quotes", "10,1.5\n11,\"1\n12,2\n13,3\"\n14,4\n", nil, one,
		"2: value \"1\\n12,2\\n13,3\" is not a number", "3: f 12 2",
		`4: bare " in a cell without quotes`, "5: f 14 4")
	f("a stray quote, and quoted cells", "10,1.5\n11,\"1\n12,\"2\"\n", nil, one, `2: text after the closing quote "`,
		"3: f 12 2")
	f("a quoted line end", "timestamp,note,value\r\n10,\"a\r\nb \"\"c\"\"\",1.5\r\n11,\"\",\"2\"\r\n", nil, "2: f 10 1.5",
		"4: f 11 2")
	f("a quoted line end, beyond the bound", "timestamp,value,note\n10,1.5,\"a\n"+strings.Repeat("10,2\n", maxQuoted/5)+
		"\"\n", nil,
		append(append([]string{`2: the quote " is not closed`}, repeatRows(3, maxQuoted/5, "f 10 2")...),
			fmt.Sprintf(`%d: the quote " is not closed`, 3+maxQuoted/5))...)
	f("a long line", "10,1.5\n11,"+strings.Repeat("1", 3*maxLine)+"\n12,2\n", nil, one, "2: "+errLongLine.Error(),
		"3: f 12 2")
	f("zeros of a power cut", strings.Repeat("10,1.5\n", 100)+strings.Repeat("\x00", 700)+"\n12,2\n", nil,
		append(repeatRows(1, 100, "f 10 1.5"), "101: 1 columns, want at least 2", "102: f 12 2")...)
	f("blank lines", "10,1.5\n\n  \r\n11,2\n", nil, one, "4: f 11 2")

	f("too many cells", "timestamp,value\n10,1.5\n11,2,3\n12,2,\n", nil, "2: f 10 1.5",
		"3: 3 columns, but the first row has 2", "4: 3 columns, but the first row has 2")
	f("too many cells, no header", "10,1.5\n11,1,5\n", nil, one, "2: 3 columns, but the first row has 2")

	// Times that depend on the clock.
	f("clock times", "10,1.5\n12:00:00,1\n-5 minutes,1\nnow,1\n:02,1\n", nil, one,
		`2: timestamp "12:00:00" depends on the clock: --relative-times takes it as a time from now`,
		`3: timestamp "-5 minutes" depends on the clock: --relative-times takes it as a time from now`,
		`4: timestamp "now" depends on the clock: --relative-times takes it as a time from now`,
		`5: timestamp ":02" depends on the clock: --relative-times takes it as a time from now`)
	f("clock times that were asked for", "now,1\n-5 minutes,1\n", func(o *csvOptions) { o.relativeTimes = true },
		"1: f 1.7149104e+09 1", "2: f 1.7149101e+09 1")
	f("a date without hyphens", "10,1.5\n20140301,1\n", nil, one,
		`2: timestamp "20140301" is a date without hyphens, and would be read as seconds`)
	f("milliseconds", "10,1.5\n1393632001000,1\n", nil, one,
		`2: timestamp "1393632001000" is too large for seconds: if it is ms, say --time-unit ms`)
	f("milliseconds that were said", "1393632001500,1\n1393632001500.25,2\n2014-03-01T00:00:01Z,3\n-1,4\n",
		func(o *csvOptions) { o.unit = 1e6 },
		"1: f 1.3936320015e+09 1", "2: f 1.39363200150025e+09 2", "3: f 1.393632001e+09 3",
		`4: timestamp "-1" is not between 1970 and 2262`)
	f("outside", "10,1.5\n1969-12-31,1\n2300-01-01,1\n", nil, one,
		`2: timestamp "1969-12-31" is not between 1970 and 2262`, `3: timestamp "2300-01-01" is not between 1970 and 2262`)

	metric := func(o *csvOptions) { o.metric = "metric" }
	f("names", "timestamp,value,metric\n10,1.5,a b\n10,1,\n10,1,a/b\n10,1,\xe4\n10,1,a\x00b\n", metric, "2: a b 10 1.5",
		`3: metric "" is no name`,
		`4: metric "a/b" has a /, which names can't have`, `5: metric "\xe4" is not UTF-8`,
		`6: metric "a\x00b" has a zero character`)
}

// repeatRows is what n rows from a line on read as.
func repeatRows(line, n int, row string) []string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("%d: %s", line+i, row)
	}
	return rows
}

// A file of which nothing can be read is an error that names the line.
func TestHopelessCSV(t *testing.T) {
	f := func(what, text, want string) {
		t.Helper()
		_, _, err := readCSV(t, text, csvDefaults())
		if hopeless, ok := errors.AsType[*hopelessError](err); !ok || !strings.Contains(hopeless.Error(), "f.csv:1: "+want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f("UTF-16", "\xff\xfet\x00i\x00m\x00e\x00", "the file is UTF-16: make it UTF-8")
	f("UTF-16, the other way", "\xfe\xff\x00t\x00i\x00m\x00e", "the file is UTF-16")
	f("UTF-16 without a mark", "1\x000\x00,\x001\x00\n\x00", "the file seems to be UTF-16")
	f("zip", "PK\x03\x04abc", "the file is a ZIP archive or a spreadsheet")
	f("bzip2", "BZh9abc", "the file is packed with bzip2: gzip and zstd are read")
	f("xz", "\xfd7zXZ\x00abc", "the file is packed with xz")
	f("Parquet", "PAR1abc", "the file is Parquet")
	f("something else", "abc\x00def", "the file is no text")
	f("no lines", strings.Repeat("10,1 ", maxLine), "the line is longer than 1048576 bytes: expected rows of a timestamp")
	f("half a header", "timestamp;note\n", `the header "timestamp;note" does not name both timestamp and value`)
}

// packings pack a text.
var packings = map[string]func(t *testing.T, text string) []byte{
	"gzip": func(t *testing.T, text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, text)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	},
	"zstd": func(t *testing.T, text string) []byte {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		return w.EncodeAll([]byte(text), nil)
	},
}

// Packed files are read as what is in them, up to where they are cut.
func TestPackedCSV(t *testing.T) {
	text := "timestamp,value\n" + strings.Repeat("10,1.5\n", 50_000)
	for name, pack := range packings {
		packed := pack(t, text)
		rows, f, err := readCSV(t, string(packed), csvDefaults())
		if err != nil || len(rows) != 50_000 || f.unfinished {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
		if name == "gzip" { // two members, as after appending
			rows, _, err = readCSV(t, string(packed)+string(pack(t, "11,2\n")), csvDefaults())
			if err != nil || len(rows) != 50_001 {
				t.Errorf("%s, appended to: %d rows, %v", name, len(rows), err)
			}
		}
		whole := csvDefaults()
		whole.whole = true
		rows, f, err = readCSV(t, string(packed[:len(packed)-9]), whole)
		if err != nil || len(rows) > 50_000 || !f.unfinished || !f.text.cut {
			t.Errorf("%s, cut: %d rows, %v", name, len(rows), err)
		}
		packed[len(packed)-6] ^= 0x55 // the checksum
		if _, _, err = readCSV(t, string(packed), csvDefaults()); err == nil {
			t.Errorf("%s: damage is not seen", name)
		}
	}
}

// A line without an end is none yet, unless the files are said to be complete.
func TestUnfinishedLine(t *testing.T) {
	whole := csvDefaults()
	whole.whole = true
	f := func(text string, options csvOptions, unfinished bool, want ...string) {
		t.Helper()
		got, file, err := readCSV(t, text, options)
		if err != nil || file.unfinished != unfinished {
			t.Errorf("%q: %v, unfinished: %v", text, err, !unfinished)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	f("10,1\n2014-03-01T12:0", csvDefaults(), true, "1: f 10 1")
	f("10,1\n11,2", whole, false, "1: f 10 1", "2: f 11 2")
	f("10,1\n11,2\r", whole, false, "1: f 10 1", "2: f 11 2")
	f("10,1\n11,\"2\"", whole, false, "1: f 10 1", "2: f 11 2")
	f("10,1\n11,\"2", whole, false, "1: f 10 1", `2: the quote " is not closed`)
	f("10,1\n11,\"2", csvDefaults(), true, "1: f 10 1")
	f("10,1\n11,2\n", whole, false, "1: f 10 1", "2: f 11 2")
	f("timest", csvDefaults(), true)
	f("timestamp,value", whole, false)
	f("10,1\n11,"+strings.Repeat("2", 2*maxLine), csvDefaults(), true, "1: f 10 1")
	f("", whole, false)
}

// However long its rows, a file takes bounded memory.
func TestCSVMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.csv")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(file, "10,1.5\n11,\"1\n")
	for range 64 {
		fmt.Fprint(file, strings.Repeat("12,2\n", maxLine/5))
	}
	fmt.Fprint(file, "13,", strings.Repeat(strings.Repeat("3", 1<<20), 64), "\n14,4\n")
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := openCSV(path, "f", csvDefaults(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	good, bad := 0, 0
	for {
		row, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if row.refusal == nil {
			good++
		} else {
			bad++
		}
	}
	if want := 64*(maxLine/5) + 2; good != want || bad != 2 {
		t.Errorf("%d rows and %d bad ones, want %d and 2", good, bad, want)
	}
	var stats runtime.MemStats
	runtime.GC()
	if runtime.ReadMemStats(&stats); stats.HeapAlloc > 32<<20 {
		t.Errorf("%d MiB are in use", stats.HeapAlloc>>20)
	}
}

func BenchmarkCSV(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f.csv")
	text := strings.Repeat("2014-03-01T00:00:01,host-a,21.5\n", 100_000)
	if err := os.WriteFile(path, []byte("timestamp,host,value\n"+text), 0o600); err != nil {
		b.Fatal(err)
	}
	options := csvDefaults()
	options.metric = "host"
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := openCSV(path, "f", options, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = f.next()
		}
		if f.close(); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

// Whatever a file has in it, reading comes to its end, and every line is accounted for.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"timestamp,value\n10,1.5\n", "10;1,5\n11;2\n", "10,\"1\n12,2\n", "\ufeffsep=;\r\n10;1\r\n", "10,\"a\"\"b\"\n",
		"10,1\r", "\"\n\"", "\x1f\x8b", "10\t1\n\n,\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte, whole bool) {
		path := filepath.Join(dir, "f.csv")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		options := csvDefaults()
		options.whole, options.metric = whole, ""
		file, err := openCSV(path, "f", options, time.Now())
		if err != nil {
			return
		}
		defer file.close()
		for at := file.text.at; ; at = file.text.at {
			row, err := file.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				if file.text.packing == "" {
					t.Fatal(err)
				}
				return
			}
			if file.text.at <= at {
				t.Fatalf("%q: row %d takes nothing", text, row.line)
			}
		}
		if file.text.packing != "" {
			return
		}
		switch rest := string(text[file.text.at:]); {
		case whole && rest != "", strings.Contains(rest, "\n"), (rest != "") != file.unfinished:
			t.Fatalf("%q: %q is left (unfinished: %v)", text, rest, file.unfinished)
		}
	})
}

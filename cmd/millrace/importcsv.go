package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// csvOptions say how CSV files are to be read.
type csvOptions struct {
	separator     byte   // 0: the one that fits
	time, value   string // names of columns
	metric        string // none: a file is a metric
	resource      string // none: metrics are of no resource
	resourceType  string // none: generic
	unit          int64  // what a number that is a time counts, in nanoseconds
	relativeTimes bool   // times may depend on the clock
	whole         bool   // a last line without a line end is a row
}

// A csvFile reads rows of timestamp, value and perhaps more from a CSV file.
type csvFile struct {
	text    *textFile
	options csvOptions
	path    string
	name    string    // what its metric is called when no column says it
	now     time.Time // what relative timestamps are relative to

	separator byte
	decimal   byte // mark of the values: comma or point; 0: none has been seen
	width     int  // cells of the first row; 0: there is none

	time, value                    int // columns
	metric, resource, resourceType int // columns; -1: none

	unfinished bool // next has come to a line that has no end yet
	cells      []string
}

// A target is whose measure a row is.
type target struct{ resourceType, resource, metric string }

func (t target) String() string {
	if t.resource == "" {
		return "metric " + t.metric
	}
	return "metric " + t.metric + " of resource " + t.resource
}

// A csvRow is one row, or why it is refused.
type csvRow struct {
	line    int
	target  target
	measure ingest.Measure
	refusal error // why it is none
}

// A hopelessError says that nothing in a file can be read, and what was expected.
type hopelessError struct {
	path   string
	line   int
	reason string
}

func (e *hopelessError) Error() string { return fmt.Sprintf("%s:%d: %s", e.path, e.line, e.reason) }

// openCSV opens a file and finds its columns. The first row is a header if it names
// those of timestamp and value, and a row like the others if it names neither.
func openCSV(path, name string, options csvOptions, now time.Time) (*csvFile, error) {
	text, err := openText(path, options.whole)
	f := &csvFile{
		text: text, options: options, path: path, name: name, now: now,
		value: 1, metric: -1, resource: -1, resourceType: -1,
	}
	if err == nil {
		if err = f.begin(); err != nil {
			text.close()
		}
	}
	if hopeless, ok := errors.AsType[*hopelessError](err); ok {
		hopeless.path = path
		return nil, hopeless
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// begin finds the separator and the columns, and goes to where the data begins.
func (f *csvFile) begin() error {
	f.separator = f.options.separator
	for {
		n, err := f.text.lineLength()
		if errors.Is(err, io.EOF) || errors.Is(err, errUnfinished) {
			return nil
		}
		if err != nil {
			return err
		}
		if n > maxLine {
			return &hopelessError{line: 1, reason: errLongLine.Error() + ": " + f.expected()}
		}
		b, _ := f.text.in.Peek(n)
		line := strings.TrimSpace(string(b))
		if len(line) == len("sep=;") && strings.HasPrefix(line, "sep=") { // what Excel writes and reads
			f.separator = line[4]
		} else if line != "" {
			return f.header(string(b))
		}
		f.text.take(n)
	}
}

// separators are those that are recognised.
var separators = []byte{',', ';', '\t'}

// header reads the first line that has something in it.
func (f *csvFile) header(line string) error {
	candidates := separators
	if f.separator != 0 {
		candidates = []byte{f.separator}
	}
	best := -1
	for _, separator := range candidates {
		row, err := f.text.row(separator, nil)
		if err != nil {
			continue
		}
		if fit := f.fit(row.cells, separator); fit > best {
			best, f.separator = fit, separator
		}
	}
	row, err := f.text.row(f.separator, nil)
	if best < 0 {
		f.separator = candidates[0]
		return nil // its first row is refused, as will be told
	}
	if err != nil {
		return err
	}
	f.width = len(row.cells)
	at, value := find(row.cells, f.options.time), find(row.cells, f.options.value)
	shown := strings.TrimSpace(line)
	hopeless := func(format string, args ...any) error {
		return &hopelessError{line: f.text.line + 1, reason: fmt.Sprintf(format, args...)}
	}
	if (at >= 0) != (value >= 0) {
		return hopeless("the header %q does not name both %s and %s", shown, f.options.time, f.options.value)
	}
	for _, c := range []struct {
		name, what string
		column     *int
	}{
		{f.options.metric, "metric", &f.metric},
		{f.options.resource, "resource", &f.resource},
		{f.options.resourceType, "resource type", &f.resourceType},
	} {
		if c.name == "" {
			continue
		}
		if at < 0 {
			return hopeless("there is no header with the columns %s and %s, which --metric-column and the like need",
				f.options.time, f.options.value)
		}
		if *c.column = find(row.cells, c.name); *c.column < 0 {
			return hopeless("the header %q does not name the %s column %s", shown, c.what, c.name)
		}
	}
	if at >= 0 {
		f.time, f.value = at, value
		f.text.take(row.all)
	}
	return nil
}

// find returns the column of a name, -1 when there is none.
func find(header []string, name string) int {
	return slices.IndexFunc(header, func(cell string) bool { return strings.EqualFold(strings.TrimSpace(cell), name) })
}

// fit says how well the first row is cut with a separator: it is a header, it is a
// row, it is half a header, or nothing that is known.
func (f *csvFile) fit(cells []string, separator byte) int {
	at, value := find(cells, f.options.time) >= 0, find(cells, f.options.value) >= 0
	trial := *f
	trial.separator = separator
	switch {
	case at && value:
		return 3
	case trial.parse(cells, new(csvRow)) == nil:
		return 2
	case at || value:
		return 1
	}
	return 0
}

// resume goes to where an earlier import has come to, if the file still is the one
// that it read.
func (f *csvFile) resume(done *fileImport) error {
	if err := f.text.start(done.Bytes); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if at, sum := f.text.progress(); at != done.Bytes || sum != done.SHA256 {
		return fmt.Errorf("%s is not the file any more that was imported up to byte %d: "+
			"choose another --state to import it as a new one", f.path, done.Bytes)
	}
	if done.Decimal != "" {
		f.decimal = done.Decimal[0]
	}
	if !done.OpenEnd {
		return nil
	}
	next, err := f.text.window(2)
	if err == nil && len(next) > 0 && next[0] != '\n' && string(next) != "\r\n" {
		err = fmt.Errorf("%s:%d: the line that was imported without its end has been continued: "+
			"choose another --state to import it as a new file", f.path, f.text.line+1)
	}
	return err
}

// progress says how far the file has been read.
func (f *csvFile) progress(into *fileImport) {
	into.Bytes, into.SHA256 = f.text.progress()
	into.OpenEnd = f.text.open
	if into.Decimal = ""; f.decimal != 0 {
		into.Decimal = string(f.decimal)
	}
}

// next returns the next row; io.EOF at the end, and before a line that is not
// finished. A row that makes no sense is returned with its refusal, and reading can go on.
func (f *csvFile) next() (csvRow, error) {
	for {
		text, err := f.text.row(f.separator, f.cells)
		row := csvRow{line: f.text.line + 1}
		switch {
		case errors.Is(err, errUnfinished):
			f.unfinished = true
			return row, io.EOF
		case errors.Is(err, io.EOF):
			return row, io.EOF
		case errors.Is(err, errLongLine):
			row.refusal = err
			if err := f.text.skipLine(); err != nil { // it has no end, or can't be read
				f.unfinished = errors.Is(err, errUnfinished)
				return row, errors.Join(err, io.EOF)
			}
			return row, nil
		case err != nil && text.first == 0:
			return row, fmt.Errorf("%s: %w", f.path, err)
		case err == nil && len(text.cells) == 1 && strings.TrimSpace(text.cells[0]) == "":
			f.text.take(text.all)
			continue
		case err == nil:
			f.cells = text.cells
			err = f.parse(text.cells, &row)
		}
		if row.refusal = err; err != nil { // were its end far below, what is between may be rows
			f.text.take(text.first)
		} else {
			f.text.take(text.all)
		}
		return row, nil
	}
}

func (f *csvFile) parse(cells []string, row *csvRow) error {
	if most := max(f.time, f.value, f.metric, f.resource, f.resourceType); len(cells) <= most {
		return fmt.Errorf("%d columns, want at least %d", len(cells), most+1)
	}
	if f.width > 0 && len(cells) > f.width {
		return fmt.Errorf("%d columns, but the first row has %d", len(cells), f.width)
	}
	at, err := f.parseTime(strings.TrimSpace(cells[f.time]))
	if err != nil {
		return fmt.Errorf("timestamp %q %w", shorten(cells[f.time]), err)
	}
	value, err := f.parseValue(strings.TrimSpace(cells[f.value]))
	if err != nil {
		return fmt.Errorf("value %q %w", shorten(cells[f.value]), err)
	}
	row.measure = ingest.Measure{Time: at, Value: value}
	row.target.metric = f.name
	for _, c := range []struct {
		column int
		what   string
		into   *string
	}{
		{f.metric, "metric", &row.target.metric},
		{f.resource, "resource", &row.target.resource},
		{f.resourceType, "resource type", &row.target.resourceType},
	} {
		if c.column < 0 {
			continue
		}
		*c.into = strings.TrimSpace(cells[c.column])
		if err := checkName(*c.into); err != nil {
			return fmt.Errorf("%s %q %w", c.what, shorten(*c.into), err)
		}
	}
	return nil
}

// checkName refuses what can be the name of nothing.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is no name")
	case strings.Contains(name, "/"):
		return errors.New("has a /, which names can't have")
	case !utf8.ValidString(name):
		return errors.New("is not UTF-8")
	case strings.ContainsRune(name, 0):
		return errors.New("has a zero character")
	}
	return nil
}

// shorten bounds what is shown of a cell.
func shorten(cell string) string {
	const most = 80
	if len(cell) <= most {
		return cell
	}
	return strings.ToValidUTF8(cell[:most], "") + "…"
}

// parseTime reads an instant: ISO-8601, or a number in the unit chosen. What depends
// on the clock (12:00:00, now, -5 minutes) is one only when that was asked for.
func (f *csvFile) parseTime(text string) (int64, error) {
	if f.separator == ';' {
		text = strings.Replace(text, ",", ".", 1)
	}
	if n, ok := gnocchi.ParseFloat(text); ok && f.options.unit != 1e9 {
		return f.scaled(text, n)
	}
	at, err := gnocchi.ParseInstant(text)
	switch {
	case err == nil:
		if len(text) == len("20060102") && at > 0 {
			if _, err := time.Parse("20060102", text); err == nil && text >= "1900" && text < "2200" {
				return 0, errors.New("is a date without hyphens, and would be read as seconds")
			}
		}
		return at, nil
	case errors.Is(err, gnocchi.ErrTime):
		relative, relativeErr := gnocchi.ParseTime(text, f.now)
		if relativeErr == nil && f.options.relativeTimes {
			return relative, nil
		}
		if relativeErr == nil {
			return 0, errors.New("depends on the clock: --relative-times takes it as a time from now")
		}
		if unit := likelyUnit(text); unit != "" {
			return 0, fmt.Errorf("is too large for seconds: if it is %s, say --time-unit %[1]s", unit)
		}
		return 0, errNoTime
	}
	return 0, errFarTime
}

var (
	errNoTime  = errors.New("is no time")
	errFarTime = errors.New("is not between 1970 and 2262")
)

// timeUnits are the units that a number can have which is a time.
var timeUnits = map[string]int64{"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}

// likelyUnit names the unit in which a number is a time of our days.
func likelyUnit(text string) string {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return ""
	case n >= 1e11 && n < 1e13:
		return "ms"
	case n >= 1e14 && n < 1e16:
		return "us"
	case n >= 1e17:
		return "ns"
	}
	return ""
}

// scaled is the instant that is a number of units after 1970. Whole ones are exact.
func (f *csvFile) scaled(text string, n float64) (int64, error) {
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil && whole >= 0 && whole <= math.MaxInt64/f.options.unit {
		return whole * f.options.unit, nil
	}
	switch ns := n * float64(f.options.unit); {
	case ns <= -1:
		return 0, errFarTime
	case ns < 1<<63:
		return int64(ns), nil
	case math.IsNaN(ns):
		return 0, errNoTime
	}
	return 0, errFarTime
}

// parseValue reads a number as the API does. Between semicolons its decimal mark may
// be a comma, if it is one in the whole file.
func (f *csvFile) parseValue(text string) (float64, error) {
	mark, number := byte(0), text
	comma, point := strings.Contains(text, ","), strings.Contains(text, ".")
	switch {
	case comma && !point && f.separator == ';':
		mark, number = ',', strings.Replace(text, ",", ".", 1)
	case point:
		mark = '.'
	}
	value, ok := gnocchi.ParseFloat(number)
	if !ok {
		return 0, errors.New("is not a number")
	}
	if mark != 0 && f.separator == ';' {
		if f.decimal != 0 && f.decimal != mark {
			return 0, fmt.Errorf("has another decimal mark than the %c of the rows before", f.decimal)
		}
		f.decimal = mark
	}
	return value, nil
}

// expected says what a file should look like.
func (f *csvFile) expected() string {
	return fmt.Sprintf("expected rows of a timestamp (2014-03-01T00:00:01Z, or seconds since 1970) and a value, "+
		"separated by commas, semicolons or tabs, or a header that names the columns %s and %s", f.options.time,
		f.options.value)
}

func (f *csvFile) close() { f.text.close() }

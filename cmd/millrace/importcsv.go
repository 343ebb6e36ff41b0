package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// A csvFile reads rows of timestamp, value and perhaps metric from a CSV file.
type csvFile struct {
	path string
	name string // what its metric is called when no column says it
	file *os.File
	now  time.Time // what relative timestamps are relative to

	time, value int // columns
	metric      int // column; -1: none

	reader   *csv.Reader
	base     int64 // where in the file the reader began
	baseLine int   // lines before that
	line     int   // of the last row

	digest hash.Hash // of the first digested bytes
	hashed int64
}

// A csvRow is one row, or what is wrong with it.
type csvRow struct {
	line    int
	metric  string
	measure ingest.Measure
	bad     error
}

// openCSV opens a file and finds its columns. The first row is a header if it names
// the columns timestamp and value, and a row like the others if it names neither.
func openCSV(path, name, metricColumn string, now time.Time) (*csvFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &csvFile{path: path, name: name, file: file, now: now, value: 1, metric: -1, digest: sha256.New()}
	if err := f.header(metricColumn); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// header reads the first row, and goes to where the data begins.
func (f *csvFile) header(metricColumn string) error {
	if err := f.start(0); err != nil {
		return err
	}
	row, err := f.reader.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	find := func(name string) int {
		return slices.IndexFunc(row, func(cell string) bool { return strings.EqualFold(trim(cell), name) })
	}
	at, value := find("timestamp"), find("value")
	if (at >= 0) != (value >= 0) {
		return fmt.Errorf("the header %q does not name both timestamp and value", strings.Join(row, ","))
	}
	if metricColumn != "" {
		if at < 0 {
			return errors.New("there is no header with the columns timestamp and value, which --metric-column needs")
		}
		if f.metric = find(metricColumn); f.metric < 0 {
			return fmt.Errorf("the header %q does not name the metric column %s", strings.Join(row, ","), metricColumn)
		}
	}
	if at < 0 {
		return f.start(0)
	}
	f.time, f.value = at, value
	return f.start(f.position())
}

// trim takes off space, and the mark that some programs put at a file's start.
func trim(cell string) string { return strings.TrimSpace(strings.TrimPrefix(cell, "\ufeff")) }

// start goes to a place in the file at which a row begins.
func (f *csvFile) start(at int64) error {
	f.digest.Reset()
	f.hashed, f.base, f.baseLine = 0, 0, 0
	lines := new(lineCounter)
	n, err := io.Copy(io.MultiWriter(f.digest, lines), io.NewSectionReader(f.file, 0, at))
	if err != nil {
		return err
	}
	f.hashed, f.base, f.baseLine = n, at, int(*lines)
	if _, err := f.file.Seek(at, io.SeekStart); err != nil {
		return err
	}
	f.reader = csv.NewReader(f.file)
	f.reader.ReuseRecord = true
	f.reader.FieldsPerRecord = -1
	return nil
}

type lineCounter int

func (c *lineCounter) Write(p []byte) (int, error) {
	*c += lineCounter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}

// resume goes to where an earlier import has come to, if the file still is the one
// that it read.
func (f *csvFile) resume(done *fileImport) error {
	if err := f.start(done.Bytes); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if _, sum, err := f.progress(); err != nil {
		return err
	} else if f.hashed != done.Bytes || sum != done.SHA256 {
		return fmt.Errorf("%s is not the file any more that was imported up to byte %d: choose another --state to import it as a new one", f.path, done.Bytes)
	}
	return nil
}

// next returns the next row; io.EOF at the end. A row that makes no sense is
// returned with bad set, and reading can go on.
func (f *csvFile) next() (csvRow, error) {
	cells, err := f.reader.Read()
	if errors.Is(err, io.EOF) {
		return csvRow{}, io.EOF
	}
	row := csvRow{metric: f.name}
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		row.line, row.bad = f.baseLine+parse.StartLine, parse.Err
	} else if err != nil {
		return csvRow{}, fmt.Errorf("%s: %w", f.path, err)
	} else {
		line, _ := f.reader.FieldPos(0)
		row.line = f.baseLine + line
		row.bad = f.parse(cells, &row)
	}
	f.line = row.line
	return row, nil
}

func (f *csvFile) parse(cells []string, row *csvRow) error {
	if most := max(f.time, f.value, f.metric); len(cells) <= most {
		return fmt.Errorf("%d columns, want at least %d", len(cells), most+1)
	}
	at, err := gnocchi.ParseTime(trim(cells[f.time]), f.now)
	if err != nil {
		return fmt.Errorf("timestamp %q: %w", cells[f.time], err)
	}
	value, err := strconv.ParseFloat(trim(cells[f.value]), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // beyond the range is ±Inf, or 0
		return fmt.Errorf("value %q is not a number", cells[f.value])
	}
	if f.metric >= 0 {
		if row.metric = trim(cells[f.metric]); row.metric == "" {
			return errors.New("no metric is named")
		}
	}
	row.measure = ingest.Measure{Time: at, Value: value}
	return nil
}

// position is where in the file the next row begins.
func (f *csvFile) position() int64 { return f.base + f.reader.InputOffset() }

// progress returns the position and the SHA-256 of everything before it.
func (f *csvFile) progress() (at int64, sum string, err error) {
	at = f.position()
	n, err := io.Copy(f.digest, io.NewSectionReader(f.file, f.hashed, at-f.hashed))
	f.hashed += n
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", f.path, err)
	}
	return at, hex.EncodeToString(f.digest.Sum(nil)), nil
}

func (f *csvFile) close() { f.file.Close() }

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// A csvFile reads rows of timestamp, value and perhaps metric from a CSV file.
type csvFile struct {
	path   string
	name   string // what its metric is called when no column says it
	file   *os.File
	reader *csv.Reader
	time   int // columns
	value  int
	metric int // -1: none
	first  []string
	now    time.Time
}

// A csvRow is one row, or what is wrong with it.
type csvRow struct {
	line    int
	metric  string
	measure ingest.Measure
	bad     error
}

// openCSV opens a file and finds its columns. The first row is a header if it names
// them, or if its timestamp is none.
func openCSV(path, name, metricColumn string, now time.Time) (*csvFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &csvFile{path: path, name: name, file: file, reader: csv.NewReader(file), value: 1, metric: -1, now: now}
	f.reader.ReuseRecord = true
	f.reader.FieldsPerRecord = -1
	if err := f.header(metricColumn); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (f *csvFile) header(metricColumn string) error {
	row, err := f.reader.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	find := func(name string) int {
		return slices.IndexFunc(row, func(cell string) bool { return strings.EqualFold(strings.TrimSpace(cell), name) })
	}
	at, value := find("timestamp"), find("value")
	switch {
	case at >= 0 && value >= 0:
		f.time, f.value = at, value
	case at >= 0 || value >= 0:
		return fmt.Errorf("the header %q has no columns timestamp and value", strings.Join(row, ","))
	default:
		f.first = slices.Clone(row) // no header: a row like the others
	}
	if metricColumn != "" {
		if f.metric = find(metricColumn); f.metric < 0 {
			return fmt.Errorf("there is no column %q", metricColumn)
		}
	}
	return nil
}

// next returns the next row; io.EOF at the end. A row that makes no sense is
// returned with bad set, and reading can go on.
func (f *csvFile) next() (csvRow, error) {
	cells := f.first
	f.first = nil
	line := 1
	if cells == nil {
		var err error
		if cells, err = f.reader.Read(); errors.Is(err, io.EOF) {
			return csvRow{}, io.EOF
		} else if err != nil {
			if parse, ok := errors.AsType[*csv.ParseError](err); ok {
				return csvRow{line: parse.Line, bad: parse.Err}, nil
			}
			return csvRow{}, fmt.Errorf("%s: %w", f.path, err)
		}
		line, _ = f.reader.FieldPos(0)
	}
	row := csvRow{line: line, metric: f.name}
	row.bad = f.parse(cells, &row)
	return row, nil
}

func (f *csvFile) parse(cells []string, row *csvRow) error {
	if most := max(f.time, f.value, f.metric); len(cells) <= most {
		return fmt.Errorf("%d columns, want at least %d", len(cells), most+1)
	}
	at, err := gnocchi.ParseTime(strings.TrimSpace(cells[f.time]), f.now)
	if err != nil {
		return fmt.Errorf("timestamp %q: %w", cells[f.time], err)
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(cells[f.value]), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("value %q is not a number", cells[f.value])
	}
	if f.metric >= 0 {
		if row.metric = strings.TrimSpace(cells[f.metric]); row.metric == "" {
			return errors.New("no metric is named")
		}
	}
	row.measure = ingest.Measure{Time: at, Value: value}
	return nil
}

// position is how many bytes of the file have been read, for a progress bar.
func (f *csvFile) position() int64 { return f.reader.InputOffset() }

func (f *csvFile) close() { f.file.Close() }

// An importFile is a file to import.
type importFile struct {
	path, name string
	size       int64
}

// findCSV lists the files given, and every *.csv below the folders given. A file's
// name, below its folder and without its ending, is its metric's.
func findCSV(args []string) ([]importFile, error) {
	var files []importFile
	add := func(path, below string, size int64) {
		name := path
		if below != "" {
			if relative, err := filepath.Rel(below, path); err == nil {
				name = relative
			}
		} else {
			name = filepath.Base(path)
		}
		name = strings.TrimSuffix(filepath.ToSlash(name), ".csv")
		files = append(files, importFile{path, strings.ReplaceAll(name, "/", "."), size}) // a metric's name has no slash
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			add(arg, "", info.Size())
			continue
		}
		err = filepath.WalkDir(arg, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".csv") {
				return err
			}
			info, err := d.Info()
			if err == nil {
				add(path, arg, info.Size())
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("there are no .csv files")
	}
	return files, nil
}

package influxdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// stamp is a time as Flux and the API write it.
func stamp(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339Nano) }

// fluxText is a text in Flux.
func fluxText(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`).Replace(text) + `"`
}

// from begins a query of the bucket over [from, to). A range of 1.8 includes its end, one
// of 2.x does not.
func (d *Driver) from(b *strings.Builder, from, to int64) {
	from, to = max(from, minTime), min(to, endTime)
	if d.version() == 1 && to-1 > from {
		to--
	}
	fmt.Fprintf(b, "from(bucket: %s) |> range(start: %s, stop: %s)", fluxText(d.config.Bucket), stamp(from), stamp(to))
}

// errEnough ends a query of which enough has been read.
var errEnough = errors.New("enough")

// query runs a Flux query and calls visit with every row, of which nothing may be kept.
func (d *Driver) query(ctx context.Context, flux string, visit func(*row) error) error {
	return d.queryAnnotated(ctx, flux, []string{}, visit)
}

// byResult are the annotations that say which result of a query with several a row is of.
var byResult = []string{"default"}

// queryAnnotated is query with annotations.
func (d *Driver) queryAnnotated(ctx context.Context, flux string, annotations []string, visit func(*row) error) error {
	body, err := json.Marshal(map[string]any{
		"query": flux, "type": "flux", "dialect": map[string]any{"header": true, "delimiter": ",",
			"annotations": annotations},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends a request that isn't read to its end
	defer cancel()
	address := strings.TrimSuffix(d.config.URL, "/") + "/api/v2/query?" + url.Values{"org": {d.config.Org}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := d.client.HTTPService().DoHTTPRequestWithResponse(request, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/csv")
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := readRows(answer.Body, visit); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// A row is one row of a query's answer.
type row struct {
	result  string // by annotation
	columns map[string]int
	fields  [][]byte

	timeAt, valueAt, fieldAt, metricAt int // of the columns that most rows are read by; -1: none
}

// field is what the row has in a column; nil: nothing.
func (r *row) field(column string) []byte {
	if i, ok := r.columns[column]; ok && i < len(r.fields) {
		return r.fields[i]
	}
	return nil
}

func (r *row) text(column string) string { return string(r.field(column)) }

// maxRow bounds one line of an answer.
const maxRow = 4 << 20

// readRows reads Flux's CSV: tables with a header each, unless it is that of the table
// before, and empty lines between those. An error that occurs on the way is a table too.
func readRows(from io.Reader, visit func(*row) error) error {
	in := bufio.NewScanner(from)
	in.Buffer(make([]byte, 64<<10), maxRow)
	var r row
	header := true
	for in.Scan() {
		line := bytes.TrimSuffix(in.Bytes(), []byte("\r"))
		switch {
		case len(line) == 0:
			header = true
			continue
		case line[0] == '#':
			if rest, ok := bytes.CutPrefix(line, []byte("#default,")); ok {
				name, _, _ := bytes.Cut(rest, []byte(","))
				r.result, header = string(name), true
			}
			continue
		}
		var err error
		if r.fields, err = splitRow(r.fields[:0], line); err != nil {
			return fmt.Errorf("the answer of InfluxDB is no CSV: %w", err)
		}
		if header {
			r.begin()
			header = false
			continue
		}
		if at, failed := r.columns["error"]; failed && at < len(r.fields) {
			return fmt.Errorf("InfluxDB answers %q", oneLine(string(r.fields[at])))
		}
		if err := visit(&r); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("the answer of InfluxDB is cut: %w", err)
	}
	return nil
}

// begin takes the fields for a header.
func (r *row) begin() {
	r.columns = make(map[string]int, len(r.fields))
	for i, f := range r.fields {
		r.columns[string(f)] = i
	}
	at := func(column string) int {
		if i, ok := r.columns[column]; ok {
			return i
		}
		return -1
	}
	r.timeAt, r.valueAt, r.fieldAt, r.metricAt = at("_time"), at("_value"), at("_field"), at("metric")
}

// at is what the row has in a column by its place; nil: nothing.
func (r *row) at(i int) []byte {
	if i >= 0 && i < len(r.fields) {
		return r.fields[i]
	}
	return nil
}

// splitRow appends the fields of a line.
func splitRow(dst [][]byte, line []byte) ([][]byte, error) {
	if bytes.IndexByte(line, '"') >= 0 {
		fields, err := csv.NewReader(bytes.NewReader(line)).Read()
		for _, f := range fields {
			dst = append(dst, []byte(f))
		}
		return dst, err
	}
	for {
		i := bytes.IndexByte(line, ',')
		if i < 0 {
			return append(dst, line), nil
		}
		dst, line = append(dst, line[:i]), line[i+1:]
	}
}

var errTime = errors.New("not a time")

// parseTime reads a time of a row: 2006-01-02T15:04:05.999999999Z.
func parseTime(text []byte) (int64, error) {
	if len(text) < 20 || text[len(text)-1] != 'Z' || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
		text[13] != ':' || text[16] != ':' {
		return 0, fmt.Errorf("%w: %q", errTime, text)
	}
	ok := true
	number := func(digits []byte) int64 {
		n := int64(0)
		for _, c := range digits {
			ok = ok && c >= '0' && c <= '9'
			n = 10*n + int64(c-'0')
		}
		return n
	}
	days := daysOf(number(text[0:4]), number(text[5:7]), number(text[8:10]))
	seconds := days*86400 + number(text[11:13])*3600 + number(text[14:16])*60 + number(text[17:19])
	nanoseconds := int64(0)
	if fraction := text[19 : len(text)-1]; len(fraction) > 0 {
		digits := fraction[1:]
		ok = ok && fraction[0] == '.' && len(digits) <= 9
		nanoseconds = number(digits)
		for range 9 - len(digits) {
			nanoseconds *= 10
		}
	}
	if !ok {
		return 0, fmt.Errorf("%w: %q", errTime, text)
	}
	if seconds < 0 { // so that the first second of all doesn't overflow
		return (seconds+1)*1e9 + (nanoseconds - 1e9), nil
	}
	return seconds*1e9 + nanoseconds, nil
}

// daysOf counts the days from 1970-01-01 to a date of the Gregorian calendar (Howard
// Hinnant, days_from_civil).
func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	yearOfEra := year - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

// parseValue reads a float of a row.
func parseValue(text []byte) (float64, error) {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, fmt.Errorf("not a number: %q", text)
	}
	return v, nil
}

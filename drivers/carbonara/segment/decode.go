package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// readPolicies decodes the dictionary of names: a length of four bytes and the
// bytes of each. Names that are there already are not allocated again.
func (c *columnReader) readPolicies() error {
	b := c.dict
	old := c.policies
	c.policies = c.policies[:0]
	for i := range c.entries {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.LittleEndian.Uint32(b)) {
			return errors.New("dictionary is cut short")
		}
		n := binary.LittleEndian.Uint32(b)
		name := b[4:][:n]
		if i < len(old) && old[i] == string(name) {
			c.policies = append(c.policies, old[i])
		} else {
			c.policies = append(c.policies, string(name))
		}
		b = b[4+n:]
	}
	if len(b) != 0 {
		return fmt.Errorf("%d bytes after the dictionary", len(b))
	}
	return nil
}

// deltaColumns are the kinds of columns that are DELTA_BINARY_PACKED.
var deltaColumns = []columnKind{columnTime, columnRest, columnInt, columnCount}

// decode reads a page of a column of this kind.
func (c *columnReader) decode(kind columnKind, e format.Encoding, payload []byte, rows int) (err error) {
	switch {
	case e == format.RLEDictionary && (kind == columnMetric || kind == columnPolicy || kind == columnSpan):
		if len(payload) == 0 || payload[0] > 32 {
			return errors.New("malformed dictionary page")
		}
		c.plain = false
		c.runs, err = decodeRuns(c.runs[:0], payload[1:], int(payload[0]), rows)
		for _, run := range c.runs {
			if int(run.entry) >= c.entries {
				return fmt.Errorf("entry %d of a dictionary of %d", run.entry, c.entries)
			}
		}
		return err
	case e == format.Plain && kind == columnMetric:
		return c.decodeMetrics(payload, rows)
	case e == format.DeltaBinaryPacked && slices.Contains(deltaColumns, kind):
		if err := checkDelta(payload, rows); err != nil {
			return err
		}
		c.ints, err = new(delta.BinaryPackedEncoding).DecodeInt64(c.ints[:0], payload)
		if err == nil && len(c.ints) != rows {
			err = fmt.Errorf("%d values, not %d", len(c.ints), rows)
		}
		return err
	case kind == columnMeasure:
		c.doubles, err = decodeDoubles(c.doubles, payload, e, rows)
		return err
	case kind == columnDouble:
		return c.decodeNullable(payload, e, rows)
	}
	return fmt.Errorf("unexpected encoding %v", e)
}

// decodeMetrics takes a plain page for a dictionary.
func (c *columnReader) decodeMetrics(payload []byte, rows int) error {
	if len(payload) != rows*len(ingest.MetricID{}) {
		return fmt.Errorf("%d bytes for %d rows", len(payload), rows)
	}
	c.dict, c.entries, c.runs, c.plain = payload, rows, c.runs[:0], true
	return nil
}

// fillRuns finds the runs of a plain page of metrics; each uses the value in its
// first row.
func (c *columnReader) fillRuns() {
	if !c.plain {
		return
	}
	const size = len(ingest.MetricID{})
	first := 0
	for row := 1; row <= c.entries; row++ {
		if row < c.entries && string(c.dict[row*size:][:size]) == string(c.dict[first*size:][:size]) {
			continue
		}
		c.runs = append(c.runs, pageRun{uint32(first), int32(row)})
		first = row
	}
	c.plain = false
}

// decodeRuns reads Parquet's hybrid of runs and bit packing; see appendRuns.
func decodeRuns(dst []pageRun, src []byte, width, rows int) ([]pageRun, error) {
	row := 0
	add := func(entry uint32, n int) {
		row += n
		if last := len(dst) - 1; last >= 0 && dst[last].entry == entry {
			dst[last].end = int32(row)
			return
		}
		dst = append(dst, pageRun{entry, int32(row)})
	}
	for row < rows {
		h, n := binary.Uvarint(src)
		if n <= 0 || h>>1 == 0 || h>>1 > uint64(rows) {
			return dst, errors.New("malformed run")
		}
		src = src[n:]
		count := int(h >> 1)
		if h&1 == 0 { // one value
			size := (width + 7) / 8
			if len(src) < size {
				return dst, errors.New("run is cut short")
			}
			var value uint32
			for i, b := range src[:size] {
				value |= uint32(b) << (8 * i)
			}
			src = src[size:]
			if count > rows-row {
				return dst, errors.New("run is too long")
			}
			add(value, count)
			continue
		}
		size := count * width // groups of eight values
		if len(src) < size {
			return dst, errors.New("run is cut short")
		}
		for i := range min(8*count, rows-row) {
			add(unpackBits(src[:size], i*width, width), 1)
		}
		src = src[size:]
	}
	return dst, nil
}

// unpackBits returns width bits from bit at, the least significant first.
func unpackBits(src []byte, at, width int) (value uint32) {
	for got := 0; got < width; {
		i, shift := (at+got)/8, (at+got)%8
		value |= uint32(src[i]>>shift) << got
		got += 8 - shift
	}
	return value & uint32(1<<width-1)
}

// checkDelta looks at how many values a page of deltas announces, before somebody
// allocates them: block size, blocks' parts and the number are varints.
func checkDelta(payload []byte, rows int) error {
	var header [3]uint64
	for i := range header {
		v, n := binary.Uvarint(payload)
		if n <= 0 {
			return errors.New("malformed page of deltas")
		}
		header[i], payload = v, payload[n:]
	}
	if header[2] != uint64(rows) {
		return fmt.Errorf("%d values, not %d", header[2], rows)
	}
	return nil
}

func decodeDoubles(dst []float64, payload []byte, e format.Encoding, values int) ([]float64, error) {
	if len(payload) != 8*values {
		return dst, fmt.Errorf("%d bytes for %d values", len(payload), values)
	}
	if e != format.Plain {
		return dst, fmt.Errorf("unexpected encoding %v", e)
	}
	dst = slices.Grow(dst[:0], values)[:values]
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(payload[8*i:]))
	}
	return dst, nil
}

func (c *columnReader) decodeNullable(payload []byte, e format.Encoding, rows int) error {
	if len(payload) < 4 || uint64(len(payload)-4) < uint64(binary.LittleEndian.Uint32(payload)) {
		return errors.New("levels are cut short")
	}
	n := binary.LittleEndian.Uint32(payload)
	var err error
	if c.runs, err = decodeRuns(c.runs[:0], payload[4:][:n], 1, rows); err != nil {
		return err
	}
	values := 0
	c.flags = slices.Grow(c.flags[:0], rows)[:rows]
	begin := int32(0)
	for _, run := range c.runs {
		for i := begin; i < run.end; i++ {
			c.flags[i] = run.entry == 1
		}
		if run.entry == 1 {
			values += int(run.end - begin)
		}
		begin = run.end
	}
	payload = payload[4+n:]
	if values == rows {
		c.present = c.flags
		c.doubles, err = decodeDoubles(c.doubles, payload, e, rows)
		return err
	}
	if c.dense, err = decodeDoubles(c.dense, payload, e, values); err != nil {
		return err
	}
	if values == 0 {
		c.present = nil
		return nil
	}
	c.present = c.flags
	c.spread(rows)
	return nil
}

// spread puts the values between the nulls.
func (c *columnReader) spread(rows int) {
	c.doubles = slices.Grow(c.doubles[:0], rows)[:rows]
	next := 0
	for i, present := range c.flags {
		c.doubles[i] = 0
		if present {
			c.doubles[i] = c.dense[next]
			next++
		}
	}
}

// metric is the metric of a run of the page.
func (c *columnReader) metric(run int) ingest.MetricID { return c.entry(int(c.runs[run].entry)) }

// entry is a metric of the dictionary.
func (c *columnReader) entry(i int) ingest.MetricID {
	const size = len(ingest.MetricID{})
	return ingest.MetricID(c.dict[i*size:][:size])
}

// span is the granularity of a run of the page.
func (c *columnReader) span(run int) int64 {
	return int64(binary.LittleEndian.Uint64(c.dict[8*int(c.runs[run].entry):]))
}

// policy is the archive policy of a run of the page.
func (c *columnReader) policy(run int) string { return c.policies[c.runs[run].entry] }

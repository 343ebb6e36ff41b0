package carbonara

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// A description gathers what a segment's description says of its rows.
type description struct {
	segment
}

func (d *description) see(id ingest.MetricID, rows int, first, last int64) {
	if d.Rows == 0 {
		d.MinMetric, d.MinTime, d.MaxTime = id, first, last
	}
	d.MaxMetric = id
	d.MinTime, d.MaxTime = min(d.MinTime, first), max(d.MaxTime, last)
	d.Rows += int64(rows)
}

// take returns the description of a file and empties it.
func (d *description) take(k kind, file []byte) segment {
	s := d.segment
	s.Kind, s.Bytes = k, int64(len(file))
	d.segment = segment{}
	return s
}

func metadataOf(k kind, more ...format.KeyValue) []format.KeyValue {
	return append([]format.KeyValue{{Key: keyFormat, Value: formatVersion}, {Key: keyKind, Value: string(k)}}, more...)
}

// A rawEncoder makes raw segments; see encoder.
type rawEncoder struct {
	file   *segmentWriter
	metric *dictWriter[ingest.MetricID]
	policy *dictWriter[string]
	times  *intWriter
	values *doubleWriter
	lates  []lateTotal
	seen   description
}

func newRawEncoder() *rawEncoder {
	z := newPageCompressor()
	e := &rawEncoder{
		metric: newMetricWriter(z), policy: newPolicyWriter(z),
		times: &intWriter{z: z, bounded: true}, values: &doubleWriter{z: z},
	}
	e.file = newSegmentWriter(kindRaw, rawColumns, []columnWriter{e.metric, e.policy, e.times, e.values})
	return e
}

func (e *rawEncoder) add(run rawRun) {
	measures := run.Measures
	if len(measures) == 0 {
		return
	}
	e.seen.see(run.Metric, len(measures), measures[0].Time, measures[len(measures)-1].Time)
	for len(measures) > 0 {
		n := min(len(measures), e.file.room())
		e.metric.append(run.Metric, n)
		e.policy.append(run.Policy, n)
		for _, m := range measures[:n] {
			e.times.values = append(e.times.values, m.Time)
			e.values.values = append(e.values.values, m.Value)
		}
		e.file.advance(n)
		measures = measures[n:]
	}
}

// late adds totals that the file will carry.
func (e *rawEncoder) late(totals []lateTotal) { e.lates = append(e.lates, totals...) }

func (e *rawEncoder) rows() int64 { return e.seen.Rows }

func (e *rawEncoder) size() int64 {
	return e.file.size() + int64(len(e.lates))*(16+binary.MaxVarintLen64)*4/3
}

func (e *rawEncoder) finish() ([]byte, segment, error) {
	metadata := metadataOf(kindRaw)
	if len(e.lates) > 0 {
		metadata = append(metadata, format.KeyValue{Key: keyLate, Value: formatLates(e.lates)})
	}
	e.lates = e.lates[:0]
	file, err := e.file.finish(metadata)
	return file, e.seen.take(kindRaw, file), err
}

// formatLates writes for each total the metric's 16 bytes and the count as a
// varint, in base64.
func formatLates(totals []lateTotal) string {
	var b []byte
	for _, t := range totals {
		b = append(b, t.Metric[:]...)
		b = binary.AppendUvarint(b, t.Late)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// A stateEncoder makes state segments; see encoder. The times of its description
// are those of Newest.
type stateEncoder struct {
	file                 *segmentWriter
	metric               *dictWriter[ingest.MetricID]
	policy               *dictWriter[string]
	newest, late, sealed *intWriter
	seen                 description
}

func newStateEncoder() *stateEncoder {
	z := newPageCompressor()
	e := &stateEncoder{
		metric: newMetricWriter(z), policy: newPolicyWriter(z),
		newest: &intWriter{z: z, bounded: true}, late: &intWriter{z: z}, sealed: &intWriter{z: z},
	}
	e.file = newSegmentWriter(kindState, stateColumns, []columnWriter{e.metric, e.policy, e.newest, e.late, e.sealed})
	return e
}

func (e *stateEncoder) add(row stateRow) {
	e.seen.see(row.Metric, 1, row.Newest, row.Newest)
	e.metric.append(row.Metric, 1)
	e.policy.append(row.Policy, 1)
	e.newest.values = append(e.newest.values, row.Newest)
	e.late.values = append(e.late.values, int64(row.Late))
	e.sealed.values = append(e.sealed.values, row.Sealed)
	e.file.advance(1)
}

func (e *stateEncoder) rows() int64 { return e.seen.Rows }
func (e *stateEncoder) size() int64 { return e.file.size() }

func (e *stateEncoder) finish() ([]byte, segment, error) {
	file, err := e.file.finish(metadataOf(kindState))
	return file, e.seen.take(kindState, file), err
}

// A sealedEncoder makes sealed segments; see encoder. A mean that is the quotient
// of the sum and the count beside it is not written: readers divide again.
type sealedEncoder struct {
	file             *segmentWriter
	methods          []ingest.Method
	mean, sum, count int // indexes of methods; -1 if it isn't there
	metric           *dictWriter[ingest.MetricID]
	span             *dictWriter[int64]
	times            *intWriter
	values           []*doubleWriter // one per method
	seen             description
}

func newSealedEncoder(methods []ingest.Method) *sealedEncoder {
	z := newPageCompressor()
	e := &sealedEncoder{
		methods: slices.Clone(methods),
		metric:  newMetricWriter(z), span: newSpanWriter(z), times: &intWriter{z: z, bounded: true},
	}
	e.mean, e.sum, e.count = quotient(methods)
	columns := []columnWriter{e.metric, e.span, e.times}
	for range methods {
		w := &doubleWriter{z: z, nullable: true}
		e.values = append(e.values, w)
		columns = append(columns, w)
	}
	e.file = newSegmentWriter(kindSealed, sealedColumns(methods), columns)
	return e
}

// quotient finds the methods mean, sum and count in a list; -1 for one that isn't there.
func quotient(methods []ingest.Method) (mean, sum, count int) {
	return slices.Index(methods, ingest.Mean), slices.Index(methods, ingest.Sum), slices.Index(methods, ingest.Count)
}

func (e *sealedEncoder) add(run sealedRun) {
	rows := len(run.Times)
	if rows == 0 {
		return
	}
	e.seen.see(run.Metric, rows, run.Times[0], run.Times[rows-1])
	e.seen.Coarsest = max(e.seen.Coarsest, run.Granularity)
	for begin := 0; begin < rows; {
		n := min(rows-begin, e.file.room())
		e.metric.append(run.Metric, n)
		e.span.append(int64(run.Granularity), n)
		e.times.values = append(e.times.values, run.Times[begin:begin+n]...)
		for i, w := range e.values {
			e.addValues(w, i, run, begin, begin+n)
		}
		e.file.advance(n)
		begin += n
	}
}

func (e *sealedEncoder) addValues(w *doubleWriter, method int, run sealedRun, begin, end int) {
	present := run.Present[method]
	if present == nil {
		w.appendNulls(end - begin)
		return
	}
	values := run.Values[method]
	drop := method == e.mean && e.sum >= 0 && e.count >= 0
	for i := begin; i < end; i++ {
		if !present[i] || drop && e.isQuotient(run, i) {
			w.appendNulls(1)
		} else {
			w.append(values[i])
		}
	}
}

// isQuotient says whether the mean of a row is what a reader gets from its sum and
// its count, to the bit.
func (e *sealedEncoder) isQuotient(run sealedRun, row int) bool {
	sums, counts := run.Present[e.sum], run.Present[e.count]
	return sums != nil && counts != nil && sums[row] && counts[row] &&
		math.Float64bits(run.Values[e.sum][row]/run.Values[e.count][row]) == math.Float64bits(run.Values[e.mean][row])
}

func (e *sealedEncoder) rows() int64 { return e.seen.Rows }
func (e *sealedEncoder) size() int64 { return e.file.size() }

func (e *sealedEncoder) finish() ([]byte, segment, error) {
	names := make([]string, len(e.methods))
	for i, m := range e.methods {
		names[i] = m.String()
	}
	file, err := e.file.finish(metadataOf(kindSealed, format.KeyValue{Key: keyMethods, Value: strings.Join(names, ",")}))
	return file, e.seen.take(kindSealed, file), err
}

var _, _, _ encoder = &rawEncoder{}, &stateEncoder{}, &sealedEncoder{}

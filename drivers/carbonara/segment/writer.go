package segment

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
	Info
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
func (d *description) take(k Kind, file []byte) Info {
	s := d.Info
	s.Kind, s.Bytes = k, int64(len(file))
	d.Info = Info{}
	return s
}

func metadataOf(k Kind, more ...format.KeyValue) []format.KeyValue {
	return append([]format.KeyValue{{Key: keyFormat, Value: formatVersion}, {Key: keyKind, Value: string(k)}}, more...)
}

// A RawWriter makes raw segments; see Writer.
type RawWriter struct {
	file   *fileWriter
	metric *dictWriter[ingest.MetricID]
	policy *dictWriter[string]
	times  *timeWriter
	values *doubleWriter
	lates  []LateTotal
	seen   description
}

func NewRawWriter() *RawWriter {
	z := newPageCompressor()
	e := &RawWriter{
		metric: newMetricWriter(z), policy: newPolicyWriter(z),
		times: newTimeWriter(z), values: &doubleWriter{z: z},
	}
	columns := []columnWriter{e.metric, e.policy, &e.times.micros, e.values, &e.times.rest}
	e.file = newFileWriter(Raw, withRest(rawColumns), columns)
	return e
}

func (e *RawWriter) Add(run RawRun) {
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
			e.times.append(m.Time)
			e.values.values = append(e.values.values, m.Value)
		}
		e.file.advance(n)
		measures = measures[n:]
	}
}

// Late adds totals that the file will carry.
func (e *RawWriter) Late(totals []LateTotal) { e.lates = append(e.lates, totals...) }

func (e *RawWriter) Rows() int64 { return e.seen.Rows }

func (e *RawWriter) Size() int64 {
	return e.file.size() + int64(len(e.lates))*(16+binary.MaxVarintLen64)*4/3
}

func (e *RawWriter) Finish() ([]byte, Info, error) {
	metadata := metadataOf(Raw)
	if len(e.lates) > 0 {
		metadata = append(metadata, format.KeyValue{Key: keyLate, Value: formatLates(e.lates)})
	}
	e.lates = e.lates[:0]
	file, err := e.file.finish(metadata)
	return file, e.seen.take(Raw, file), err
}

// formatLates writes for each total the metric's 16 bytes and the count as a
// varint, in base64.
func formatLates(totals []LateTotal) string {
	var b []byte
	for _, t := range totals {
		b = append(b, t.Metric[:]...)
		b = binary.AppendUvarint(b, t.Late)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// A StateWriter makes state segments; see Writer. The times of its description
// are those of Newest.
type StateWriter struct {
	file         *fileWriter
	metric       *dictWriter[ingest.MetricID]
	policy       *dictWriter[string]
	newest       *timeWriter
	late, sealed *intWriter
	seen         description
}

func NewStateWriter() *StateWriter {
	z := newPageCompressor()
	e := &StateWriter{
		metric: newMetricWriter(z), policy: newPolicyWriter(z),
		newest: newTimeWriter(z), late: &intWriter{z: z}, sealed: &intWriter{z: z},
	}
	columns := []columnWriter{e.metric, e.policy, &e.newest.micros, e.late, e.sealed, &e.newest.rest}
	e.file = newFileWriter(State, withRest(stateColumns), columns)
	return e
}

func (e *StateWriter) Add(row StateRow) {
	e.seen.see(row.Metric, 1, row.Newest, row.Newest)
	e.metric.append(row.Metric, 1)
	e.policy.append(row.Policy, 1)
	e.newest.append(row.Newest)
	e.late.values = append(e.late.values, int64(row.Late))
	e.sealed.values = append(e.sealed.values, row.Sealed)
	e.file.advance(1)
}

func (e *StateWriter) Rows() int64 { return e.seen.Rows }
func (e *StateWriter) Size() int64 { return e.file.size() }

func (e *StateWriter) Finish() ([]byte, Info, error) {
	file, err := e.file.finish(metadataOf(State))
	return file, e.seen.take(State, file), err
}

// A SealedWriter makes sealed segments; see Writer. A mean that is the quotient
// of the sum and the count beside it is not written: readers divide again.
type SealedWriter struct {
	z                *pageCompressor
	file             *fileWriter
	methods          []ingest.Method
	mean, sum, count int // indexes of methods; -1 if it isn't there
	metric           *dictWriter[ingest.MetricID]
	span             *dictWriter[int64]
	times            *timeWriter
	values           []*doubleWriter // one per method
	seen             description
}

func NewSealedWriter(methods []ingest.Method) *SealedWriter {
	return newSealedWriter(methods, newPageCompressor())
}

// Another returns a writer like e, for the same goroutine: they share some memory.
func (e *SealedWriter) Another() *SealedWriter { return newSealedWriter(e.methods, e.z) }

func newSealedWriter(methods []ingest.Method, z *pageCompressor) *SealedWriter {
	e := &SealedWriter{
		z: z, methods: slices.Clone(methods),
		metric: newMetricWriter(z), span: newSpanWriter(z), times: newTimeWriter(z),
	}
	e.mean, e.sum, e.count = quotient(methods)
	columns := []columnWriter{e.metric, e.span, &e.times.micros}
	for range methods {
		w := &doubleWriter{z: z, nullable: true}
		e.values = append(e.values, w)
		columns = append(columns, w)
	}
	columns = append(columns, &e.times.rest)
	e.file = newFileWriter(Sealed, withRest(sealedColumns(methods)), columns)
	return e
}

// quotient finds the methods mean, sum and count in a list; -1 for one that isn't there.
func quotient(methods []ingest.Method) (mean, sum, count int) {
	return slices.Index(methods, ingest.Mean), slices.Index(methods, ingest.Sum), slices.Index(methods, ingest.Count)
}

func (e *SealedWriter) Add(run SealedRun) {
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
		for _, at := range run.Times[begin : begin+n] {
			e.times.append(at)
		}
		for i, w := range e.values {
			e.addValues(w, i, run, begin, begin+n)
		}
		e.file.advance(n)
		begin += n
	}
}

func (e *SealedWriter) addValues(w *doubleWriter, method int, run SealedRun, begin, end int) {
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
func (e *SealedWriter) isQuotient(run SealedRun, row int) bool {
	sums, counts := run.Present[e.sum], run.Present[e.count]
	return sums != nil && counts != nil && sums[row] && counts[row] &&
		math.Float64bits(run.Values[e.sum][row]/run.Values[e.count][row]) == math.Float64bits(run.Values[e.mean][row])
}

func (e *SealedWriter) Rows() int64 { return e.seen.Rows }
func (e *SealedWriter) Size() int64 { return e.file.size() }

func (e *SealedWriter) Finish() ([]byte, Info, error) {
	names := make([]string, len(e.methods))
	for i, m := range e.methods {
		names[i] = m.String()
	}
	file, err := e.file.finish(metadataOf(Sealed, format.KeyValue{Key: keyMethods, Value: strings.Join(names, ",")}))
	return file, e.seen.take(Sealed, file), err
}

var _, _, _ Writer = &RawWriter{}, &StateWriter{}, &SealedWriter{}

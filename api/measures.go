package api

import (
	"net/http"
	"net/url"
	"time"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/ingest"
)

// postMeasures answers POST /v1/metric/<id>/measures.
func (q *request) postMeasures() error { return q.refused(q.acceptMeasures()) }

func (q *request) acceptMeasures() error {
	if err := q.permit(auth.PostMeasures); err != nil {
		return err
	}
	if err := q.needType(typeJSON); err != nil {
		return err
	}
	p := q.preferences()
	b, err := q.readBody(q.config.MaxBody)
	if err != nil {
		return err
	}
	defer b.release()
	s := q.newScan(p.lenient)
	defer q.putScan(s)
	err = gnocchi.ScanMeasures(b.data, q.now(), &s.body, q.target.id)
	b.release() // soon: a scan keeps nothing of the body
	if err != nil {
		return invalidMeasures(err, false)
	}
	s.takeBad()
	for i := range s.body.Entries {
		s.body.Entries[i].Policy = q.target.policy
	}
	return fromTheFuture(q.submit(s, p), false)
}

// A selection is what a GET of measures asks for.
type selection struct {
	method        ingest.Method
	granularities []time.Duration // coarsest first
	resample      resample
	start, stop   int64
	refresh       bool
}

// getMeasures answers GET /v1/metric/<id>/measures.
func (q *request) getMeasures() error {
	if err := q.permit(auth.GetMeasures); err != nil {
		return err
	}
	policy, err := q.index.Policy(q.ctx, q.target.policy)
	if err != nil {
		return err
	}
	sel, err := q.selection(q.r.URL.Query(), policy)
	if err != nil {
		return err
	}
	if err := q.awaitPosition(); err != nil {
		return err
	}
	if sel.refresh {
		if err := q.refresh(q.target.id); err != nil {
			return err
		}
	}
	series, err := q.read(sel, policy)
	if err != nil {
		return err
	}
	return q.rows(sel, series)
}

// selection reads the parameters, in the order in which the v1 API finds fault
// with them.
func (q *request) selection(values url.Values, policy *ingest.ArchivePolicy) (sel selection, err error) {
	if sel.resample, err = parseResample(values); err != nil {
		return sel, err
	}
	if sel.start, err = q.instant(values, "start", ingest.MinTime); err != nil {
		return sel, err
	}
	if sel.stop, err = q.instant(values, "stop", ingest.MaxTime); err != nil {
		return sel, err
	}
	granularity, given, err := scalar(values, "granularity")
	if err != nil {
		return sel, err
	}
	sel.granularities = policy.Granularities()
	if given {
		g, err := gnocchi.ParseTimespan(granularity)
		if err != nil {
			return sel, badArgument("granularity", err.Error())
		}
		sel.granularities = []time.Duration{g}
	}
	if sel.method, err = q.method(values, policy); err != nil {
		return sel, err
	}
	for _, g := range sel.granularities {
		if _, ok := policy.Find(g); !ok {
			return sel, notFound("Aggregation method '" + sel.method.String() + "' at granularity '" + ingest.FormatSeconds(g) +
				"' for metric " + q.target.id.String() + " does not exist")
		}
	}
	sel.refresh, err = flag(values, "refresh", false)
	return sel, err
}

// method reads the aggregation method, which the policy must have.
func (q *request) method(values url.Values, policy *ingest.ArchivePolicy) (ingest.Method, error) {
	name, given, err := scalar(values, "aggregation")
	if err != nil {
		return 0, err
	}
	if !given {
		name = "mean"
	}
	m, ok := ingest.ParseMethod(name)
	if !ok || !policy.Methods.Has(m) {
		return 0, notFound(cause{
			cause:  "Aggregation method does not exist for this metric",
			detail: map[string]any{"metric": q.target.id, "aggregation_method": name},
		})
	}
	return m, nil
}

// read asks the driver for every granularity at once.
func (q *request) read(sel selection, policy *ingest.ArchivePolicy) ([][]ingest.Measure, error) {
	from, to := sel.resample.bounds(sel.start, sel.stop)
	queries := make([]ingest.Query, len(sel.granularities))
	for i, g := range sel.granularities {
		queries[i] = ingest.Query{Metric: q.target.id, Policy: policy, Granularity: g, Method: sel.method, From: from, To: to}
	}
	series := make([][]ingest.Measure, len(queries))
	if err := q.readSeries(queries, series); err != nil {
		if !ingest.IsPermanent(err) && failureOf(err) == nil {
			q.log.Error("cannot read measures", "metric", q.target.id.String(), "err", err)
			return nil, unavailable("Measures can't be read at this moment. Please try again.")
		}
		return nil, err
	}
	for i, rows := range series {
		series[i] = sel.resample.apply(rows, sel.method, sel.start, sel.stop)
	}
	return series, nil
}

// Sizes of the pieces in which rows are written: an answer that fits into one
// piece has a Content-Length, a longer one is streamed.
const (
	rowsPiece = 4096
	sendBytes = 256 << 10
)

// rows answers with series as [timestamp, granularity, value] rows.
func (q *request) rows(sel selection, series [][]ingest.Measure) error {
	slot, _ := q.buffers.Get().(*[]byte)
	if slot == nil {
		slot = new([]byte)
	}
	buf := append((*slot)[:0], '[')
	defer func() {
		*slot = buf[:0]
		q.buffers.Put(slot)
	}()
	q.w.Header()["Content-Type"] = []string{typeJSON}
	for i, rows := range series {
		granularity := sel.resample.column(sel.granularities[i])
		for len(rows) > 0 {
			n := min(len(rows), rowsPiece)
			buf = gnocchi.AppendRows(buf, rows[:n], granularity)
			rows = rows[n:]
			if len(buf) < sendBytes {
				continue
			}
			q.status = http.StatusOK
			last := len(buf) - 1 // stays: AppendRows looks at it
			if _, err := q.w.Write(buf[:last]); err != nil {
				return nil // nobody listens
			}
			buf[0] = buf[last]
			buf = buf[:1]
		}
	}
	buf = append(buf, ']')
	if q.status == 0 {
		return q.bytes(http.StatusOK, typeJSON, buf)
	}
	q.w.Write(buf)
	return nil
}

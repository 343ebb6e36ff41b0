package api

import "millrace/api/gnocchi"

// postBatch answers POST /v1/batch/metrics/measures: all of it, or nothing unless
// the client prefers lenient handling.
func (q *request) postBatch() error { return q.refused(q.acceptBatch()) }

func (q *request) acceptBatch() error {
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
	err = gnocchi.ScanBatch(b.data, q.now(), &s.body)
	b.release() // soon: a scan keeps nothing of the body
	if err != nil {
		return invalidMeasures(err, true)
	}
	s.takeBad()
	if err := q.resolve(s); err != nil {
		return err
	}
	return fromTheFuture(q.submit(s, p), true)
}

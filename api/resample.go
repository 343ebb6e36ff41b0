package api

import (
	"net/url"
	"strconv"
	"time"

	"millrace/api/gnocchi"
	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// A resample asks for rows to be aggregated once more, by the same method: into
// longer buckets or into calendar groups. The zero value leaves them alone.
type resample struct {
	every    time.Duration
	calendar aggregate.Calendar
}

// parseResample reads the resample parameter. An empty one is none.
func parseResample(values url.Values) (resample, error) {
	text, _, err := scalar(values, "resample")
	if err != nil || text == "" {
		return resample{}, err
	}
	if !values.Has("granularity") {
		return resample{}, badRequest("A granularity must be specified to resample")
	}
	if c, ok := aggregate.ParseCalendar(text); ok {
		return resample{calendar: c}, nil
	}
	every, err := gnocchi.ParseTimespan(text)
	if err != nil {
		return resample{}, badRequest(err.Error())
	}
	return resample{every: every}, nil
}

// bounds widens a range so that it covers whole the first and the last of the
// resampled buckets that it touches.
func (r resample) bounds(start, stop int64) (from, to int64) {
	switch {
	case r.calendar != 0:
		return aggregate.CoverCalendar(r.calendar, start, stop)
	case r.every != 0:
		return aggregate.Cover(r.every, start, stop)
	}
	return start, stop
}

// apply resamples rows and cuts the result to the range asked for: the bucket of
// start to the last that begins before stop.
func (r resample) apply(rows []ingest.Measure, m ingest.Method, start, stop int64) []ingest.Measure {
	switch {
	case r.calendar != 0:
		return aggregate.RangeCalendar(aggregate.ResampleCalendar(nil, rows, r.calendar, m), r.calendar, start, stop)
	case r.every != 0:
		return aggregate.Range(aggregate.Resample(nil, rows, r.every, m), r.every, start, stop)
	}
	return rows
}

// whole returns how many rows belong to buckets that later rows can't belong to.
func (r resample) whole(rows []ingest.Measure) int {
	if len(rows) == 0 {
		return 0
	}
	last := rows[len(rows)-1].Time
	if r.calendar != 0 {
		return aggregate.Search(rows, r.calendar.Floor(last))
	}
	return aggregate.Search(rows, ingest.Floor(last, r.every))
}

// column is what the granularity column of rows says, as JSON.
func (r resample) column(granularity time.Duration) string {
	switch {
	case r.calendar != 0:
		return strconv.Quote(r.calendar.String())
	case r.every != 0:
		return ingest.FormatSeconds(r.every)
	}
	return ingest.FormatSeconds(granularity)
}

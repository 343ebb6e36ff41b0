package gnocchi

import (
	"slices"

	"millrace/ingest"
)

// AppendRows appends the rows of one granularity to a list of JSON that dst ends
// in, each as ["2015-03-06T14:33:57+00:00", 60.0, 43.1]. It puts the comma that is
// due before a row unless dst ends with the bracket that opens the list, so that
// the granularities of a metric follow each other: the caller writes both brackets.
//
// The granularity is a token of JSON: seconds as a float, or a calendar letter in
// quotes.
func AppendRows(dst []byte, rows []ingest.Measure, granularity string) []byte {
	const (
		date  = len(`["2015-03-06T`)
		usual = len(`, ["2015-03-06T14:33:57+00:00", , 123.4567890123456]`)
	)
	dst = slices.Grow(dst, len(rows)*(usual+len(granularity)))
	opening := []byte(`["0000-00-00T`)
	first, last := int64(1), int64(0) // the seconds of the day that opening has
	for _, row := range rows {
		sec, nsec := row.Time/1e9, row.Time%1e9
		if nsec < 0 {
			sec, nsec = sec-1, nsec+1e9
		}
		if sec < first || sec > last {
			day := ingest.Floor(sec, 86400)
			first, last = day, day+86399
			appendDate(opening[:2], day/86400)
		}
		if len(dst) > 0 && dst[len(dst)-1] != '[' {
			dst = append(dst, ", "...)
		}
		dst = append(dst, opening[:date]...)
		dst = appendClock(dst, int(sec-first), int(nsec))
		dst = append(dst, `", `...)
		dst = append(dst, granularity...)
		dst = append(dst, ", "...)
		dst = AppendFloat(dst, row.Value)
		dst = append(dst, ']')
	}
	return dst
}

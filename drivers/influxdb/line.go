package influxdb

import (
	"math"
	"strconv"
	"strings"
	"unicode"

	"millrace/ingest"
)

// Names of the schema; see the package's description.
const (
	measures   = "measures"
	watermarks = "millrace_watermark"
	deletions  = "millrace_deleted"

	descriptions = "metrics"
)

// What InfluxDB has no number for, as the field special says it.
const (
	specialNone = iota
	specialNaN
	specialPlus
	specialMinus
)

// placeholder is the value of a point whose field special counts. It is a number that
// hardly anybody measures, and draws as 0.
const placeholder = math.SmallestNonzeroFloat64

// The times that InfluxDB can store, but for the very last, which no range reaches beyond.
const (
	minTime int64 = math.MinInt64 + 2
	maxTime int64 = math.MaxInt64 - 2
	endTime       = maxTime + 1 // behind it
)

// AppendSeries appends what begins each line of a metric in line protocol: measurement,
// tags and the name of the field.
func AppendSeries(dst []byte, id ingest.MetricID, l *ingest.Labels) []byte {
	dst = append(dst, measures+",metric="...)
	dst = id.AppendText(dst)
	dst = appendTag(dst, ",name=", l.Name)
	dst = appendTag(dst, ",resource=", l.Resource)
	dst = appendTag(dst, ",resource_type=", l.ResourceType)
	return append(dst, " value="...)
}

// appendTag appends a tag with the key as it is written, unless its value is empty.
func appendTag(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendEscaped(append(dst, key...), value)
}

// validText is a text without what is no UTF-8.
func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// appendEscaped appends what is no text in quotes: a tag's value, or a field's key.
func appendEscaped(dst []byte, value string) []byte {
	for _, r := range validText(value) {
		switch {
		case r == ',' || r == '=' || r == ' ':
			dst = append(dst, '\\', byte(r))
		case r == '\\':
			dst = append(dst, '/')
		case unicode.IsControl(r):
			dst = append(dst, '\\', ' ')
		case r < 0x80:
			dst = append(dst, byte(r))
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}

// AppendMeasure appends the line of one measure of a series, with its time in nanoseconds,
// which must be one that InfluxDB can store.
func AppendMeasure(dst []byte, series string, m ingest.Measure) []byte {
	dst = append(dst, series...)
	special := specialOf(m.Value)
	if special == specialNone {
		dst = appendNumber(dst, m.Value)
	} else {
		dst = appendNumber(dst, placeholder)
	}
	if special != specialNone || m.Value == placeholder {
		dst = append(dst, ",special="...)
		dst = append(dst, '0'+byte(special), 'i')
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, m.Time, 10)
	return append(dst, '\n')
}

// appendNumber appends a finite number. Whole ones, which are most, take the short way.
func appendNumber(dst []byte, v float64) []byte {
	if n := int64(v); float64(n) == v && n < 1<<53 && n > -1<<53 && (n != 0 || !math.Signbit(v)) {
		return strconv.AppendInt(dst, n, 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

func specialOf(v float64) int {
	switch {
	case v != v:
		return specialNaN
	case v > math.MaxFloat64:
		return specialPlus
	case v < -math.MaxFloat64:
		return specialMinus
	}
	return specialNone
}

// valueOf is the value of a point.
func valueOf(value float64, special int) float64 {
	if value != placeholder {
		return value // written over what was special
	}
	switch special {
	case specialNaN:
		return math.NaN()
	case specialPlus:
		return math.Inf(1)
	case specialMinus:
		return math.Inf(-1)
	}
	return value
}

// appendText appends a field's value that is a text.
func appendText(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}

package gnocchi

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

var (
	testNow = time.Date(2016, 11, 1, 15, 7, 12, 500, time.UTC)
	testID  = ingest.MetricID{0x5c, 15: 1}
)

// A scan is what one of the three readers made of a body.
type scan struct {
	Entries []scannedEntry
	Bad     []MeasuresError
	Err     error
}

type scannedEntry struct {
	Metric   string
	Measures []scannedMeasure
}

// A scannedMeasure compares values bit by bit.
type scannedMeasure struct {
	Time int64
	Bits uint64
}

func scanned(b *Batch, err error) scan {
	s := scan{Err: err, Bad: b.Bad}
	for _, e := range b.Entries {
		entry := scannedEntry{Metric: e.Metric.String()}
		for _, m := range e.Measures {
			entry.Measures = append(entry.Measures, scannedMeasure{m.Time, math.Float64bits(m.Value)})
		}
		s.Entries = append(s.Entries, entry)
	}
	return s
}

// agree has a body read by the scanner, by the slow path and by the oracle, as
// measures of one metric and as a batch, strictly and leniently.
func agree(t *testing.T, data []byte) {
	t.Helper()
	for _, lenient := range []bool{false, true} {
		for name, read := range map[string][3]func(*Batch) error{
			"measures": {
				func(b *Batch) error { return ScanMeasures(data, testNow, b, testID) },
				func(b *Batch) error { return slowMeasures(data, testNow, b, testID) },
				func(b *Batch) error { return oracleMeasures(data, testNow, b, testID) },
			},
			"batch": {
				func(b *Batch) error { return ScanBatch(data, testNow, b) },
				func(b *Batch) error { return slowBatch(data, testNow, b) },
				func(b *Batch) error { return oracleBatch(data, testNow, b) },
			},
		} {
			var scans [3]scan
			for i, read := range read {
				b := Batch{Lenient: lenient}
				scans[i] = scanned(&b, read(&b))
			}
			if diff := cmp.Diff(scans[2], scans[1]); diff != "" {
				t.Errorf("%s of %q, lenient %v: the slow path differs from the oracle\n%s", name, data, lenient, diff)
			}
			if diff := cmp.Diff(scans[2], scans[0]); diff != "" {
				t.Errorf("%s of %q, lenient %v: the scanner differs from the oracle\n%s", name, data, lenient, diff)
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.body))
	}
	for _, stamp := range stamps {
		f.Add(body(2, 2, stamp.write))
	}
	f.Fuzz(agree)
}

// FuzzScanMade reads bodies made of what clients send and of what they shouldn't.
func FuzzScanMade(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := maker{rand.New(rand.NewPCG(seed, 0))}
		agree(t, []byte(m.body()))
	})
}

// A maker makes bodies, most of them good.
type maker struct{ *rand.Rand }

func (m maker) oneIn(n int) bool { return m.IntN(n) == 0 }

func (m maker) pick(from ...string) string { return from[m.IntN(len(from))] }

func (m maker) body() string {
	body := m.list()
	if m.oneIn(2) {
		body = m.join("{", "}", m.IntN(4), func() string {
			key := fmt.Sprintf("%08x-ebe1-4737-812e-cf0ddf26f5ad", m.Uint32())
			if m.oneIn(5) {
				key = m.pick(strings.ToUpper(key), strings.ReplaceAll(key, "-", ""), "{"+key+"}", "urn:uuid:"+key, key[1:],
					`\u0030`+key[1:], "é", "")
			}
			value := m.list()
			if m.oneIn(30) {
				value = m.anything(2)
			}
			return `"` + key + `"` + m.blank() + ":" + m.blank() + value
		})
	}
	if m.oneIn(10) { // One byte goes, or another comes.
		at := m.IntN(len(body))
		body = body[:at] + m.pick("", "\"", "\\", ",", "}", "]", "0", "N", "\x80", "\n") + body[at+m.IntN(2):]
	}
	return body
}

func (m maker) join(open, closing string, n int, member func() string) string {
	members := make([]string, n)
	for i := range members {
		members[i] = member() + m.blank()
	}
	return m.blank() + open + m.blank() + strings.Join(members, ","+m.blank()) + closing + m.blank()
}

func (m maker) blank() string { return m.pick("", "", " ", "\n\t", "\r ") }

func (m maker) list() string {
	stamp := []func() string{m.iso, m.iso, m.epoch, m.epoch, m.relative}[m.IntN(5)]
	return m.join("[", "]", m.IntN(4), func() string {
		if m.oneIn(50) {
			return m.anything(2)
		}
		members := []string{`"timestamp"` + m.blank() + ":" + m.blank() + stamp(), `"value"` + m.blank() + ":" + m.blank() +
			m.value()}
		if m.oneIn(4) {
			members = append(members, `"`+m.pick("x", "Value", "times", `\u0076alue`, "value", "timestamp")+`":`+m.anything(3))
		}
		m.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		if m.oneIn(50) {
			members = members[1:]
		}
		i := -1
		return m.join("{", "}", len(members), func() string { i++; return members[i] })
	})
}

func (m maker) iso() string {
	year := m.pick("2015", "1970", "2026", "2262", "1969", "2016")
	date := fmt.Sprintf("%s-%02d-%02d", year, 1+m.IntN(12), 1+m.IntN(28+m.IntN(5)))
	clock := fmt.Sprintf("%02d:%02d:%02d", m.IntN(24+m.IntN(2)), m.IntN(60), m.IntN(60+m.IntN(2)))
	clock = clock[:len(clock)-3*m.IntN(3)*m.IntN(2)]
	if len(clock) == 8 && m.oneIn(2) {
		clock += "." + m.digits(m.IntN(12))
	}
	if m.oneIn(2) {
		clock += m.pick("Z", "+00:00", "-0430", "+02", "+1", " Z", "-25:00")
	}
	if m.oneIn(10) {
		return `"` + date[:len(date)-3*m.IntN(2)] + `"`
	}
	return `"` + date + m.pick("T", "T", "T", " ") + clock + `"`
}

func (m maker) epoch() string {
	text := fmt.Sprint(m.IntN(2e9))
	switch m.IntN(8) {
	case 0:
		text += "." + m.digits(1+m.IntN(20))
	case 1, 2:
		text += "." + m.digits(6)
	case 3:
		text = m.number()
	}
	if m.oneIn(3) {
		return `"` + text + `"`
	}
	return text
}

func (m maker) relative() string {
	return m.pick(`"-5 minutes"`, `"1h"`, `"now"`, `"today"`, `"-1:00"`, `"tomorrow"`)
}

func (m maker) value() string {
	switch m.IntN(12) {
	case 0:
		return m.pick("NaN", "Infinity", "-Infinity", "true", "false", "null", "nan", "-NaN", `"NaN"`, `" 1 "`, `"x"`, `""`)
	case 1:
		return `"` + m.number() + `"`
	case 2:
		return m.anything(1)
	}
	return m.number()
}

func (m maker) number() string {
	text := m.pick("", "", "-") + m.pick("0", m.digits(1+m.IntN(3)), m.digits(1+m.IntN(22)))
	if m.oneIn(2) {
		text += "." + m.digits(m.IntN(4)) + m.pick("1", m.digits(1+m.IntN(20)))
	}
	if m.oneIn(6) {
		text += m.pick("e", "E") + m.pick("", "+", "-") + m.digits(1+m.IntN(3))
	}
	return text
}

func (m maker) digits(n int) string {
	digits := make([]byte, n)
	for i := range digits {
		digits[i] = '0' + byte(m.IntN(10))
	}
	return string(digits)
}

// anything is a value of JSON, at most so deep.
func (m maker) anything(depth int) string {
	switch m.IntN(6) {
	case 0:
		return m.number()
	case 1:
		return m.pick("null", "true", "NaN", "-Infinity", "Infinity", "nul")
	case 2:
		if depth > 0 {
			return m.join("[", "]", m.IntN(3), func() string { return m.anything(depth - 1) })
		}
	case 3:
		if depth > 0 {
			return m.join("{", "}", m.IntN(3), func() string { return `"k":` + m.anything(depth-1) })
		}
	}
	return m.pick(`""`, `"[\"]"`, `"}{"`, `"é"`, "\"\x80\"", `"\ud800"`, `"NaN"`)
}

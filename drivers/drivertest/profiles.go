package drivertest

import (
	"time"

	"millrace/ingest"
)

// A profile is a random history's policies and pace.
type profile struct {
	name     string
	policies []ingest.ArchivePolicy
	metrics  int           // of the sack, at the beginning
	stride   time.Duration // measures of a metric are up to this far apart, but for jumps
	wild     float64       // share of values that are not ordinary numbers
}

// steps is how long a random history is; comparing every method takes its time.
func (p *profile) steps() int {
	if p.policies[0].Methods.Len() > 100 {
		return 40
	}
	return 150
}

const day = 24 * time.Hour

// plain is the default list with what it leaves out.
func plain(more ...ingest.Method) ingest.MethodSet {
	methods := ingest.DefaultMethods()
	methods.Union(ingest.MethodsOf(more...))
	return methods
}

// rated is plain with some rate: methods.
func rated() ingest.MethodSet {
	return plain(ingest.Last.OfRate(), ingest.Mean.OfRate(), ingest.Count.OfRate(), ingest.Std.OfRate(),
		ingest.Percentile(50).OfRate())
}

// profiles are the policies that everybody has, and those that find the corners:
// granularities that don't divide each other, windows of every width, spans so
// short that most of a history has expired.
func profiles() []profile {
	full := plain(ingest.First, ingest.Last, ingest.Median, ingest.Percentile(1), ingest.Percentile(95),
		ingest.Percentile(99))
	return []profile{
		{name: "low", metrics: 6, stride: 4 * time.Minute,
			policies: []ingest.ArchivePolicy{policy("low", 0, plain(), keep(5*time.Minute, 30*288))}},
		{name: "medium", metrics: 5, stride: 8 * time.Minute,
			policies: []ingest.ArchivePolicy{policy("medium", 0, plain(), keep(time.Minute, 7*1440), keep(time.Hour, 365*24))}},
		{name: "high", metrics: 4, stride: 3 * time.Minute,
			policies: []ingest.ArchivePolicy{policy("high", 0, plain(), keep(time.Second, 3600), keep(time.Minute, 7*1440),
				keep(time.Hour, 365*24))}},
		{name: "bool", metrics: 4, stride: 20 * time.Minute,
			policies: []ingest.ArchivePolicy{policy("bool", 3600, ingest.MethodsOf(ingest.Last),
				keep(time.Second, 365*86400))}},
		{name: "mixed", metrics: 9, stride: 10 * time.Minute, wild: 0.02, policies: []ingest.ArchivePolicy{
			policy("low", 0, plain(), keep(5*time.Minute, 30*288)),
			policy("medium", 1, full, keep(time.Minute, 7*1440), keep(time.Hour, 365*24)),
			policy("high", 2, rated(), keep(time.Second, 3600), keep(time.Minute, 7*1440), keep(time.Hour, 365*24)),
			policy("bool", 3600, ingest.MethodsOf(ingest.Last), keep(time.Second, 365*86400)),
		}},
		{name: "odd granularities", metrics: 5, stride: 4 * time.Second, policies: []ingest.ArchivePolicy{
			policy("7-10", 0, full, keep(7*time.Second, 0), keep(10*time.Second, 0)),
			policy("7-10-15", 1, rated(), keep(7*time.Second, 100), keep(10*time.Second, 20), keep(15*time.Second, 0)),
			policy("13-60", 0, rated(), keep(time.Minute, 0), keep(13*time.Second, 0)),
		}},
		{name: "sub-second", metrics: 4, stride: 120 * time.Millisecond, policies: []ingest.ArchivePolicy{
			policy("fine", 2, rated(), keep(time.Millisecond, 0), keep(100*time.Millisecond, 50),
				keep(250*time.Millisecond, 0)),
			policy("finest", 0, full, keep(100, 0), keep(time.Microsecond, 10), keep(333*time.Millisecond, 0)),
		}},
		{name: "for ever", metrics: 4, stride: 40 * time.Second, wild: 0.05,
			policies: []ingest.ArchivePolicy{policy("for ever", 3, full, keep(time.Minute, 0))}},
		{name: "short spans", metrics: 6, stride: 15 * time.Second, policies: []ingest.ArchivePolicy{
			policy("short", 0, full, keep(10*time.Second, 6), keep(time.Minute, 3)),
			policy("shorter", 1, rated(), keep(10*time.Second, 1), keep(20*time.Second, 2)),
		}},
		{name: "rates", metrics: 5, stride: 30 * time.Second, wild: 0.01, policies: []ingest.ArchivePolicy{
			policy("rates", 0, ingest.MethodsOf(ingest.Mean.OfRate(), ingest.Sum.OfRate(), ingest.First.OfRate(),
				ingest.Last.OfRate(),
				ingest.Min.OfRate(), ingest.Max.OfRate(), ingest.Std.OfRate(), ingest.Median.OfRate(),
				ingest.Percentile(95).OfRate()),
				keep(10*time.Second, 0), keep(time.Minute, 30)),
			policy("both", 2, rated(), keep(20*time.Second, 0)),
		}},
		{name: "every method", metrics: 2, stride: 20 * time.Second, wild: 0.01,
			policies: []ingest.ArchivePolicy{policy("all", 1, ingest.AllMethods(), keep(time.Minute, 0),
				keep(5*time.Minute, 8))}},
	}
}

package ingest

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFloor(t *testing.T) {
	f := func(at int64, g time.Duration, want int64) {
		t.Helper()
		if got := Floor(at, g); got != want {
			t.Errorf("Floor(%d, %d) = %d, want %d", at, g, got, want)
		}
	}
	f(0, 60, 0)
	f(59, 60, 0)
	f(60, 60, 60)
	f(-1, 60, -60)
	f(-60, 60, -60)
	f(MinTime, time.Hour, MinTime)
	f(MinTime+1, time.Hour, MinTime)
	f(MaxTime, 1<<62, 1<<62)
	f(1388577599_999999999, time.Minute, 1388577540_000000000)
}

func TestParseMetricID(t *testing.T) {
	want := MetricID{0x2a, 0xe3, 0x5c, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc}
	good := []string{
		"2ae35c00-1122-3344-5566-778899aabbcc", "2AE35C00-1122-3344-5566-778899AABBCC", "2ae35c001122334455667788" +
			"99aabbcc",
		"{2ae35c00-1122-3344-5566-778899aabbcc}", "urn:uuid:2ae35c00-1122-3344-5566-778899aabbcc",
		"2-a-e-35c00-11223344-5566778899aabb-cc",
	}
	for _, text := range good {
		if id, err := ParseMetricID(text); err != nil || id != want {
			t.Errorf("ParseMetricID(%q) = %v, %v", text, id, err)
		}
		if id, err := ParseMetricID([]byte(text)); err != nil || id != want {
			t.Errorf("ParseMetricID([]byte(%q)) = %v, %v", text, id, err)
		}
	}
	for _, text := range []string{"", "foobar", "2ae35c00-1122-3344-5566-778899aabbc",
		"2ae35c00-1122-3344-5566-778899aabbccd", "2ae35c00-1122-3344-5566-778899aabbcg",
		"2ae35c00_1122_3344_5566_778899aabbcc"} {
		if _, err := ParseMetricID(text); !errors.Is(err, ErrMetricID) {
			t.Errorf("ParseMetricID(%q): %v, want ErrMetricID", text, err)
		}
	}
	if got := want.String(); got != good[0] {
		t.Errorf("String() = %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { ParseMetricID(good[0]) }); n != 0 {
		t.Errorf("ParseMetricID allocates %v times", n)
	}
}

// SackOf is part of the storage format: these never change.
func TestSackOf(t *testing.T) {
	f := func(text string, sacks int, want Sack) {
		t.Helper()
		id, err := ParseMetricID(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := SackOf(id, sacks); got != want {
			t.Errorf("SackOf(%s, %d) = %d, want %d", text, sacks, got, want)
		}
	}
	f("00000000-0000-0000-0000-000000000000", 16, 10)
	f("00000000-0000-0000-0000-000000000001", 16, 0)
	f("2ae35c00-1122-3344-5566-778899aabbcc", 16, 5)
	f("2ae35c00-1122-3344-5566-778899aabbcc", 1, 0)
	f("ffffffff-ffff-ffff-ffff-ffffffffffff", 1024, 396)

	// Ids counted up by hand spread, too.
	var counts [16]int
	for i := range 16000 {
		var id MetricID
		id[14], id[15] = byte(i>>8), byte(i)
		counts[SackOf(id, 16)]++
	}
	for s, n := range counts {
		if n < 850 || n > 1150 {
			t.Errorf("sack %d has %d of 16000 metrics", s, n)
		}
	}
}

func TestMethods(t *testing.T) {
	if n := len(methodByName); n != 216 {
		t.Fatalf("%d methods, want 216", n)
	}
	f := func(name string, want Method) {
		t.Helper()
		m, ok := ParseMethod(name)
		if !ok || m != want || m.String() != name {
			t.Errorf("ParseMethod(%q) = %v (%d), %v; want %d", name, m, m, ok, want)
		}
	}
	// The numbers are in segments.
	f("mean", 0)
	f("count", 8)
	f("1pct", 9)
	f("99pct", 107)
	f("rate:mean", 108)
	f("rate:99pct", 215)
	for _, name := range []string{"", "0pct", "100pct", "1.5pct", "rate:", "rate:rate:mean", "nunique", "Mean", "01pct"} {
		if m, ok := ParseMethod(name); ok {
			t.Errorf("ParseMethod(%q) = %v, want none", name, m)
		}
	}
	if q, ok := Percentile(95).OfRate().Quantile(); q != 95 || !ok {
		t.Errorf("Quantile of rate:95pct = %d, %v", q, ok)
	}
	if _, ok := Median.Quantile(); ok {
		t.Error("median has a Quantile")
	}
	all := AllMethods()
	if all.Len() != 216 || len(all.List()) != 216 || !all.AnyRate() {
		t.Errorf("AllMethods has %d", all.Len())
	}
	defaults := DefaultMethods()
	if defaults.AnyRate() {
		t.Error("the default methods have a rate")
	}
}

func TestExpandMethods(t *testing.T) {
	f := func(items []string, want ...string) {
		t.Helper()
		set, err := ExpandMethods(items, DefaultMethods())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, set.Names()); diff != "" {
			t.Errorf("ExpandMethods(%q): %s", items, diff)
		}
	}
	f(nil, "mean", "sum", "max", "min", "std", "count")
	f([]string{"last"}, "last")
	f([]string{"last", "last", "max"}, "last", "max")
	f([]string{"-mean", "-sum", "-max", "-min", "+95pct"}, "std", "count", "95pct")
	f([]string{"mean", "+sum"}, "mean", "sum")
	f([]string{"-mean", "+mean"}, "mean", "sum", "max", "min", "std", "count") // removals come first
	if set, err := ExpandMethods([]string{"*", "-rate:mean"}, DefaultMethods()); err != nil || set.Len() != 215 ||
		set.Has(Mean.OfRate()) {
		t.Errorf("* without rate:mean: %d methods, %v", set.Len(), err)
	}
	_, err := ExpandMethods([]string{"mean", "nope"}, DefaultMethods())
	if bad, ok := errors.AsType[*MethodError](err); !ok || bad.Item != 1 || bad.Name != "nope" {
		t.Errorf("unknown method: %v", err)
	}
}

func TestDefinitionComplete(t *testing.T) {
	const s, m = time.Second, time.Minute
	f := func(in, want Definition, wantErr error) {
		t.Helper()
		got, err := in.Complete()
		if !errors.Is(err, wantErr) || err == nil && got != want {
			t.Errorf("%+v.Complete() = %+v, %v; want %+v, %v", in, got, err, want, wantErr)
		}
	}
	f(Definition{Granularity: s}, Definition{Granularity: s}, nil)
	f(Definition{Granularity: s, Points: 60}, Definition{s, 60, m}, nil)
	f(Definition{Granularity: 7 * s, Timespan: m}, Definition{7 * s, 8, 56 * s}, nil)
	f(Definition{Points: 1000, Timespan: time.Hour}, Definition{3600 * time.Millisecond, 1000, time.Hour}, nil)
	f(Definition{Points: 7, Timespan: time.Hour}, Definition{time.Hour / 7, 7, time.Hour}, nil)
	f(Definition{s, 60, m}, Definition{s, 60, m}, nil)
	f(Definition{s, 60, 2 * m}, Definition{}, ErrDefinitionDisagrees)
	f(Definition{Granularity: m, Timespan: s}, Definition{}, ErrDefinitionNoPoints)
	f(Definition{Points: 3}, Definition{}, ErrDefinitionTooFew)
	f(Definition{Timespan: s}, Definition{}, ErrDefinitionTooFew)
	f(Definition{}, Definition{}, ErrDefinitionTooFew)
	f(Definition{Granularity: time.Hour, Points: math.MaxInt64}, Definition{}, ErrDefinitionTooLong)
	f(Definition{Points: 1000, Timespan: 10}, Definition{}, ErrDefinitionNoPoints)
}

func TestHorizon(t *testing.T) {
	p := ArchivePolicy{Definitions: []Definition{{Granularity: time.Minute}, {Granularity: time.Hour},
		{Granularity: time.Second}}, Methods: DefaultMethods()}
	at := func(text string) int64 {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	newest := at("2014-01-01T14:34:00Z")
	f := func(window int, rate bool, want int64) {
		t.Helper()
		p.BackWindow, p.Methods = window, DefaultMethods()
		if rate {
			p.Methods.Add(Mean.OfRate())
		}
		if got := p.Horizon(newest); got != want {
			t.Errorf("window %d, rate %v: horizon %d, want %d", window, rate, got, want)
		}
	}
	f(0, false, at("2014-01-01T14:00:00Z"))
	f(2, false, at("2014-01-01T12:00:00Z"))
	f(2, true, at("2014-01-01T11:00:00Z"))
	f(math.MaxInt, false, MinTime)
	if gs := p.Granularities(); gs[0] != time.Hour || gs[2] != time.Second || p.Coarsest() != time.Hour {
		t.Errorf("granularities %v", gs)
	}
}

func TestTicket(t *testing.T) {
	want := Ticket{Position: make(Position, 16), First: make(Position, 16), Accepted: 1000, Refused: 3}
	want.Position[0], want.First[0] = 1, 0
	want.Position[7], want.First[7] = 1<<40, 1<<40-77
	want.Position[15], want.First[15] = 9, 8
	token := want.String()
	got, err := ParseTicket(token, 16)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := ParseTicket(Ticket{Position: make(Position, 16)}.String(), 16); err != nil ||
		!make(Position, 16).Reached(got.Position) {
		t.Errorf("empty ticket: %v, %v", got, err)
	}
	if _, err := ParseTicket(token, 8); !errors.Is(err, ErrTicket) {
		t.Errorf("another number of sacks: %v", err)
	}
	for i := range token {
		damaged := []byte(token)
		damaged[i] ^= 1
		if got, err := ParseTicket(string(damaged), 16); err == nil {
			t.Errorf("byte %d flipped: %+v", i, got)
		}
	}
	at := make(Position, 16)
	if at.Reached(want.Position) {
		t.Error("the beginning has reached everything")
	}
	at.Add(want.Position)
	if !at.Reached(want.Position) {
		t.Error("a position has not reached itself")
	}
}

func FuzzParseTicket(f *testing.F) {
	f.Add(Ticket{Position: Position{0, 5, 0, 9}, First: Position{0, 4, 0, 1}, Accepted: 7}.String())
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		ticket, err := ParseTicket(token, 4)
		if err != nil {
			return
		}
		again, err := ParseTicket(ticket.String(), 4)
		if err != nil || !cmp.Equal(ticket, again) {
			t.Errorf("%q: %+v became %+v, %v", token, ticket, again, err)
		}
	})
}

func TestPermanent(t *testing.T) {
	cause := errors.New("no")
	if err := Permanent(cause); !IsPermanent(err) || !errors.Is(err, cause) || err.Error() != "no" {
		t.Errorf("%v", err)
	}
	if IsPermanent(cause) || Permanent(nil) != nil || !IsPermanent(ErrNoPolicy) {
		t.Error("IsPermanent is wrong about plain errors")
	}
}

// A reject is of the ticket that its record's offset is in: neither of the one whose last
// record is before it, nor of the one whose first is behind it.
func TestRejectsOfTicket(t *testing.T) {
	ticket := func(first, end Offset) Ticket { return Ticket{Position: Position{0, end}, First: Position{0, first}} }
	var ring rejectRing
	for offset := Offset(9); offset <= 13; offset++ {
		ring.add(DeadLetter{Sack: 1, Offset: offset})
	}
	ring.add(DeadLetter{Sack: 0, Offset: 10})
	var got []Offset
	for _, l := range ring.of(ticket(10, 13)) {
		if l.Sack != 1 {
			t.Errorf("a reject of sack %d", l.Sack)
		}
		got = append(got, l.Offset)
	}
	if want := []Offset{10, 11, 12}; !slices.Equal(got, want) {
		t.Errorf("rejects at %v, want %v", got, want)
	}
}

// A producer whose clock is an hour ahead doesn't make another's sequence forgotten: what
// the log has twice counts once all the same. How many are remembered is bounded.
func TestProducersAreRemembered(t *testing.T) {
	var w Watermark
	now := time.Unix(1_700_000_000, 0)
	take := func(producer, sequence uint64, at time.Time) bool {
		return w.Take(&Delivery{Offset: w.Offset, Record: Record{Producer: producer, Sequence: sequence, AcceptedAt: at}})
	}
	if !take(1, 7, now) || !take(2, 1, now.Add(61*time.Minute)) {
		t.Error("a record is left out")
	}
	if take(1, 7, now) {
		t.Error("a record that the log has twice is applied twice")
	}
	for id := range uint64(2 * maxProducers) {
		take(100+id, 1, now.Add(time.Duration(id)*time.Second))
	}
	if n := len(w.Producers); n != maxProducers {
		t.Errorf("%d producers are remembered, want %d", n, maxProducers)
	}
	if take(100+2*maxProducers-1, 1, now) {
		t.Error("the last of many producers has been forgotten")
	}
}

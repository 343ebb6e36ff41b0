package golden_test

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"millrace/drivers/carbonara"
	"millrace/drivers/naive"
	"millrace/ingest"
)

// The driver of each run of the ingest vectors, and how it is treated.
var runs = []struct {
	name      string
	open      func(t *testing.T, policies ingest.Policies) ingest.Driver
	disturbed bool              // see session.disturb
	touched   map[string]string // the vectors that a stated difference touches, and the reason
}{
	{"naive", openNaive, false, nil},
	{"naive disturbed", openNaive, true, nil},
	{"carbonara", openCarbonara(openMemory, carbonara.Config{}), false, nil},
	{"carbonara on files", openCarbonara(openFiles, carbonara.Config{}), false, nil},
	{"carbonara disturbed", openCarbonara(openMemory, carbonara.Config{SealRows: 1, SealEvery: 1, MergeWidth: 2}), true,
		nil},
	{"InfluxDB", openInflux, false, touchedOnInflux},
	{"InfluxDB disturbed", openInflux, true, touchedOnInflux},
}

func openNaive(_ *testing.T, policies ingest.Policies) ingest.Driver { return naive.New(policies) }

type ingestInput struct {
	Policy policy
	Steps  []step
}

// A step is one thing done to the metric of a vector, or asked of it: one of these.
type step struct {
	Measures  []point // one batch: here, one record
	Generate  *generate
	SetPolicy *policy `json:"set_policy"`
	Read      *read
	ReadCount *read `json:"read_count"`
	Splits    *layout
	Raw       *layout
}

// generate is a batch of equal values at regular times.
type generate struct {
	First instant
	Count int
	Step  int64 `json:"step_ns"`
	Value number
}

func (g *generate) measures() []ingest.Measure {
	list := make([]ingest.Measure, g.Count)
	for i := range list {
		list[i] = ingest.Measure{Time: int64(g.First) + int64(i)*g.Step, Value: float64(g.Value)}
	}
	return list
}

type read struct {
	Method      string
	Granularity time.Duration `json:"granularity_ns"`
	Start, Stop *instant
	Resample    *sampling
}

type ingestOp struct {
	AppendDriver bool `json:"append_driver"` // how the original's driver writes
}

type ingestAnswer struct{ Reads []readAnswer }

// A readAnswer is the answer to one step that asks something.
type readAnswer struct {
	outcome
	Rows           []row
	Count          int
	PerGranularity [][2]int64 `json:"per_granularity"`
	Splits         *layout
	Raw            *layout
}

// counted is the answer to a read_count, instead of to a read.
func (a readAnswer) counted() readAnswer {
	count := readAnswer{outcome: a.outcome, Count: len(a.Rows)}
	for _, r := range a.Rows {
		g, _ := strconv.ParseInt(r.Span, 10, 64)
		if n := len(count.PerGranularity); n == 0 || count.PerGranularity[n-1][0] != g {
			count.PerGranularity = append(count.PerGranularity, [2]int64{g, 0})
		}
		count.PerGranularity[len(count.PerGranularity)-1][1]++
	}
	return count
}

// A subject is what the steps are done to: a driver, or the rules.
type subject interface {
	record(measures []ingest.Measure)
	setPolicy(p *ingest.ArchivePolicy)
	// rows answers one read at one granularity, resampled and trimmed.
	rows(d ingest.Definition, m ingest.Method, r *read) []ingest.Measure
}

func TestGoldenIngest(t *testing.T) {
	for _, run := range runs {
		t.Run(run.name, func(t *testing.T) {
			goldenBut(t, "ingest", func(t *testing.T, in ingestInput, _ ingestOp) ingestAnswer {
				policies := &onePolicy{}
				s := &session{t: t, policies: policies, driver: run.open(t, policies), disturbed: run.disturbed,
					metric: ingest.NewMetricID()}
				s.open()
				defer s.close()
				return walk(s, in)
			}, func(in ingestInput, _ ingestOp) ingestAnswer {
				return walk(&rules{history: history{}}, in)
			}, exceptions[ingestInput, ingestOp, ingestAnswer]{run.touched, func(in ingestInput, _ ingestOp) ingestAnswer {
				return walk(&rules{history: history{}, lateKept: true}, in)
			}})
		})
	}
}

// walk does the steps and gathers the answers.
func walk(s subject, in ingestInput) (answer ingestAnswer) {
	policy := mustComplete(&in.Policy)
	s.setPolicy(policy)
	for _, step := range in.Steps {
		switch {
		case step.Measures != nil:
			s.record(measuresOf(step.Measures))
		case step.Generate != nil:
			s.record(step.Generate.measures())
		case step.SetPolicy != nil:
			policy = mustComplete(step.SetPolicy)
			s.setPolicy(policy)
		case step.Read != nil:
			answer.Reads = append(answer.Reads, answerRead(s, policy, step.Read))
		case step.ReadCount != nil:
			answer.Reads = append(answer.Reads, answerRead(s, policy, step.ReadCount).counted())
		case step.Splits != nil: // the rest is the original's storage
			answer.Reads = append(answer.Reads, readAnswer{Splits: &layout{}})
		case step.Raw != nil:
			answer.Reads = append(answer.Reads, readAnswer{Raw: &layout{}})
		default:
			panic("a step of no kind")
		}
	}
	return answer
}

func mustComplete(p *policy) *ingest.ArchivePolicy {
	made, err := p.complete("golden")
	if err != nil {
		panic(err)
	}
	return made
}

// answerRead refuses what the API refuses, and asks for every granularity, the
// coarsest first.
func answerRead(s subject, policy *ingest.ArchivePolicy, r *read) (answer readAnswer) {
	m, ok := ingest.ParseMethod(r.Method)
	if !ok || !policy.Methods.Has(m) {
		return readAnswer{outcome: outcome{Error: true, Code: 404}}
	}
	granularities := policy.Granularities()
	if r.Granularity != 0 {
		granularities = []time.Duration{r.Granularity}
	} else if r.Resample != nil {
		return readAnswer{outcome: outcome{Error: true, Code: 400}}
	}
	for _, g := range granularities {
		d, ok := policy.Find(g)
		if !ok {
			return readAnswer{outcome: outcome{Error: true, Code: 404}}
		}
		span := sampling{every: g}
		if r.Resample != nil {
			span = *r.Resample
		}
		for _, p := range pointsOf(s.rows(d, m, r)) {
			answer.Rows = append(answer.Rows, row{p.Time, span.String(), p.Value})
		}
	}
	return answer
}

// rules is the subject that only thinks.
type rules struct {
	history
	policy   *ingest.ArchivePolicy
	lateKept bool // no measure is too late
}

func (r *rules) setPolicy(p *ingest.ArchivePolicy) { r.policy = p }

func (r *rules) record(measures []ingest.Measure) {
	if !r.lateKept {
		r.history.record(r.policy, measures)
		return
	}
	for _, m := range measures {
		r.history[m.Time] = m.Value
	}
}

func (r *rules) rows(d ingest.Definition, m ingest.Method, q *read) []ingest.Measure {
	rows := r.history.rows(d, m)
	group := every(d.Granularity)
	if q.Resample != nil {
		group = q.Resample.group()
		rows = regrouped(rows, group, m)
	}
	return trimmed(rows, group, q.Start, q.Stop)
}

// A session is one metric in one driver. It is the worker that the driver knows.
type session struct {
	t         *testing.T
	driver    ingest.Driver
	policies  *onePolicy
	metric    ingest.MetricID
	disturbed bool

	writer ingest.SackWriter
	sent   []ingest.Delivery
	next   ingest.Offset
}

const goldenSack ingest.Sack = 0 // of one

func (s *session) setPolicy(p *ingest.ArchivePolicy) { s.policies.Store(p) }

func (s *session) record(measures []ingest.Measure) {
	s.t.Helper()
	d := ingest.Delivery{Offset: s.next, Record: ingest.Record{
		Kind: ingest.RecordMeasures, AcceptedAt: time.Now(), Project: "golden",
		Entries: []ingest.Entry{{Metric: s.metric, Policy: "golden", Measures: measures}},
	}}
	s.next++
	s.sent = append(s.sent, d)
	s.deliver(d)
	if s.disturbed {
		s.disturb()
	}
}

// disturb does what must not make a difference: it delivers everything again (R3),
// lets the driver keep house, and has the sack change its owner, who gets
// everything delivered again, too.
func (s *session) disturb() {
	s.t.Helper()
	s.deliver(s.sent...)
	if err := s.writer.Maintain(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.writer.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.open()
	s.deliver(s.sent...)
}

func (s *session) deliver(deliveries ...ingest.Delivery) {
	s.t.Helper()
	for _, d := range deliveries {
		// The driver gets memory that is not its own for longer than the call.
		measures := slices.Clone(d.Record.Entries[0].Measures)
		d.Record.Entries = []ingest.Entry{{Metric: s.metric, Policy: "golden", Measures: measures}}
		rejects, err := s.writer.Apply(s.t.Context(), []ingest.Delivery{d})
		if err != nil || len(rejects) > 0 {
			s.t.Fatalf("Apply: %v, rejects %v", err, rejects)
		}
		for i := range measures {
			measures[i] = ingest.Measure{Time: math.MaxInt64, Value: math.Pi}
		}
	}
	if _, err := s.writer.Flush(s.t.Context(), ingest.Watermark{Offset: s.next}); err != nil {
		s.t.Fatalf("Flush: %v", err)
	}
}

func (s *session) open() {
	s.t.Helper()
	writer, applied, err := s.driver.Open(s.t.Context(), goldenSack)
	if err != nil || applied.Offset != s.next {
		s.t.Fatalf("Open: applied up to %d, %v; want %d", applied.Offset, err, s.next)
	}
	s.writer = writer
}

func (s *session) close() {
	if err := s.writer.Close(); err != nil {
		s.t.Error(err)
	}
	if err := s.driver.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *session) rows(d ingest.Definition, m ingest.Method, r *read) []ingest.Measure {
	s.t.Helper()
	from, to := r.Start.or(ingest.MinTime), r.Stop.or(ingest.MaxTime)
	q := ingest.Query{Metric: s.metric, Policy: s.policies.Load(), Granularity: d.Granularity, Method: m, From: from,
		To: to}
	if r.Resample != nil {
		q.From, q.To = r.Resample.cover(s.t, from, to)
	}
	dst := make([][]ingest.Measure, 1)
	if _, err := s.driver.Read(s.t.Context(), []ingest.Query{q}, dst, nil); err != nil {
		s.t.Fatalf("Read: %v", err)
	}
	if r.Resample == nil {
		return dst[0]
	}
	return r.Resample.trim(s.t, r.Resample.resample(s.t, dst[0], m), from, to)
}

// onePolicy finds the policy of a vector by whatever name; it may change.
type onePolicy struct {
	atomic.Pointer[ingest.ArchivePolicy]
}

func (p *onePolicy) Policy(_ context.Context, _ string) (*ingest.ArchivePolicy, error) {
	return p.Load(), nil
}

package aggregate

import "millrace/ingest"

// A Plan computes a fixed list of methods for one bucket after another. It works
// out once what the methods have in common: the sum, one sort for all percentiles,
// the differences. It keeps scratch memory as large as the largest bucket and is
// for one goroutine at a time.
type Plan struct {
	methods []ingest.Method
	plain   statistics
	rate    statistics // of the differences
}

// NewPlan returns a plan for the methods given, which it copies.
func NewPlan(methods []ingest.Method) *Plan {
	p := &Plan{methods: append([]ingest.Method(nil), methods...)}
	for _, m := range methods {
		if m.IsRate() {
			p.rate.needs |= needsOf(m)
		} else {
			p.plain.needs |= needsOf(m)
		}
	}
	return p
}

// Methods returns the plan's methods, in the order of Bucket's values. They are
// not to be changed.
func (p *Plan) Methods() []ingest.Method { return p.methods }

// Bucket computes every method over the bucket raw[i:j], i < j. values[k] is the
// value of the k-th method if present[k], else 0: a std needs two values, and a
// rate: method needs differences. The difference at a measure is its value minus
// that of the measure before it in raw, however long before: only raw[0] has none.
func (p *Plan) Bucket(raw []ingest.Measure, i, j int, values []float64, present []bool) {
	if p.plain.needs != 0 {
		p.plain = p.plain.of(appendValues(p.plain.x[:0], raw, i, j))
	}
	if p.rate.needs != 0 {
		p.rate = p.rate.of(appendDifferences(p.rate.x[:0], raw, i, j))
	}
	for k, m := range p.methods {
		s := &p.plain
		if m.IsRate() {
			s = &p.rate
		}
		values[k], present[k] = s.value(m.Base())
	}
}

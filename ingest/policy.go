package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A Definition is one line of an archive policy: buckets of Granularity, kept
// for Timespan = Granularity × Points. Points and Timespan are 0 when they are
// kept for ever.
type Definition struct {
	Granularity time.Duration
	Points      int64
	Timespan    time.Duration
}

// An ArchivePolicy says what is computed from a metric's measures and how long
// it is kept. A value that others can see is never changed: a new one replaces it.
type ArchivePolicy struct {
	Name        string
	BackWindow  int          // how many coarsest buckets back a measure may still arrive
	Definitions []Definition // in the order in which they were given; at least one
	Methods     MethodSet
}

// Policies finds archive policies by name, from memory or nearly so.
type Policies interface {
	// Policy returns the policy of that name as it is now; ErrNoPolicy when there
	// is none (a permanent condition), another error when it can't be told.
	Policy(ctx context.Context, name string) (*ArchivePolicy, error)
}

// ErrNoPolicy says that an archive policy does not exist.
var ErrNoPolicy = errors.New("archive policy does not exist")

// Coarsest is the longest granularity of the policy: its block size B.
func (p *ArchivePolicy) Coarsest() time.Duration {
	var g time.Duration
	for i := range p.Definitions {
		g = max(g, p.Definitions[i].Granularity)
	}
	return g
}

// Window is the back window in coarsest buckets, one more with a rate: method.
func (p *ArchivePolicy) Window() int64 {
	w := int64(p.BackWindow)
	if p.Methods.AnyRate() {
		w++
	}
	return w
}

// Horizon returns floor(newest, B) − w·B: a measure before it is too late once a
// measure at newest has been recorded, and a bucket that ends at or before it
// never changes again.
func (p *ArchivePolicy) Horizon(newest int64) int64 {
	b := p.Coarsest()
	span := p.Window() * int64(b)
	if span/int64(b) != p.Window() || span < 0 { // a window longer than int64 can say: nothing is late
		return -1 << 63
	}
	h := Floor(newest, b)
	if h < -1<<63+span {
		return -1 << 63
	}
	return h - span
}

// Find returns the definition of a granularity.
func (p *ArchivePolicy) Find(g time.Duration) (Definition, bool) {
	for _, d := range p.Definitions {
		if d.Granularity == g {
			return d, true
		}
	}
	return Definition{}, false
}

// Granularities returns the granularities, coarsest first.
func (p *ArchivePolicy) Granularities() []time.Duration {
	gs := make([]time.Duration, len(p.Definitions))
	for i, d := range p.Definitions {
		gs[i] = d.Granularity
	}
	slices.SortFunc(gs, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	return gs
}

// Errors of Complete and Validate, worded as the v1 API words them.
var (
	//lint:ignore ST1005 the API's wording
	ErrDefinitionTooFew = errors.New("At least two of granularity/points/timespan must be provided")
	//lint:ignore ST1005 the API's wording
	ErrDefinitionNoPoints  = errors.New("Calculated number of points is < 0")
	ErrDefinitionDisagrees = errors.New("timespan ≠ granularity × points")
	ErrDefinitionTooLong   = errors.New("timespan is longer than 292 years")
)

// Complete fills in what follows from the rest; a zero is "not given". See
// carbonara's rules: granularity alone keeps for ever; granularity and timespan
// give floor(timespan/granularity) points and a recomputed timespan; points and
// timespan give the granularity; all three must agree.
func (d Definition) Complete() (Definition, error) {
	g, p, t := d.Granularity, d.Points, d.Timespan
	switch {
	case g < 0 || p < 0 || t < 0:
		return d, errors.New("granularity, points and timespan must be positive")
	case g > 0 && p == 0 && t == 0:
		return d, nil
	case g > 0 && p == 0:
		if p = int64(t / g); p == 0 {
			return d, ErrDefinitionNoPoints
		}
	case g == 0 && p > 0 && t > 0:
		if g = t / time.Duration(p); g == 0 {
			return d, ErrDefinitionNoPoints
		}
		return Definition{g, p, t}, nil
	case g == 0:
		return d, ErrDefinitionTooFew
	}
	span := g * time.Duration(p)
	if span/g != time.Duration(p) || span < 0 {
		return d, ErrDefinitionTooLong
	}
	if t != 0 && d.Points != 0 && t != span {
		return d, ErrDefinitionDisagrees
	}
	return Definition{g, p, span}, nil
}

// A DuplicateGranularityError names a granularity that a policy has twice.
type DuplicateGranularityError struct{ Granularity time.Duration }

func (e *DuplicateGranularityError) Error() string {
	return fmt.Sprintf("More than one archive policy uses granularity `%s'", FormatSeconds(e.Granularity))
}

// Validate checks a policy whose definitions are complete.
func (p *ArchivePolicy) Validate() error {
	if len(p.Definitions) == 0 {
		return errors.New("an archive policy needs at least one definition")
	}
	if p.BackWindow < 0 {
		return errors.New("back_window must not be negative")
	}
	if p.Methods == (MethodSet{}) {
		return errors.New("an archive policy needs at least one aggregation method")
	}
	seen := make(map[time.Duration]bool, len(p.Definitions))
	for _, d := range p.Definitions {
		if d.Granularity <= 0 {
			return errors.New("granularity must be positive")
		}
		if seen[d.Granularity] {
			return &DuplicateGranularityError{d.Granularity}
		}
		seen[d.Granularity] = true
	}
	return nil
}

// FormatSeconds writes a duration as the API writes granularities in texts:
// seconds with a decimal point, "60.0".
func FormatSeconds(d time.Duration) string {
	s := strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	for i := range len(s) {
		if s[i] == '.' {
			return s
		}
	}
	return s + ".0"
}

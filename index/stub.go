package index

import (
	"context"
	"time"

	"millrace/ingest"
)

type Config struct {
	CacheMetrics int
	CacheMissing time.Duration
	Refresh      time.Duration
	Readers      int
}

type Index struct{}

func Open(ctx context.Context, url string, cfg Config) (*Index, error) { panic("BUG") }
func (x *Index) Close() error                                          { panic("BUG") }

// Policies.
func (x *Index) CreatePolicy(ctx context.Context, p *ingest.ArchivePolicy) error { panic("BUG") }
func (x *Index) Policy(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	panic("BUG")
}
func (x *Index) Policies(ctx context.Context) ([]*ingest.ArchivePolicy, error) { panic("BUG") }
func (x *Index) UpdatePolicy(ctx context.Context, name string, definitions []ingest.Definition, backWindow *int) (*ingest.ArchivePolicy, error) {
	panic("BUG")
}
func (x *Index) DeletePolicy(ctx context.Context, name string) error          { panic("BUG") }
func (x *Index) CreateDefaults(ctx context.Context) (created bool, err error) { panic("BUG") }

type Rule struct{ Name, Pattern, Policy string }

func (x *Index) CreateRule(ctx context.Context, r Rule) error                         { panic("BUG") }
func (x *Index) Rules(ctx context.Context) ([]Rule, error)                            { panic("BUG") }
func (x *Index) Rule(ctx context.Context, name string) (Rule, error)                  { panic("BUG") }
func (x *Index) RenameRule(ctx context.Context, name, to string) (Rule, error)        { panic("BUG") }
func (x *Index) DeleteRule(ctx context.Context, name string) error                    { panic("BUG") }
func (x *Index) MatchRule(ctx context.Context, metricName string) (Rule, bool, error) { panic("BUG") }

// Metrics.
type Metric struct {
	ID       ingest.MetricID
	Name     *string
	Unit     *string
	Creator  string
	Policy   string
	Resource *[16]byte
}

func (x *Index) CreateMetric(ctx context.Context, m Metric) error               { panic("BUG") }
func (x *Index) Metric(ctx context.Context, id ingest.MetricID) (Metric, error) { panic("BUG") }

type Filter struct {
	ID                          *ingest.MetricID
	Name, Unit, Policy, Creator *string
	Project                     *string
}
type Page struct {
	Limit  int
	Marker string
	Sorts  []string
}

func (x *Index) Metrics(ctx context.Context, f Filter, p Page) ([]Metric, error) { panic("BUG") }
func (x *Index) MarkDeleted(ctx context.Context, id ingest.MetricID) error       { panic("BUG") }
func (x *Index) Deleted(ctx context.Context) ([]ingest.MetricID, error)          { panic("BUG") }
func (x *Index) Purge(ctx context.Context, ids ...ingest.MetricID) error         { panic("BUG") }

type Counts struct{ Policies, Rules, Metrics, Deleted int64 }

func (x *Index) Counts(ctx context.Context) (Counts, error) { panic("BUG") }

type MetricInfo struct {
	Policy, Creator string
	Found           bool
}

func (x *Index) Lookup(ctx context.Context, entries []ingest.Entry, infos []MetricInfo) (missing []int, err error) {
	panic("BUG")
}

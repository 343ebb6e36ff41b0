package index

import (
	"context"
	"time"

	"millrace/ingest"
)

// CreateDefaults creates the archive policies bool, low, medium and high, as
// Gnocchi ships them, and the rule default that gives low to every metric; but
// only where there is no archive policy and no rule yet.
func (x *Index) CreateDefaults(ctx context.Context) (created bool, err error) {
	err = x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			var objects int
			if err := s.row(ctx, []any{&objects}, `SELECT
				(SELECT count(*) FROM archive_policies) + (SELECT count(*) FROM archive_policy_rules)`); err != nil || objects > 0 {
				return err
			}
			for _, p := range defaultPolicies() {
				if err := insertPolicy(ctx, s, p.Name, encodePolicy(&p)); err != nil {
					return err
				}
			}
			created = true
			return insertRule(ctx, s, Rule{Name: "default", Pattern: "*", Policy: "low"})
		},
	})
	if err != nil {
		return false, x.failed("cannot create the default archive policies", err)
	}
	return created, nil
}

func defaultPolicies() []ingest.ArchivePolicy {
	const day = 24 * time.Hour
	keep := func(granularity, timespan time.Duration) ingest.Definition {
		return ingest.Definition{Granularity: granularity, Points: int64(timespan / granularity), Timespan: timespan}
	}
	var (
		second = keep(time.Second, time.Hour)
		minute = keep(time.Minute, 7*day)
		hour   = keep(time.Hour, 365*day)
		usual  = ingest.DefaultMethods()
	)
	return []ingest.ArchivePolicy{
		{Name: "bool", BackWindow: 3600, Definitions: []ingest.Definition{keep(time.Second, 365*day)},
			Methods: ingest.MethodsOf(ingest.Last)},
		{Name: "low", Definitions: []ingest.Definition{keep(5*time.Minute, 30*day)}, Methods: usual},
		{Name: "medium", Definitions: []ingest.Definition{minute, hour}, Methods: usual},
		{Name: "high", Definitions: []ingest.Definition{second, minute, hour}, Methods: usual},
	}
}

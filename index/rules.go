package index

import (
	"context"
	"slices"
)

// A Rule is an archive policy rule: metrics that are created without an archive
// policy get the one of the first rule whose pattern matches their name.
type Rule struct {
	Name    string
	Pattern string // a shell glob: *, ?, [seq], [!seq]
	Policy  string // the archive policy's name
}

// CreateRule adds a rule; ErrExists when there is one of its name,
// ingest.ErrNoPolicy when there is no such archive policy.
func (x *Index) CreateRule(ctx context.Context, r Rule) error {
	return x.failed("cannot create archive policy rule "+r.Name, x.writer.do(ctx, &change{
		policies: true,
		apply:    func(ctx context.Context, s session) error { return insertRule(ctx, s, r) },
	}))
}

func insertRule(ctx context.Context, s session, r Rule) error {
	_, err := s.exec(ctx, `INSERT INTO archive_policy_rules (name, metric_pattern, archive_policy) VALUES (?, ?, ?)`,
		r.Name, r.Pattern, r.Policy)
	switch s.dialect.fault(err) {
	case faultUnique:
		return &ObjectError{KindRule, r.Name, ErrExists}
	case faultForeign:
		return &ObjectError{KindPolicy, r.Policy, ErrNotFound}
	}
	return err
}

// Rules returns all rules in the order in which they are tried: by pattern,
// descending, then by name; bytes are compared.
func (x *Index) Rules(context.Context) ([]Rule, error) {
	held, err := x.held()
	if err != nil {
		return nil, err
	}
	return slices.Clone(held.rules), nil
}

// Rule returns the rule of that name; ErrNotFound when there is none.
func (x *Index) Rule(ctx context.Context, name string) (Rule, error) {
	held, err := x.held()
	if err != nil {
		return Rule{}, err
	}
	if r, ok := held.rule(name); ok {
		return r, nil
	}
	fresh, err := x.fresh(ctx)
	if err != nil {
		return Rule{}, x.failed("cannot find archive policy rule "+name, err)
	}
	if r, ok := fresh.rule(name); ok {
		return r, nil
	}
	return Rule{}, &ObjectError{KindRule, name, ErrNotFound}
}

func (s *snapshot) rule(name string) (Rule, bool) {
	for _, r := range s.rules {
		if r.Name == name {
			return r, true
		}
	}
	return Rule{}, false
}

// RenameRule gives a rule another name and returns what has become of it;
// ErrNotFound when there is none, an InvalidError when another rule has the name.
func (x *Index) RenameRule(ctx context.Context, name, to string) (Rule, error) {
	renamed := Rule{Name: to}
	err := x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			rows, err := s.exec(ctx, `UPDATE archive_policy_rules SET name = ? WHERE name = ?`, to, name)
			switch {
			case s.dialect.fault(err) == faultUnique:
				return &InvalidError{KindRule + " " + name + " does not support change: " + KindRule + " " + to +
					" already exists."}
			case err != nil:
				return err
			case rows == 0:
				return &ObjectError{KindRule, name, ErrNotFound}
			}
			return s.row(ctx, []any{&renamed.Pattern, &renamed.Policy},
				`SELECT metric_pattern, archive_policy FROM archive_policy_rules WHERE name = ?`, to)
		},
	})
	if err != nil {
		return Rule{}, x.failed("cannot rename archive policy rule "+name, err)
	}
	return renamed, nil
}

// DeleteRule removes a rule; ErrNotFound when there is none.
func (x *Index) DeleteRule(ctx context.Context, name string) error {
	return x.failed("cannot delete archive policy rule "+name, x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			rows, err := s.exec(ctx, `DELETE FROM archive_policy_rules WHERE name = ?`, name)
			if err == nil && rows == 0 {
				return &ObjectError{KindRule, name, ErrNotFound}
			}
			return err
		},
	}))
}

// MatchRule returns the first rule whose pattern matches the metric's name, from
// memory if one does there; false when none does. A metric without a name has the empty
// one.
func (x *Index) MatchRule(ctx context.Context, metricName string) (Rule, bool, error) {
	held, err := x.held()
	if err != nil {
		return Rule{}, false, err
	}
	if r, ok := held.match(metricName); ok {
		return r, true, nil
	}
	fresh, err := x.fresh(ctx)
	if err != nil {
		return Rule{}, false, x.failed("cannot find an archive policy rule for "+metricName, err)
	}
	r, ok := fresh.match(metricName)
	return r, ok, nil
}

func (s *snapshot) match(metricName string) (Rule, bool) {
	for _, r := range s.rules {
		if matchGlob(r.Pattern, metricName) {
			return r, true
		}
	}
	return Rule{}, false
}

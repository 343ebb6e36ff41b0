package index

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/ingest"
)

// CreatePolicy adds an archive policy; ErrExists when there is one of its name.
// The policy is the caller's again when CreatePolicy returns.
func (x *Index) CreatePolicy(ctx context.Context, p *ingest.ArchivePolicy) error {
	if err := p.Validate(); err != nil {
		return &InvalidError{err.Error()}
	}
	if n := len(p.Definitions); n > x.config.MaxDefinitions {
		return &InvalidError{fmt.Sprintf("an archive policy may have %d definitions, and this one has %d",
			x.config.MaxDefinitions, n)}
	}
	row := encodePolicy(p)
	return x.failed("cannot create archive policy "+p.Name, x.writer.do(ctx, &change{
		policies: true,
		apply:    func(ctx context.Context, s session) error { return insertPolicy(ctx, s, p.Name, row) },
	}))
}

func insertPolicy(ctx context.Context, s session, name string, row policyRow) error {
	_, err := s.exec(ctx, `INSERT INTO archive_policies (name, back_window, definition, methods) VALUES (?, ?, ?, ?)`,
		name, row.backWindow, row.definition, row.methods)
	if s.dialect.fault(err) == faultUnique {
		return &ObjectError{KindPolicy, name, ErrExists}
	}
	return err
}

// Policy returns the archive policy of that name from memory, and asks the
// database only for one that isn't there. An error that is ingest.ErrNoPolicy
// (and ErrNotFound) says that there is none. Index is an [ingest.Policies].
func (x *Index) Policy(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	held, err := x.held()
	if err != nil {
		return nil, err
	}
	if p := held.policies[name]; p != nil {
		return p, nil
	}
	fresh, err := x.fresh(ctx)
	if err != nil {
		return nil, x.failed("cannot find archive policy "+name, err)
	}
	if p := fresh.policies[name]; p != nil {
		return p, nil
	}
	return nil, &ObjectError{KindPolicy, name, ErrNotFound}
}

// Policies returns all archive policies, by name.
func (x *Index) Policies(context.Context) ([]*ingest.ArchivePolicy, error) {
	held, err := x.held()
	if err != nil {
		return nil, err
	}
	return slices.Clone(held.byName), nil
}

// UpdatePolicy replaces an archive policy's definitions, and its back window
// unless that is nil, and returns the new one. Only points and timespans may
// change; an InvalidError says what else would. The definitions' order becomes
// the policy's.
func (x *Index) UpdatePolicy(ctx context.Context, name string, definitions []ingest.Definition,
	backWindow *int) (*ingest.ArchivePolicy, error) {
	var updated *ingest.ArchivePolicy
	err := x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			current, err := readPolicy(ctx, s, name)
			if err != nil {
				return err
			}
			next := *current
			next.Definitions = slices.Clone(definitions)
			if backWindow != nil {
				next.BackWindow = *backWindow
			}
			if err := checkUpdate(current, &next); err != nil {
				return err
			}
			row := encodePolicy(&next)
			_, err = s.exec(ctx, `UPDATE archive_policies SET back_window = ?, definition = ? WHERE name = ?`,
				row.backWindow, row.definition, name)
			updated = &next
			return err
		},
	})
	if err != nil {
		return nil, x.failed("cannot update archive policy "+name, err)
	}
	return updated, nil
}

func readPolicy(ctx context.Context, s session, name string) (*ingest.ArchivePolicy, error) {
	var row policyRow
	err := s.row(ctx, []any{&row.backWindow, &row.definition, &row.methods},
		`SELECT back_window, definition, methods FROM archive_policies WHERE name = ?`, name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &ObjectError{KindPolicy, name, ErrNotFound}
	}
	if err != nil {
		return nil, err
	}
	return row.decode(name)
}

// checkUpdate compares the granularities of a policy and of what it shall become.
func checkUpdate(current, next *ingest.ArchivePolicy) error {
	unsupported := func(why string) error {
		return &InvalidError{KindPolicy + " " + current.Name + " does not support change: " + why}
	}
	if len(next.Definitions) != len(current.Definitions) {
		return unsupported("Cannot add or drop granularities")
	}
	byGranularity := func(definitions []ingest.Definition) []ingest.Definition {
		return slices.SortedFunc(slices.Values(definitions), func(a, b ingest.Definition) int {
			return cmp.Compare(a.Granularity, b.Granularity)
		})
	}
	was, is := byGranularity(current.Definitions), byGranularity(next.Definitions)
	for i := range was {
		if g := was[i].Granularity; g != is[i].Granularity {
			return unsupported(ingest.FormatSeconds(g) + " granularity interval was changed")
		}
	}
	if err := next.Validate(); err != nil {
		return &InvalidError{err.Error()}
	}
	return nil
}

// DeletePolicy removes an archive policy; ErrNotFound when there is none,
// ErrInUse when a rule or a metric has it, be it one that is not yet purged.
func (x *Index) DeletePolicy(ctx context.Context, name string) error {
	return x.failed("cannot delete archive policy "+name, x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			rows, err := s.exec(ctx, `DELETE FROM archive_policies WHERE name = ?`, name)
			switch {
			case s.dialect.fault(err) == faultForeign:
				return &ObjectError{KindPolicy, name, ErrInUse}
			case err == nil && rows == 0:
				return &ObjectError{KindPolicy, name, ErrNotFound}
			}
			return err
		},
	}))
}

// A policyRow is an archive policy as the database has it.
type policyRow struct {
	backWindow          int
	definition, methods string // JSON
}

// A definitionRow is a line of an archive policy as the database has it: exact.
type definitionRow struct {
	Granularity time.Duration `json:"granularity"` // ns
	Points      int64         `json:"points,omitzero"`
	Timespan    time.Duration `json:"timespan,omitzero"` // ns
}

func encodePolicy(p *ingest.ArchivePolicy) policyRow {
	definition := make([]definitionRow, len(p.Definitions))
	for i, d := range p.Definitions {
		definition[i] = definitionRow(d)
	}
	return policyRow{p.BackWindow, encodeJSON(definition), encodeJSON(p.Methods.Names())}
}

func encodeJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(text)
}

func (r policyRow) decode(name string) (*ingest.ArchivePolicy, error) {
	var definition []definitionRow
	if err := json.Unmarshal([]byte(r.definition), &definition); err != nil {
		return nil, fmt.Errorf("its definition is broken: %w", err)
	}
	var methods []string
	if err := json.Unmarshal([]byte(r.methods), &methods); err != nil {
		return nil, fmt.Errorf("its aggregation methods are broken: %w", err)
	}
	p := &ingest.ArchivePolicy{Name: name, BackWindow: r.backWindow}
	for _, d := range definition {
		p.Definitions = append(p.Definitions, ingest.Definition(d))
	}
	for _, method := range methods {
		m, ok := ingest.ParseMethod(method)
		if !ok {
			return nil, fmt.Errorf("its aggregation method %q is unknown", method)
		}
		p.Methods.Add(m)
	}
	return p, nil
}

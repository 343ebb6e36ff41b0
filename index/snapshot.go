package index

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"millrace/ingest"
)

// A snapshot is all archive policies and rules at one moment. It never changes.
type snapshot struct {
	rows     map[string]policyRow // as in the database, to see what has changed
	policies map[string]*ingest.ArchivePolicy
	byName   []*ingest.ArchivePolicy
	rules    []Rule // in the order in which they are tried
}

// snapshots holds the present one.
type snapshots struct {
	present atomic.Pointer[snapshot]

	mu     sync.Mutex
	stored uint64 // how often present was replaced
}

// load returns the present snapshot.
func (p *snapshots) load() *snapshot {
	if s := p.present.Load(); s != nil {
		return s
	}
	return &snapshot{}
}

func (p *snapshots) store(s *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.present.Store(s)
	p.stored++
}

// refresh reads and returns what the database holds now. It becomes the present
// snapshot unless another was stored meanwhile: that one may be newer.
func (p *snapshots) refresh(ctx context.Context, s session) (*snapshot, error) {
	p.mu.Lock()
	stored := p.stored
	p.mu.Unlock()
	fresh, err := p.load().reread(ctx, s)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stored == stored {
		p.present.Store(fresh)
		p.stored++
	}
	return fresh, nil
}

// reread reads everything again. What hasn't changed is taken over: the same
// pointers, and the same snapshot if nothing has.
func (old *snapshot) reread(ctx context.Context, s session) (*snapshot, error) {
	rows, err := readPolicies(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("cannot read archive policies: %w", err)
	}
	rules, err := readRules(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("cannot read archive policy rules: %w", err)
	}
	if maps.Equal(rows, old.rows) && slices.Equal(rules, old.rules) {
		return old, nil
	}
	fresh := &snapshot{rows: rows, rules: rules, policies: make(map[string]*ingest.ArchivePolicy, len(rows))}
	for name, row := range rows {
		policy := old.policies[name]
		if policy == nil || old.rows[name] != row {
			if policy, err = row.decode(name); err != nil {
				return nil, fmt.Errorf("cannot read archive policy %s: %w", name, err)
			}
		}
		fresh.policies[name] = policy
		fresh.byName = append(fresh.byName, policy)
	}
	slices.SortFunc(fresh.byName, func(a, b *ingest.ArchivePolicy) int { return strings.Compare(a.Name, b.Name) })
	return fresh, nil
}

func readPolicies(ctx context.Context, s session) (map[string]policyRow, error) {
	policies := make(map[string]policyRow)
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var name string
		var row policyRow
		err := rows.Scan(&name, &row.backWindow, &row.definition, &row.methods)
		policies[name] = row
		return err
	}, `SELECT name, back_window, definition, methods FROM archive_policies`)
	return policies, err
}

func readRules(ctx context.Context, s session) ([]Rule, error) {
	var rules []Rule
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var r Rule
		err := rows.Scan(&r.Name, &r.Pattern, &r.Policy)
		rules = append(rules, r)
		return err
	}, `SELECT name, metric_pattern, archive_policy FROM archive_policy_rules`)
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Or(strings.Compare(b.Pattern, a.Pattern), strings.Compare(a.Name, b.Name))
	})
	return rules, err
}

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

// A snapshot is all archive policies, rules and resource types at one moment. It
// never changes.
type snapshot struct {
	version  int64                // of the feed: it holds at least what was changed up to there
	rows     map[string]policyRow // as in the database, to see what has changed
	policies map[string]*ingest.ArchivePolicy
	byName   []*ingest.ArchivePolicy
	rules    []Rule // in the order in which they are tried

	typeRows    map[string]typeRow
	types       map[string]*ResourceType
	typesByName []*ResourceType
	typesByID   map[int64]*ResourceType
}

// snapshots holds the present one.
type snapshots struct {
	present atomic.Pointer[snapshot]

	mu        sync.Mutex
	forgotten uint64 // how often forget was called
}

// load returns the present snapshot.
func (p *snapshots) load() *snapshot {
	if s := p.present.Load(); s != nil {
		return s
	}
	return &snapshot{version: -1}
}

// store makes a snapshot the present one, unless that is newer.
func (p *snapshots) store(s *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.version >= p.load().version {
		p.present.Store(s)
	}
}

// forget lets any snapshot that is read from now on take the present one's place:
// versions have gone back.
func (p *snapshots) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten++
	old := *p.load()
	old.version = -1
	p.present.Store(&old)
}

// refresh reads and returns what the database holds now. It becomes the present
// snapshot unless that is newer.
func (p *snapshots) refresh(ctx context.Context, s session) (*snapshot, error) {
	p.mu.Lock()
	forgotten := p.forgotten
	p.mu.Unlock()
	var version int64
	if err := s.row(ctx, []any{&version}, `SELECT version FROM state`); err != nil {
		return nil, err
	}
	fresh, err := p.load().reread(ctx, s, version)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if fresh.version >= p.load().version && p.forgotten == forgotten {
		p.present.Store(fresh)
	}
	return fresh, nil
}

// reread reads everything again, as of a version or later. What hasn't changed is
// taken over: the same pointers.
func (old *snapshot) reread(ctx context.Context, s session, version int64) (*snapshot, error) {
	rows, err := readPolicies(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("cannot read archive policies: %w", err)
	}
	rules, err := readRules(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("cannot read archive policy rules: %w", err)
	}
	types, err := readTypes(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("cannot read resource types: %w", err)
	}
	if maps.Equal(rows, old.rows) && slices.Equal(rules, old.rules) && maps.Equal(types, old.typeRows) {
		same := *old
		same.version = version
		return &same, nil
	}
	fresh := &snapshot{version: version, rows: rows, rules: rules, policies: make(map[string]*ingest.ArchivePolicy,
		len(rows))}
	if err := fresh.takeTypes(types, old); err != nil {
		return nil, err
	}
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

// takeTypes sets the resource types.
func (fresh *snapshot) takeTypes(rows map[string]typeRow, old *snapshot) (err error) {
	fresh.typeRows = rows
	fresh.types = make(map[string]*ResourceType, len(rows))
	fresh.typesByID = make(map[int64]*ResourceType, len(rows))
	for name, row := range rows {
		t := old.types[name]
		if t == nil || old.typeRows[name] != row {
			if t, err = row.decode(name); err != nil {
				return fmt.Errorf("cannot read resource type %s: %w", name, err)
			}
		}
		fresh.types[name], fresh.typesByID[t.id] = t, t
	}
	fresh.typesByName = sortedTypes(fresh.types)
	return nil
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

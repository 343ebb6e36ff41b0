package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/ingest"
)

// LookupNamed finds the metric of every reference and fills in entries[i].Metric and
// infos[i]; both are as long as refs. It returns the indexes of the references that
// there is no metric for, in order. As with Lookup, metrics that it has met before
// cost no SQL and no memory, the others one query for many of them; its errors are
// those of Lookup. References to
// metrics of one resource are found fastest when they stand together.
func (x *Index) LookupNamed(
	ctx context.Context, refs []MetricRef, entries []ingest.Entry, infos []MetricInfo,
) (missing []int, err error) {
	if err := x.believable(); err != nil {
		return nil, err
	}
	unknown := x.named.find(refs, entries, infos)
	if len(unknown) == 0 { // Fast path.
		return nil, nil
	}
	asked := x.named.moment()
	var all []foundMetric
	for some := range slices.Chunk(unknown, refsPerQuery) {
		found, err := findNamed(ctx, x.database.reading(), refs, some)
		if err != nil {
			return nil, x.failed("cannot look up metrics of resources", err)
		}
		all = append(all, found...)
	}
	x.named.add(asked, all)
	byRef := make(map[string]*foundMetric, len(all))
	for i := range all {
		byRef[refKey(all[i].resource, []byte(all[i].name))] = &all[i]
	}
	for _, i := range unknown {
		f := byRef[refKey(refs[i].Resource, refs[i].Name)]
		if f == nil {
			infos[i] = MetricInfo{}
			missing = append(missing, i)
			continue
		}
		entries[i].Metric, infos[i] = f.id, f.info
	}
	return missing, nil
}

func refKey(resource ResourceID, name []byte) string { return string(resource[:]) + string(name) }

// refsPerQuery is how many references one statement looks for.
const refsPerQuery = 512

// findNamed asks for the metrics of the references at some indexes. SQLite takes the tables
// of a CROSS JOIN in the order in which they stand; of a JOIN with some hundred references
// it would rather read all metrics and see which of them are wanted.
func findNamed(ctx context.Context, s session, refs []MetricRef, some []int) ([]foundMetric, error) {
	args := make([]any, 0, 2*len(some))
	for _, i := range some {
		args = append(args, refs[i].Resource[:], string(refs[i].Name))
	}
	// The first row says of what types all are.
	wanted := `VALUES (CAST(? AS ` + s.dialect.bytes + `), CAST(? AS TEXT))` + strings.Repeat(", (?, ?)", len(some)-1)
	var found []foundMetric
	err := s.rows(ctx, func(rows *sql.Rows) error {
		f := foundMetric{info: MetricInfo{Found: true}}
		var resource, id sql.RawBytes
		if err := rows.Scan(&resource, &f.name, &id, &f.info.Policy, &f.info.Creator, &f.info.Ended); err != nil {
			return err
		}
		err := errors.Join(scanUUID((*[16]byte)(&f.resource), resource), scanUUID((*[16]byte)(&f.id), id))
		found = append(found, f)
		return err
	}, `WITH wanted (resource, name) AS (`+wanted+`)
		SELECT m.resource, m.name, m.id, m.archive_policy, m.creator, r.ended_at IS NOT NULL
		FROM wanted CROSS JOIN metrics m CROSS JOIN resources r
		WHERE m.resource = wanted.resource AND m.name = wanted.name AND m.deleted_at IS NULL AND r.id = m.resource`, args...)
	return found, err
}

// An UnknownResourcesError lists resources that don't exist.
type UnknownResourcesError struct{ IDs []ResourceID }

func (e *UnknownResourcesError) Error() string {
	return fmt.Sprintf("%d resources do not exist", len(e.IDs))
}

// CreateNamed creates metrics of resources: each has a Name and a Resource, and no
// two have the same. A metric of that name which the resource has by now is found
// instead: then it is the one that counts, and the given one changes to it. All are
// created or, with an error, none. An *UnknownResourcesError lists the resources that
// don't exist, the others are those of CreateMetric.
func (x *Index) CreateNamed(ctx context.Context, metrics []Metric) error {
	if len(metrics) == 0 {
		return nil
	}
	n := &naming{metrics: slices.Clone(metrics)}
	asked := x.named.moment()
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error { return n.apply(ctx, s, metrics) },
	})
	if _, ok := errors.AsType[*UnknownResourcesError](err); ok {
		return err
	}
	if err != nil {
		return x.failed(fmt.Sprintf("cannot create %d metrics of resources", len(metrics)), err)
	}
	copy(metrics, n.metrics)
	x.named.add(asked, n.found)
	return nil
}

// A naming creates what CreateNamed was given. Its metrics and what was found may be
// looked at once it is committed.
type naming struct {
	metrics []Metric
	found   []foundMetric
}

func (n *naming) apply(ctx context.Context, s session, given []Metric) error {
	copy(n.metrics, given)
	n.found = n.found[:0]
	resources, err := n.resources(ctx, s)
	if err != nil {
		return err
	}
	if err := n.takeExisting(ctx, s); err != nil {
		return err
	}
	var fresh []Metric
	for i := range n.metrics {
		m := &n.metrics[i]
		of := resources[*m.Resource]
		if m.ID == given[i].ID {
			m.LabelResource, m.LabelType = of.original, of.kind
			fresh = append(fresh, *m)
		}
		if of.ended {
			s.effects.altered = append(s.effects.altered, m.ID) // it is remembered without that
		}
		n.found = append(n.found, foundMetric{*m.Resource, *m.Name, m.ID,
			MetricInfo{Policy: m.Policy, Creator: m.Creator, Found: true, Ended: of.ended}})
	}
	if err := checkPolicies(ctx, s, fresh); err != nil {
		return err
	}
	_, err = insertMetrics(ctx, s, fresh)
	return err
}

// A namingResource is what a metric that is created must know of its resource.
type namingResource struct {
	ended          bool
	original, kind string // for its labels
}

// resources reads the resources which exist.
func (n *naming) resources(ctx context.Context, s session) (resources map[ResourceID]namingResource, err error) {
	resources = make(map[ResourceID]namingResource)
	var wanted []ResourceID
	for i := range n.metrics {
		id := ResourceID(*n.metrics[i].Resource)
		if _, again := resources[id]; !again {
			resources[id] = namingResource{}
			wanted = append(wanted, id)
		}
	}
	clear(resources)
	for some := range slices.Chunk(wanted, idsPerQuery) {
		in, args := inIDs(some)
		err := s.rows(ctx, func(rows *sql.Rows) error {
			var column sql.RawBytes
			var id ResourceID
			var of namingResource
			if err := rows.Scan(&column, &of.ended, &of.original, &of.kind); err != nil {
				return err
			}
			err := scanUUID((*[16]byte)(&id), column)
			resources[id] = of
			return err
		}, `SELECT resources.id, ended_at IS NOT NULL, original_id, name
			FROM resources JOIN resource_types ON resource_types.id = type_id WHERE resources.id `+in, args...)
		if err != nil {
			return nil, err
		}
	}
	unknown := slices.DeleteFunc(wanted, func(id ResourceID) bool { _, there := resources[id]; return there })
	if len(unknown) > 0 {
		return nil, &UnknownResourcesError{unknown}
	}
	return resources, nil
}

// takeExisting replaces metrics by those that the resources have of their names.
func (n *naming) takeExisting(ctx context.Context, s session) error {
	refs, all := make([]MetricRef, len(n.metrics)), make([]int, len(n.metrics))
	at := make(map[string]int, len(n.metrics))
	for i := range n.metrics {
		m := &n.metrics[i]
		refs[i], all[i] = MetricRef{*m.Resource, []byte(*m.Name)}, i
		at[refKey(refs[i].Resource, refs[i].Name)] = i
	}
	for some := range slices.Chunk(all, refsPerQuery) {
		found, err := findNamed(ctx, s, refs, some)
		if err != nil {
			return err
		}
		for _, f := range found {
			m := &n.metrics[at[refKey(f.resource, []byte(f.name))]]
			m.ID, m.Policy, m.Creator = f.id, f.info.Policy, f.info.Creator
		}
	}
	return nil
}

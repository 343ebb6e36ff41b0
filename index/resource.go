package index

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/ingest"
)

// A ResourceID is a resource's UUID.
type ResourceID = ingest.MetricID

// A Resource is one state of a resource. Times are nanoseconds since 1970, whole
// microseconds.
type Resource struct {
	ID            ResourceID
	Type          string // the type's name
	Original      string // the id as it was given when the resource was created
	Creator       string // user, or user:project
	User, Project *string
	Started       int64
	Ended         *int64
	RevisionStart int64
	RevisionEnd   *int64 // nil: this is the present state
	Revision      int64  // a positive number of a past state; -1
	// Attributes are those of its type: see AttributeType. In a Resource that was
	// read, Value gives them these types.
	Attributes map[string]any
	Metrics    []NamedMetric // by name; of the present, whatever the state
}

// A NamedMetric is a metric as its resource knows it.
type NamedMetric struct {
	Name string
	ID   ingest.MetricID
}

// current is Resource.Revision of the present state.
const current = -1

// Value returns an attribute as its AttributeType has it; nil when the resource has
// none.
func (r *Resource) Value(a *Attribute) any {
	v := r.Attributes[a.Name]
	if n, ok := v.(json.Number); ok && a.Type == AttributeDatetime {
		ns, err := n.Int64()
		if err != nil {
			return nil
		}
		return ns
	}
	return v
}

// Get returns what the resource has in a field, as Expr.Value has it: to group by.
// A FieldID is a ResourceID. Nil when it has nothing there.
func (r *Resource) Get(f *Field) any {
	if f.attribute != nil {
		v := r.Value(f.attribute)
		if n, ok := v.(json.Number); ok {
			number, _ := n.Float64()
			return number
		}
		return v
	}
	user, project, _ := strings.Cut(r.Creator, ":")
	switch f.Name {
	case "id":
		return r.ID
	case "type":
		return r.Type
	case "creator":
		return r.Creator
	case "started_at":
		return r.Started
	case "ended_at":
		return orNil(r.Ended)
	case "revision_start":
		return r.RevisionStart
	case "revision_end":
		return orNil(r.RevisionEnd)
	case "revision":
		return float64(r.Revision)
	case "user_id":
		return orNil(r.User)
	case "project_id":
		return orNil(r.Project)
	case "original_resource_id":
		return r.Original
	case "created_by_user_id":
		return user
	case "created_by_project_id":
		return project
	case "lifespan":
		if r.Ended != nil {
			return *r.Ended - r.Started
		}
	}
	return nil
}

func orNil[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

// storedAttributes writes attributes as the JSON column has them: none that is nil.
func storedAttributes(t *ResourceType, attributes map[string]any) (string, error) {
	stored := make(map[string]any, len(attributes))
	for i := range t.Attributes {
		a := &t.Attributes[i]
		if v := attributes[a.Name]; v != nil {
			stored[a.key()] = v
		}
	}
	text, err := json.Marshal(stored)
	return string(text), err
}

// loadAttributes reads the JSON column.
func loadAttributes(t *ResourceType, stored []byte) (map[string]any, error) {
	if len(t.Attributes) == 0 || string(stored) == "{}" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(stored))
	d.UseNumber()
	var byKey map[string]any
	if err := d.Decode(&byKey); err != nil {
		return nil, err
	}
	attributes := make(map[string]any, len(byKey))
	for i := range t.Attributes {
		if v := byKey[t.Attributes[i].key()]; v != nil {
			attributes[t.Attributes[i].Name] = v
		}
	}
	return attributes, nil
}

// An Association is a metric that a resource is to have.
type Association struct {
	Name string
	ID   ingest.MetricID
	// Attach says that the metric exists: it is renamed, and taken from the resource
	// that has it. Otherwise it is created, for the resource's creator.
	Attach bool
	Policy string // the archive policy of a new one
	Unit   *string
}

// now is a time as resources have them.
func now() int64 { return time.Now().UnixMicro() * 1000 }

// CreateResource adds a resource of type t with its metrics, all or nothing, and
// returns it. ID, Original, Creator, User, Project, Started, Ended and Attributes
// are the caller's. ErrExists when there is a resource of that id, of any type;
// ErrNotFound of a metric to attach that isn't there or has another creator;
// ingest.ErrNoPolicy; ErrChanged when t is no longer what it was.
func (x *Index) CreateResource(
	ctx context.Context, t *ResourceType, r Resource, metrics []Association,
) (Resource, error) {
	r.Type, r.Revision, r.RevisionEnd = t.Name, current, nil
	attributes, err := storedAttributes(t, r.Attributes)
	if err != nil {
		return Resource{}, err
	}
	w := &association{of: metrics}
	err = x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			if err := t.unchanged(ctx, s); err != nil {
				return err
			}
			exists := 0
			if err := s.row(ctx, []any{&exists}, `SELECT count(*) FROM resources WHERE id = ?`, r.ID[:]); err != nil {
				return err
			}
			if exists > 0 {
				return &ObjectError{KindResource, r.ID.String(), ErrExists}
			}
			made := r
			made.RevisionStart = now()
			_, err := s.exec(ctx, `INSERT INTO resources (id, type_id, original_id, creator, user_id, project_id,
				started_at, ended_at, revision_start, attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS `+s.dialect.json+`))`,
				made.ID[:], t.id, made.Original, made.Creator, made.User, made.Project, made.Started,
				made.Ended, made.RevisionStart, attributes)
			if err != nil {
				return err
			}
			return w.apply(ctx, s, &made)
		},
	})
	if err != nil {
		return Resource{}, x.failed("cannot create resource "+r.ID.String(), err)
	}
	return w.resource, nil
}

// Resource returns the present state of a resource, seen as one of type t;
// ErrNotFound when there is none.
func (x *Index) Resource(ctx context.Context, t *ResourceType, id ResourceID) (Resource, error) {
	r, err := x.resourceIn(ctx, x.database.reading(), t, id)
	return r, x.failed("cannot find resource "+id.String(), err)
}

func (x *Index) resourceIn(ctx context.Context, s session, t *ResourceType, id ResourceID) (r Resource, err error) {
	found := false
	which := where("id = ?", id[:]).and(ofType(t))
	err = s.rows(ctx, func(rows *sql.Rows) error {
		found = true
		return r.scan(ctx, x, rows)
	}, withMetrics(s.dialect, selectStates(s.dialect, which, nil, false)), which.args...)
	if err == nil && !found {
		err = &ObjectError{KindResource, id.String(), ErrNotFound}
	}
	return r, err
}

// UpdateResource changes a resource, seen as one of type t, and returns what it is
// then. Edit changes a copy; what it does to User, Project, Started, Ended and
// Attributes is kept, and makes a new revision if it is a difference. Its error
// ends the update. It runs while nothing else can be written, perhaps more than
// once or after UpdateResource has returned because ctx has ended, so it may only
// look at what never changes.
//
// Metrics, unless nil, are all metrics that the resource has from then on: others
// are detached and go on without a resource. That makes no revision. Errors are
// those of CreateResource, and ErrNotFound.
func (x *Index) UpdateResource(
	ctx context.Context, t *ResourceType, id ResourceID, edit func(r *Resource) error, metrics *[]Association,
) (Resource, error) {
	w := &association{}
	if metrics != nil {
		w.of, w.replace = *metrics, true
	}
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			if err := t.unchanged(ctx, s); err != nil {
				return err
			}
			old, err := x.resourceIn(ctx, s, t, id)
			if err != nil {
				return err
			}
			r := old
			r.Attributes = maps.Clone(old.Attributes)
			if r.Attributes == nil {
				r.Attributes = map[string]any{}
			}
			if err := edit(&r); err != nil {
				return err
			}
			if err := x.revise(ctx, s, &old, &r); err != nil {
				return err
			}
			if (old.Ended == nil) != (r.Ended == nil) {
				endChanged(s, r.ID, old.Metrics)
			}
			return w.apply(ctx, s, &r)
		},
	})
	if err != nil {
		return Resource{}, x.failed("cannot change resource "+id.String(), err)
	}
	return w.resource, nil
}

// AddMetrics gives metrics to a resource, seen as one of type t, and returns it.
// ErrExists when it has one of that name already; else as UpdateResource.
func (x *Index) AddMetrics(
	ctx context.Context, t *ResourceType, id ResourceID, metrics []Association,
) (Resource, error) {
	w := &association{of: metrics}
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			r, err := x.resourceIn(ctx, s, t, id)
			if err != nil {
				return err
			}
			return w.apply(ctx, s, &r)
		},
	})
	if err != nil {
		return Resource{}, x.failed("cannot add metrics to resource "+id.String(), err)
	}
	return w.resource, nil
}

// revise makes a new revision of a resource when it differs from what it was.
func (x *Index) revise(ctx context.Context, s session, old, r *Resource) error {
	own := x.snapshots.load().types[r.Type]
	if own == nil {
		return &ObjectError{KindResourceType, r.Type, ErrChanged}
	}
	if old.equal(r, own) {
		return nil
	}
	after, err := storedAttributes(own, r.Attributes)
	if err != nil {
		return err
	}
	r.RevisionStart = max(now(), old.RevisionStart+1000)
	if err := keepState(ctx, s, r.ID, r.RevisionStart); err != nil {
		return err
	}
	_, err = s.exec(ctx, `UPDATE resources SET user_id = ?, project_id = ?, started_at = ?, ended_at = ?,
		revision_start = ?, attributes = CAST(? AS `+s.dialect.json+`) WHERE id = ?`,
		r.User, r.Project, r.Started, r.Ended, r.RevisionStart, after, r.ID[:])
	return err
}

// equal says whether two states of a resource differ in nothing that makes a revision.
func (r *Resource) equal(other *Resource, t *ResourceType) bool {
	for i := range t.Attributes {
		a := &t.Attributes[i]
		if !equalValues(r.Value(a), other.Value(a)) {
			return false
		}
	}
	return r.Started == other.Started && orNil(r.Ended) == orNil(other.Ended) &&
		orNil(r.User) == orNil(other.User) && orNil(r.Project) == orNil(other.Project)
}

// equalValues compares what Value returns. Numbers are equal however they are written.
func equalValues(a, b any) bool {
	m, first := a.(json.Number)
	n, second := b.(json.Number)
	if !first || !second {
		return a == b
	}
	f, err1 := m.Float64()
	g, err2 := n.Float64()
	return m == n || err1 == nil && err2 == nil && f == g
}

// keepState puts what a resource is until an instant into the history.
func keepState(ctx context.Context, s session, id ResourceID, until int64) error {
	_, err := s.exec(ctx, `INSERT INTO resource_history (id, type_id, original_id, creator, user_id, project_id,
			started_at, ended_at, revision_start, revision_end, attributes)
		SELECT id, type_id, original_id, creator, user_id, project_id, started_at, ended_at, revision_start,
			CAST(? AS BIGINT), attributes
		FROM resources WHERE id = ?`, until, id[:])
	return err
}

// DeleteResource deletes a resource, seen as one of type t, its history and its
// metrics, and returns these: they are marked, as by MarkDeleted. Check looks at the
// resource before; its error ends it, and it may do what UpdateResource's edit may.
func (x *Index) DeleteResource(
	ctx context.Context, t *ResourceType, id ResourceID, check func(*Resource) error,
) ([]ingest.MetricID, error) {
	d := &deletion{}
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			r, err := x.resourceIn(ctx, s, t, id)
			if err != nil {
				return err
			}
			if err := check(&r); err != nil {
				return err
			}
			return d.apply(ctx, s, where("id = ?", id[:]))
		},
	})
	return d.result(err, x, "cannot delete resource "+id.String())
}

// DeleteResources deletes what a search finds, as DeleteResource does, and says how
// many resources that were.
func (x *Index) DeleteResources(ctx context.Context, search Search) (int, []ingest.MetricID, error) {
	found, err := search.condition(x.database.dialect, false)
	if err != nil {
		return 0, nil, err
	}
	d := &deletion{}
	err = x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error { return d.apply(ctx, s, found) },
	})
	metrics, err := d.result(err, x, "cannot delete resources")
	if err != nil {
		return 0, nil, err
	}
	return len(d.resources), metrics, nil
}

// A deletion is of resources. Its result may be looked at once it is committed.
type deletion struct {
	resources []ResourceID
	metrics   []ingest.MetricID
}

func (d *deletion) apply(ctx context.Context, s session, which condition) (err error) {
	d.resources, d.metrics = nil, nil
	if d.resources, err = readIDs(ctx, s, `SELECT id FROM resources`+which.clause(), which.args...); err != nil {
		return err
	}
	for some := range slices.Chunk(d.resources, idsPerQuery) {
		in, args := inIDs(some)
		metrics, err := markDeleted(ctx, s, condition{"resource " + in, args})
		if err != nil {
			return err
		}
		d.metrics = append(d.metrics, metrics...)
		for _, table := range []string{"resource_history", "resources"} {
			if _, err := s.exec(ctx, `DELETE FROM `+table+` WHERE id `+in, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *deletion) result(err error, x *Index, what string) ([]ingest.MetricID, error) {
	if err != nil {
		return nil, x.failed(what, err)
	}
	return d.metrics, nil
}

// readIDs reads a query's only column, of ids.
func readIDs(ctx context.Context, s session, query string, args ...any) ([]ingest.MetricID, error) {
	var ids []ingest.MetricID
	err := s.rows(ctx, func(rows *sql.Rows) error {
		id, err := scanID(rows)
		ids = append(ids, id)
		return err
	}, query, args...)
	return ids, err
}

// endChanged tells caches that a resource has ended or no longer has.
func endChanged(s session, id ResourceID, metrics []NamedMetric) {
	s.effects.renamed = append(s.effects.renamed, id)
	for i := range metrics {
		s.effects.altered = append(s.effects.altered, metrics[i].ID)
	}
}

// Revive takes the end away from resources that have ended no later than the newest
// measure of one of their metrics, which makes a new revision of each. Measures has
// the time of the newest by metric.
func (x *Index) Revive(ctx context.Context, measures map[ingest.MetricID]int64) error {
	type ended struct {
		id ResourceID
		at int64
	}
	var late []ended
	ids := slices.Collect(maps.Keys(measures))
	for some := range slices.Chunk(ids, idsPerQuery) {
		in, args := inIDs(some)
		err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
			var metric, resource sql.RawBytes
			var id ingest.MetricID
			var e ended
			if err := rows.Scan(&metric, &resource, &e.at); err != nil {
				return err
			}
			if err := scanUUID((*[16]byte)(&id), metric); err != nil {
				return err
			}
			if err := scanUUID((*[16]byte)(&e.id), resource); err != nil {
				return err
			}
			if measures[id] >= e.at {
				late = append(late, e)
			}
			return nil
		}, `SELECT m.id, r.id, r.ended_at FROM metrics m JOIN resources r ON r.id = m.resource
			WHERE m.deleted_at IS NULL AND r.ended_at IS NOT NULL AND m.id `+in, args...)
		if err != nil {
			return x.failed("cannot find ended resources", err)
		}
	}
	if len(late) == 0 {
		return nil
	}
	return x.failed(fmt.Sprintf("cannot revive %d resources", len(late)), x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for _, e := range late {
				var at *int64
				var began int64
				err := s.row(ctx, []any{&at, &began}, `SELECT ended_at, revision_start FROM resources WHERE id = ?`, e.id[:])
				if err == sql.ErrNoRows || err == nil && (at == nil || *at != e.at) {
					continue // it is gone, or has another end by now
				}
				if err != nil {
					return err
				}
				began = max(now(), began+1000)
				if err := keepState(ctx, s, e.id, began); err != nil {
					return err
				}
				_, err = s.exec(ctx, `UPDATE resources SET ended_at = NULL, revision_start = ? WHERE id = ?`, began, e.id[:])
				if err != nil {
					return err
				}
				theirs, err := metricsOf(ctx, s, e.id)
				if err != nil {
					return err
				}
				endChanged(s, e.id, theirs)
			}
			return nil
		},
	}))
}

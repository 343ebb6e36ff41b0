package index

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
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

// now is a time as resources have them.
func now() int64 { return time.Now().UnixMicro() * 1000 }

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

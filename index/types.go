package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A typeRow is a resource type as the database has it.
type typeRow struct {
	id         int64
	attributes string
}

func (r typeRow) decode(name string) (*ResourceType, error) {
	t := &ResourceType{Name: name, id: r.id}
	if err := json.Unmarshal([]byte(r.attributes), &t.Attributes); err != nil {
		return nil, err
	}
	return t, nil
}

func readTypes(ctx context.Context, s session) (map[string]typeRow, error) {
	types := make(map[string]typeRow)
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var name string
		var row typeRow
		err := rows.Scan(&name, &row.id, &row.attributes)
		types[name] = row
		return err
	}, `SELECT name, id, attributes FROM resource_types`)
	return types, err
}

// ResourceTypes returns all resource types, by name. They are in memory.
func (x *Index) ResourceTypes(context.Context) ([]*ResourceType, error) {
	held, err := x.held()
	if err != nil {
		return nil, x.failed("cannot list resource types", err)
	}
	return slices.Clone(held.typesByName), nil
}

// ResourceType returns the resource type of that name, from memory if it is there;
// ErrNotFound when there is none.
func (x *Index) ResourceType(ctx context.Context, name string) (*ResourceType, error) {
	held, err := x.held()
	if err != nil {
		return nil, x.failed("cannot find resource type "+name, err)
	}
	if t := held.types[name]; t != nil {
		return t, nil
	}
	fresh, err := x.fresh(ctx)
	if err != nil {
		return nil, x.failed("cannot find resource type "+name, err)
	}
	if t := fresh.types[name]; t != nil {
		return t, nil
	}
	return nil, &ObjectError{KindResourceType, name, ErrNotFound}
}

// typeOf returns the type with an id.
func (x *Index) typeOf(ctx context.Context, id int64) (*ResourceType, error) {
	if t := x.snapshots.load().typesByID[id]; t != nil {
		return t, nil
	}
	fresh, err := x.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if t := fresh.typesByID[id]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("there is no resource type of id %d", id)
}

// CreateResourceType adds a resource type whose attributes have been checked;
// ErrExists when there is one of its name.
func (x *Index) CreateResourceType(ctx context.Context, t *ResourceType) error {
	attributes, err := json.Marshal(t.list())
	if err != nil {
		return err
	}
	return x.failed("cannot create resource type "+t.Name, x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			if _, err := typeIn(ctx, s, t.Name); err == nil {
				return &ObjectError{KindResourceType, t.Name, ErrExists}
			}
			made := ResourceType{Attributes: t.Attributes}
			err := s.row(ctx, []any{&made.id},
				`INSERT INTO resource_types (name, attributes) VALUES (?, ?) RETURNING id`, t.Name, string(attributes))
			if err != nil {
				return err
			}
			return made.index(ctx, s, made.Attributes)
		},
	}))
}

// list is the attributes for JSON: never null.
func (t *ResourceType) list() []Attribute { return append([]Attribute{}, t.Attributes...) }

// typeIn reads a type as it is in a transaction.
func typeIn(ctx context.Context, s session, name string) (*ResourceType, error) {
	var row typeRow
	err := s.row(ctx, []any{&row.id, &row.attributes}, `SELECT id, attributes FROM resource_types WHERE name = ?`, name)
	if err == sql.ErrNoRows {
		return nil, &ObjectError{KindResourceType, name, ErrNotFound}
	}
	if err != nil {
		return nil, err
	}
	return row.decode(name)
}

// A Fill is the value that resources and their history get for an attribute: one
// that is new, or, where they have none, one that there was.
type Fill struct {
	Attribute string
	Value     any // as in Resource.Attributes; nil: none
}

// UpdateResourceType changes a resource type from what the caller has seen to what
// he wants, resources and history with it, and returns it. Attributes that are no
// longer there vanish from them, those that are new get their fill, or nothing;
// those that stay keep their type, and their fill goes where there was no value.
// ErrNotFound when the type is gone, ErrChanged when it isn't what the caller has seen:
// ResourceType then has it as it is.
func (x *Index) UpdateResourceType(
	ctx context.Context, seen *ResourceType, attributes []Attribute, fills []Fill,
) (*ResourceType, error) {
	want := &ResourceType{Name: seen.Name, Attributes: attributes, id: seen.id}
	text, err := json.Marshal(want.list())
	if err != nil {
		return nil, err
	}
	err = x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			if err := seen.unchanged(ctx, s); err != nil {
				return err
			}
			if _, err := s.exec(ctx, `UPDATE resource_types SET attributes = ? WHERE id = ?`, string(text),
				seen.id); err != nil {
				return err
			}
			return want.replace(ctx, s, seen, fills)
		},
	})
	if err != nil {
		return nil, x.failedOn(ctx, "cannot change resource type "+seen.Name, err)
	}
	return want, nil
}

// failedOn is failed of what has been done with a resource type. When the type has been
// changed, maybe by another process, what is held of it is brought up to date, so that
// it makes sense to try again.
func (x *Index) failedOn(ctx context.Context, what string, err error) error {
	if errors.Is(err, ErrChanged) {
		if _, err := x.snapshots.refresh(ctx, x.database.reading()); err != nil {
			return x.failed(what, err)
		}
	}
	return x.failed(what, err)
}

// unchanged says with an error that the type is no longer what it was.
func (t *ResourceType) unchanged(ctx context.Context, s session) error {
	now, err := typeIn(ctx, s, t.Name)
	if err != nil {
		return err
	}
	if now.id != t.id || !slices.Equal(now.Attributes, t.Attributes) {
		return &ObjectError{KindResourceType, t.Name, ErrChanged}
	}
	return nil
}

// replace makes resources and history of the type follow it from what it was.
func (t *ResourceType) replace(ctx context.Context, s session, old *ResourceType, fills []Fill) error {
	for i := range old.Attributes {
		a := &old.Attributes[i]
		if t.Attribute(a.Name) != nil {
			continue
		}
		if _, err := s.exec(ctx, `DROP INDEX IF EXISTS `+t.indexName(a)); err != nil {
			return err
		}
		if err := t.rewrite(ctx, s, s.dialect.removeAttribute(a), ""); err != nil {
			return err
		}
	}
	for _, fill := range fills {
		a := t.Attribute(fill.Attribute)
		if a == nil || fill.Value == nil {
			continue
		}
		value, err := json.Marshal(fill.Value)
		if err != nil {
			return err
		}
		if err := t.rewrite(ctx, s, s.dialect.setAttribute(a), s.dialect.attribute(a)+" IS NULL",
			string(value)); err != nil {
			return err
		}
	}
	var added []Attribute
	for _, a := range t.Attributes {
		if old.Attribute(a.Name) == nil {
			added = append(added, a)
		}
	}
	return t.index(ctx, s, added)
}

// rewrite sets the attributes of all resources of the type, past and present, that
// satisfy a condition.
func (t *ResourceType) rewrite(ctx context.Context, s session, attributes, condition string, args ...any) error {
	where := ` WHERE type_id = ?`
	if condition != "" {
		where += ` AND ` + condition
	}
	for _, table := range []string{"resources", "resource_history"} {
		if _, err := s.exec(ctx, `UPDATE `+table+` SET attributes = `+attributes+where,
			append(slices.Clone(args), t.id)...); err != nil {
			return err
		}
	}
	return nil
}

// index makes the indexes by which resources of the type are found by attributes.
// Each goes on with the order in which resources are listed, so that a page of those
// with one value is a piece of it.
func (t *ResourceType) index(ctx context.Context, s session, attributes []Attribute) error {
	for i := range attributes {
		a := &attributes[i]
		err := s.dialect.sorting(ctx, s, func() error {
			_, err := s.exec(ctx, fmt.Sprintf(`CREATE INDEX %s ON resources
				(%s(%s), listed_at, id) WHERE type_id = %d`,
				t.indexName(a), s.dialect.ofType, s.dialect.attribute(a), t.id))
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot index attribute %s: %w", a.Name, err)
		}
	}
	return nil
}

func (t *ResourceType) indexName(a *Attribute) string {
	sum := sha256.Sum256([]byte(a.Name))
	return fmt.Sprintf("resources_%d_%s", t.id, hex.EncodeToString(sum[:8]))
}

// DeleteResourceType removes a resource type; ErrNotFound when there is none,
// ErrInUse when there are resources of it or it is the generic one.
func (x *Index) DeleteResourceType(ctx context.Context, name string) error {
	return x.failed("cannot delete resource type "+name, x.writer.do(ctx, &change{
		policies: true,
		apply: func(ctx context.Context, s session) error {
			t, err := typeIn(ctx, s, name)
			if err != nil {
				return err
			}
			used := 0
			err = s.row(ctx, []any{&used},
				`SELECT count(*) FROM (SELECT 1 FROM resources WHERE type_id = ? LIMIT 1) AS used`, t.id)
			if err != nil {
				return err
			}
			if used > 0 || name == GenericType {
				return &ObjectError{KindResourceType, name, ErrInUse}
			}
			for i := range t.Attributes {
				if _, err := s.exec(ctx, `DROP INDEX IF EXISTS `+t.indexName(&t.Attributes[i])); err != nil {
					return err
				}
			}
			_, err = s.exec(ctx, `DELETE FROM resource_types WHERE id = ?`, t.id)
			return err
		},
	}))
}

func sortedTypes(types map[string]*ResourceType) []*ResourceType {
	list := make([]*ResourceType, 0, len(types))
	for _, t := range types {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *ResourceType) int { return strings.Compare(a.Name, b.Name) })
	return list
}

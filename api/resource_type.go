package api

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"millrace/api/auth"
	"millrace/index"
)

// findType looks the path's resource type up.
func (q *request) findType() (err error) {
	q.resourceType, err = q.index.ResourceType(q.ctx, q.params[0])
	return err
}

// asTypeIs does something with the route's resource type, and again with what the type
// has become when somebody has changed it at the same time, or so lately that this
// process hasn't heard of it and the request makes no sense to it.
func (q *request) asTypeIs(do func() error) error {
	for range 2 {
		err := do()
		switch {
		case errors.Is(err, index.ErrChanged):
			if err := q.findType(); err != nil {
				return err
			}
		case !makesNoSense(err) || !q.freshType():
			return err
		}
	}
	return do()
}

// makesNoSense says whether a request was refused for what it says.
func makesNoSense(err error) bool {
	if _, ok := errors.AsType[*invalidError](err); ok {
		return true
	}
	f, ok := errors.AsType[*failure](err)
	return ok && f.status == http.StatusBadRequest
}

// freshType looks the route's resource type up in the database, and says whether it is
// another than this process knew.
func (q *request) freshType() bool {
	if q.resourceType.Name == index.GenericType { // it never changes
		return false
	}
	t, err := q.index.FreshResourceType(q.ctx, q.resourceType)
	if err != nil || t == q.resourceType {
		return false
	}
	q.resourceType = t
	return true
}

func (q *request) listResourceTypes() error {
	types, err := q.index.ResourceTypes(q.ctx)
	if err != nil {
		return err
	}
	list := make([]any, len(types))
	for i, t := range types {
		list[i] = resourceTypeJSON(t)
	}
	return q.json(http.StatusOK, list)
}

// listResourceKinds answers GET /v1/resource: where the resources of each type are.
func (q *request) listResourceKinds() error {
	types, err := q.index.ResourceTypes(q.ctx)
	if err != nil {
		return err
	}
	links := map[string]any{}
	for _, t := range types {
		links[t.Name] = q.base() + "/v1/resource/" + url.PathEscape(t.Name)
	}
	return q.json(http.StatusOK, links)
}

func (q *request) getResourceType() error {
	return q.json(http.StatusOK, resourceTypeJSON(q.resourceType))
}

// postResourceType answers POST /v1/resource_type. What is wrong with the body comes
// before what the caller may not do.
func (q *request) postResourceType() error {
	var t index.ResourceType
	var list []patchedAttribute
	err := q.decode(fields(required("name", text(&t.Name, maxName)), optional("attributes", attributes(&list, false))))
	if err != nil {
		return err
	}
	if err := checkAttributes(list, func(string) bool { return true }); err != nil {
		return err
	}
	if !q.who.Permit(auth.CreateResourceType).For("", "") {
		return forbidden()
	}
	for i := range list {
		t.Attributes = append(t.Attributes, list[i].Attribute)
	}
	if err := q.index.CreateResourceType(q.ctx, &t); err != nil {
		return err
	}
	q.w.Header().Set("Location", q.base()+"/v1/resource_type/"+url.PathEscape(t.Name))
	return q.json(http.StatusCreated, resourceTypeJSON(&t))
}

func (q *request) deleteResourceType() error {
	if err := q.index.DeleteResourceType(q.ctx, q.resourceType.Name); err != nil {
		return err
	}
	return q.empty(http.StatusNoContent)
}

const typeJSONPatch = "application/json-patch+json"

// patchResourceType answers PATCH /v1/resource_type/<name>, with a JSON Patch (RFC
// 6902) of which only add and remove below /attributes are known.
func (q *request) patchResourceType() error {
	v, err := q.readJSON(typeJSONPatch)
	if err != nil {
		return err
	}
	for range 3 { // somebody else may change the type at the same time
		t, err := q.index.ResourceType(q.ctx, q.params[0])
		if err != nil {
			return err
		}
		changed, err := q.patchType(t, v)
		if errors.Is(err, index.ErrChanged) {
			continue
		}
		if err != nil {
			return err
		}
		return q.json(http.StatusOK, resourceTypeJSON(changed))
	}
	return unavailable("The resource type is being changed by somebody else. Please try again.")
}

func (q *request) patchType(t *index.ResourceType, patch any) (*index.ResourceType, error) {
	wanted := attributesObject(t)
	if err := list(0, patchOperation(&wanted))(patch); err != nil {
		return nil, err
	}
	var patched []patchedAttribute
	if err := attributes(&patched, true)(wanted); err != nil {
		return nil, err
	}
	if err := checkAttributes(patched, func(name string) bool { return t.Attribute(name) == nil }); err != nil {
		return nil, err
	}
	fills, err := q.fills(t, patched)
	if err != nil {
		return nil, err
	}
	next := make([]index.Attribute, len(patched))
	for i := range patched {
		next[i] = patched[i].Attribute
	}
	if slices.Equal(next, t.Attributes) && len(fills) == 0 {
		return t, nil
	}
	return q.index.UpdateResourceType(q.ctx, t, next, fills)
}

// attributesObject is a type's attributes as a patch sees them.
func attributesObject(t *index.ResourceType) object {
	o := object{values: map[string]any{}}
	for i := range t.Attributes {
		a := &t.Attributes[i]
		of := object{values: map[string]any{}}
		for _, m := range attributeJSON(a) {
			v := m.Value
			if n, ok := v.(int); ok {
				v = json.Number(strconv.Itoa(n))
			}
			of.set(m.Name, v)
		}
		o.set(a.Name, of)
	}
	return o
}

func (o *object) set(key string, v any) {
	if _, there := o.values[key]; !there {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

// patchOperation checks one operation of a patch and does it to the attributes.
func patchOperation(attributes *object) check {
	return func(v any) error {
		var op, path string
		var value any
		err := fields(
			required("op", oneOf(&op, "add", "remove")),
			required("path", attributePath(&path)),
			optional("value", func(v any) error {
				if _, ok := v.(object); !ok {
					return wrong("expected dict")
				}
				value = v
				return nil
			}),
		)(v)
		if err != nil {
			return err
		}
		return applyPatch(attributes, op, path, value)
	}
}

func oneOf(into *string, values ...string) check {
	return func(v any) error {
		s, ok := v.(string)
		if !ok || !slices.Contains(values, s) {
			return wrong("not a valid value")
		}
		*into = s
		return nil
	}
}

func attributePath(into *string) check {
	return func(v any) error {
		s, ok := v.(string)
		if !ok || s != "/attributes" && !strings.HasPrefix(s, "/attributes/") {
			return wrong("not a valid value")
		}
		*into = strings.TrimPrefix(s, "/attributes")
		return nil
	}
}

// applyPatch does an operation at a path below /attributes.
func applyPatch(attributes *object, op, path string, value any) (err error) {
	switch {
	case op == "add" && value == nil:
		return badRequest("The operation does not contain a 'value' member")
	case path == "" && op == "add":
		*attributes = value.(object)
		return nil
	case path == "":
		*attributes = object{values: map[string]any{}}
		return nil
	}
	steps := strings.Split(path[1:], "/")
	for i := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(steps[i])
	}
	*attributes, err = attributes.patched(op, steps, value)
	return err
}

// patched returns the object with the member that steps lead to set or removed.
func (o *object) patched(op string, steps []string, value any) (object, error) {
	changed := object{slices.Clone(o.keys), maps.Clone(o.values)}
	step := steps[0]
	old, there := o.values[step]
	if len(steps) > 1 {
		inner, ok := old.(object)
		if !ok {
			return changed, badRequest("member '" + step + "' not found")
		}
		inner, err := inner.patched(op, steps[1:], value)
		changed.values[step] = inner
		return changed, err
	}
	if op == "add" {
		changed.set(step, value)
		return changed, nil
	}
	if !there {
		return changed, badRequest("can't remove a non-existent object '" + step + "'")
	}
	delete(changed.values, step)
	changed.keys = slices.DeleteFunc(changed.keys, func(key string) bool { return key == step })
	return changed, nil
}

// fills checks what attributes are added and changed, and with what resources that
// exist are to be filled.
func (q *request) fills(t *index.ResourceType, patched []patchedAttribute) ([]index.Fill, error) {
	var fills []index.Fill
	for i := range patched {
		a := &patched[i]
		old := t.Attribute(a.Name)
		if old != nil && old.Type != a.Type {
			return nil, badRequest("Type update is not available yet. Changing " + string(old.Type) + " to " + string(a.Type) +
				" for attribute " + a.Name + " of resource " + t.Name)
		}
		untouched := old != nil && *old == a.Attribute && !a.options
		if a.fill == nil {
			if a.Required && !untouched {
				return nil, badFill(a, "must not be empty if required=True")
			}
			continue
		}
		value, err := q.attributeValue(&a.Attribute, a.fill)
		if e, ok := errors.AsType[*invalidError](err); ok {
			return nil, badFill(a, e.message)
		}
		if err != nil {
			return nil, err
		}
		fills = append(fills, index.Fill{Attribute: a.Name, Value: value})
	}
	return fills, nil
}

func badFill(a *patchedAttribute, why string) error {
	return badRequest("Invalid input: Option 'fill' of resource attribute " + a.Name + " is invalid: " + why)
}

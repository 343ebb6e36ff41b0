package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// operators of the query language, with their other names.
var operators = map[string]index.Op{
	"=": index.OpEq, "==": index.OpEq, "eq": index.OpEq,
	"!=": index.OpNe, "≠": index.OpNe, "ne": index.OpNe,
	"<": index.OpLt, "lt": index.OpLt,
	">": index.OpGt, "gt": index.OpGt,
	"<=": index.OpLe, "≤": index.OpLe, "le": index.OpLe,
	">=": index.OpGe, "≥": index.OpGe, "ge": index.OpGe,
	"like": index.OpLike, "in": index.OpIn,
	"and": index.OpAnd, "∧": index.OpAnd, "or": index.OpOr, "∨": index.OpOr, "not": index.OpNot,
}

// A treeReader makes conditions of trees in the query language.
type treeReader struct {
	q       *request
	of      *index.ResourceType
	history bool
}

// conditionOf reads a tree in the query language: conditions on resources seen as of
// a type. An empty one is no condition: nil.
func (q *request) conditionOf(tree any, of *index.ResourceType, history bool) (*index.Expr, error) {
	if o, ok := tree.(object); ok && len(o.keys) == 0 {
		return nil, nil
	}
	r := treeReader{q, of, history}
	e, err := r.node(tree)
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// filterOf reads the text form of a condition.
func (q *request) filterOf(filter string, of *index.ResourceType, history bool) (*index.Expr, error) {
	tree, err := gnocchi.ParseFilter(filter)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	return q.conditionOf(fromGnocchi(tree), of, history)
}

// fromGnocchi makes parseJSON's values of a parsed filter.
func fromGnocchi(v any) any {
	switch v := v.(type) {
	case gnocchi.Object:
		o := object{values: map[string]any{}}
		for _, m := range v {
			o.set(m.Name, fromGnocchi(m.Value))
		}
		return o
	case []any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = fromGnocchi(v[i])
		}
		return items
	}
	return v
}

// node reads an object whose only key is an operator.
func (r *treeReader) node(v any) (index.Expr, error) {
	o, ok := v.(object)
	if !ok {
		return index.Expr{}, wrong("expected a dictionary")
	}
	for _, key := range o.keys {
		if operators[key] == 0 {
			return index.Expr{}, &invalidError{message: "extra keys not allowed", path: []any{key}}
		}
	}
	switch len(o.keys) {
	case 0:
		return index.Expr{}, badRequest("Unable to parse this query")
	case 1:
	default:
		return index.Expr{}, wrong("length of value must be at most 1")
	}
	key := o.keys[0]
	e, err := r.operation(operators[key], o.values[key])
	return e, below(err, key)
}

func (r *treeReader) operation(op index.Op, v any) (index.Expr, error) {
	e := index.Expr{Op: op}
	switch op {
	case index.OpAnd, index.OpOr:
		err := list(1, func(v any) error {
			arg, err := r.node(v)
			e.Args = append(e.Args, arg)
			return err
		})(v)
		return e, err
	case index.OpNot:
		arg, err := r.node(v)
		e.Args = []index.Expr{arg}
		return e, err
	}
	o, ok := v.(object)
	switch {
	case !ok:
		return e, wrong("expected a dictionary")
	case len(o.keys) == 0:
		return e, wrong("length of value must be at least 1")
	case len(o.keys) > 1:
		return e, wrong("length of value must be at most 1")
	}
	name := o.keys[0]
	if op == index.OpLike && name == "id" {
		return e, &invalidError{message: "value must not be one of ['id']", path: []any{"id"}}
	}
	if err := r.comparison(&e, name, o.values[name]); err != nil {
		return e, below(err, name)
	}
	return e, nil
}

// comparison reads what a field is compared with.
func (r *treeReader) comparison(e *index.Expr, name string, v any) (err error) {
	items, isList := v.([]any)
	_, isObject := v.(object)
	switch {
	case e.Op == index.OpIn && !isList:
		return wrong("expected a list")
	case e.Op == index.OpIn && len(items) == 0:
		return wrong("length of value must be at least 1")
	case e.Op != index.OpIn && (isList || isObject):
		return wrong("expected str")
	}
	for i, item := range items {
		switch item.(type) {
		case []any, object:
			return below(wrong("expected str"), i)
		}
	}
	var ok bool
	if e.Field, ok = r.of.Field(name, r.history); !ok {
		return badRequest("Resource type " + r.of.Name + " has no " + name + " attribute")
	}
	if e.Op != index.OpIn {
		if text, ok := v.(string); ok && e.Op == index.OpLike {
			e.Value = text // a pattern is none of the field's values
			return nil
		}
		e.Value, err = r.scalar(&e.Field, v, v)
		return err
	}
	for _, item := range items {
		value, err := r.scalar(&e.Field, item, v)
		if err != nil {
			return err
		}
		if value != nil {
			e.Values = append(e.Values, value)
		}
	}
	return nil
}

// scalar converts a value to the kind of its field. Shown is what an error shows.
func (r *treeReader) scalar(f *index.Field, v, shown any) (any, error) {
	if v == nil {
		return nil, nil
	}
	text := scalarText(v)
	switch f.Kind {
	case index.FieldText, index.FieldCreatedBy:
		return text, nil
	case index.FieldUUID:
		if id, err := ingest.ParseMetricID(text); err == nil {
			return id.String(), nil
		}
	case index.FieldID:
		id, err := resourceID(text, r.q.who.Creator)
		if err != nil {
			return nil, badRequest(err.Error())
		}
		return [16]byte(id), nil
	case index.FieldNumber:
		if n, err := strconv.ParseFloat(numberText(v, text), 64); err == nil {
			return n, nil
		}
	case index.FieldBool:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case index.FieldTime:
		if t, err := gnocchi.ParseMicroseconds(text, r.q.now()); err == nil {
			return t, nil
		}
	case index.FieldLifespan:
		if span, err := gnocchi.TimespanOf(v); err == nil {
			return int64(span), nil
		}
	}
	return nil, badRequest(fmt.Sprintf("Invalid value: `%s' for field `%s'", shownValue(shown), f.Name))
}

// scalarText is a scalar as Python shows it.
func scalarText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "True"
		}
		return "False"
	}
	return "None"
}

func numberText(v any, text string) string {
	switch v {
	case true:
		return "1"
	case false:
		return "0"
	}
	return strings.TrimSpace(text)
}

func shownValue(v any) string {
	items, ok := v.([]any)
	if !ok {
		return scalarText(v)
	}
	shown := make([]string, len(items))
	for i, item := range items {
		shown[i] = scalarText(item)
		if _, ok := item.(string); ok {
			shown[i] = "'" + shown[i] + "'"
		}
	}
	return "[" + strings.Join(slices.Clip(shown), ", ") + "]"
}

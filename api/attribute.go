package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

const (
	maxAttributeName   = 63
	maxAttributeLength = 256
)

// reservedAttributes are names that a resource type can't give to its attributes.
var reservedAttributes = []string{
	"id", "type", "metrics", "revision", "revision_start", "revision_end", "started_at", "ended_at", "user_id",
	"project_id",
	"created_by_user_id", "created_by_project_id", "get_metric", "creator", "original_resource_id", "lifespan",
}

// A patchedAttribute is an attribute in a body, where it may say more than it keeps.
type patchedAttribute struct {
	index.Attribute
	options bool // {"options": …} is there
	fill    any  // as in the body; nil: none
}

// attributeJSON is an attribute as the API shows it: exactly these keys, which
// clients compare.
func attributeJSON(a *index.Attribute) gnocchi.Object {
	o := gnocchi.Object{{Name: "type", Value: string(a.Type)}, {Name: "required", Value: a.Required}}
	switch a.Type {
	case index.AttributeString:
		o = append(o, gnocchi.Member{Name: "min_length", Value: a.MinLength},
			gnocchi.Member{Name: "max_length", Value: a.MaxLength})
	case index.AttributeNumber:
		o = append(o, gnocchi.Member{Name: "min", Value: orNull(a.Min)}, gnocchi.Member{Name: "max", Value: orNull(a.Max)})
	}
	return o
}

func orNull(n json.Number) any {
	if n == "" {
		return nil
	}
	return n
}

func resourceTypeJSON(t *index.ResourceType) gnocchi.Object {
	attributes := make(gnocchi.Object, len(t.Attributes))
	for i := range t.Attributes {
		attributes[i] = gnocchi.Member{Name: t.Attributes[i].Name, Value: attributeJSON(&t.Attributes[i])}
	}
	return gnocchi.Object{{Name: "name", Value: t.Name}, {Name: "attributes", Value: attributes},
		{Name: "state", Value: "active"}}
}

// attributes checks the attributes of a resource type: an object of names.
func attributes(into *[]patchedAttribute, patched bool) check {
	return func(v any) error {
		o, ok := v.(object)
		if !ok {
			return wrong("expected a dictionary")
		}
		for _, name := range o.keys {
			a := patchedAttribute{Attribute: index.Attribute{Name: name}}
			if err := attributeOf(&a, patched)(o.values[name]); err != nil {
				return below(err, name)
			}
			*into = append(*into, a)
		}
		return nil
	}
}

// attributeOf checks one attribute. Options, with what fills resources that exist, may
// only be given where an attribute is added to a type.
func attributeOf(a *patchedAttribute, patched bool) check {
	return func(v any) error {
		o, ok := v.(object)
		if !ok {
			return wrong("expected a dictionary")
		}
		kind, ok := o.values["type"].(string)
		if !ok {
			return &invalidError{message: "required key not provided", path: []any{"type"}}
		}
		a.Type, a.Required = index.AttributeType(kind), true
		of := []field{required("type", text(&kind, maxName)), optional("required", boolean(&a.Required))}
		if patched {
			of = append(of, optional("options", options(a)))
		}
		switch a.Type {
		case index.AttributeString:
			least, most := int64(0), int64(maxAttributeLength)
			of = append(of, optional("min_length", length(&least, 0)), optional("max_length", length(&most, 1)))
			if err := fields(of...)(v); err != nil {
				return err
			}
			a.MinLength, a.MaxLength = int(least), int(most)
			return nil
		case index.AttributeNumber:
			of = append(of, optional("min", bound(&a.Min)), optional("max", bound(&a.Max)))
		case index.AttributeUUID, index.AttributeBool, index.AttributeDatetime:
		default:
			return below(wrong("not a valid value"), "type")
		}
		return fields(of...)(v)
	}
}

func options(a *patchedAttribute) check {
	return func(v any) error {
		a.options = true
		return fields(optional("fill", func(v any) error { a.fill = v; return nil }))(v)
	}
}

// boolean checks a JSON boolean.
func boolean(into *bool) check {
	return func(v any) error {
		b, ok := v.(bool)
		if !ok {
			return wrong("expected bool")
		}
		*into = b
		return nil
	}
}

// length checks a bound of a string's length.
func length(into *int64, least int64) check {
	return func(v any) error {
		n, ok := v.(json.Number)
		i, err := n.Int64()
		if !ok || err != nil {
			return wrong("expected int")
		}
		if i < least {
			return wrong("value must be at least " + strconv.FormatInt(least, 10))
		}
		if i > maxAttributeLength {
			return wrong("value must be at most " + strconv.Itoa(maxAttributeLength))
		}
		*into = i
		return nil
	}
}

// bound checks a bound of a number: one, or null.
func bound(into *json.Number) check {
	return func(v any) error {
		if v == nil {
			*into = ""
			return nil
		}
		n, err := real64(v)
		*into = n
		return err
	}
}

// real64 is a JSON number that is one of float64 too.
func real64(v any) (json.Number, error) {
	n, ok := v.(json.Number)
	f, err := n.Float64()
	if !ok || err != nil || math.IsInf(f, 0) {
		return "", wrong("expected Real")
	}
	if f == 0 { // not every database reads 1e-400 as that
		return "0", nil
	}
	if len(n) > maxDigits { // nor does every one keep digits by the thousand, which are beyond float64
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return n, nil
}

// maxDigits is the length up to which a number is kept as it was written.
const maxDigits = 64

// checkAttributes checks what is right by itself as a whole. Names are those of
// attributes that weren't there before.
func checkAttributes(list []patchedAttribute, isNew func(name string) bool) error {
	for i := range list {
		a := &list[i].Attribute
		first := byte(0)
		if a.Name != "" {
			first = a.Name[0]
		}
		alphanumeric := first >= '0' && first <= '9' || first >= 'A' && first <= 'Z' || first >= 'a' && first <= 'z'
		if !alphanumeric || noNUL(a.Name) != nil || utf8.RuneCountInString(a.Name) > maxAttributeName ||
			slices.Contains(reservedAttributes, a.Name) && isNew(a.Name) {
			return badRequest("Invalid input: Resource attribute name " + a.Name + " is invalid")
		}
		low, high := json.Number(strconv.Itoa(a.MinLength)), json.Number(strconv.Itoa(a.MaxLength))
		if a.Type == index.AttributeNumber {
			low, high = a.Min, a.Max
		}
		least, err1 := low.Float64()
		most, err2 := high.Float64()
		if (a.Type == index.AttributeNumber || a.Type == index.AttributeString) && err1 == nil && err2 == nil &&
			least > most {
			return badRequest(fmt.Sprintf("Invalid input: Resource attribute value min (or min_length) %s must be less  "+
				"than or equal to max (or max_length) %s!", low, high))
		}
	}
	return nil
}

// value checks an attribute's value and stores it as the index has it.
func (q *request) value(a *index.Attribute, into map[string]any) check {
	return func(v any) (err error) {
		into[a.Name], err = q.attributeValue(a, v)
		return err
	}
}

func (q *request) attributeValue(a *index.Attribute, v any) (any, error) {
	switch a.Type {
	case index.AttributeString:
		s, ok := v.(string)
		if !ok {
			return nil, wrong("expected str")
		}
		switch n := utf8.RuneCountInString(s); {
		case n < a.MinLength:
			return nil, wrong("length of value must be at least " + strconv.Itoa(a.MinLength))
		case n > a.MaxLength:
			return nil, wrong("length of value must be at most " + strconv.Itoa(a.MaxLength))
		}
		return s, noNUL(s)
	case index.AttributeUUID:
		s, ok := v.(string)
		id, err := ingest.ParseMetricID(s)
		if !ok || err != nil {
			return nil, wrong(ingest.ErrMetricID.Error())
		}
		return id.String(), nil
	case index.AttributeNumber:
		return boundedNumber(a, v)
	case index.AttributeBool:
		b, ok := v.(bool)
		if !ok {
			return nil, wrong("expected bool")
		}
		return b, nil
	case index.AttributeDatetime:
		var t int64
		err := q.datetime(&t)(v)
		return t, err
	}
	return nil, errors.New("an attribute of an unknown type: " + string(a.Type))
}

func boundedNumber(a *index.Attribute, v any) (any, error) {
	n, err := real64(v)
	if err != nil {
		return nil, err
	}
	f, _ := n.Float64()
	if least, err := a.Min.Float64(); err == nil && f < least {
		return nil, wrong("value must be at least " + a.Min.String())
	}
	if most, err := a.Max.Float64(); err == nil && f > most {
		return nil, wrong("value must be at most " + a.Max.String())
	}
	return n, nil
}

// datetime checks an instant, of which whole microseconds are kept.
func (q *request) datetime(into *int64) check {
	return func(v any) error {
		switch v.(type) {
		case string, json.Number:
		default:
			return wrong("not a valid value")
		}
		t, err := gnocchi.ParseMicroseconds(scalarText(v), q.now())
		if err != nil {
			return wrong("not a valid value")
		}
		*into = t
		return nil
	}
}

// noNUL refuses what a database can't keep.
func noNUL(s string) error {
	for i := range len(s) {
		if s[i] == 0 {
			return wrong("U+0000 is not supported")
		}
	}
	return nil
}

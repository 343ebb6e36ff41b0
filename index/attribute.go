package index

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// GenericType is the resource type that always exists. It has no attributes, and
// every resource can be seen as one of it.
const GenericType = "generic"

// A ResourceType says which attributes the resources of a type have beyond those
// of all resources. It never changes.
type ResourceType struct {
	Name       string
	Attributes []Attribute // in the order in which they were defined

	id int64
}

// Attribute returns an attribute of the type by its name; nil when there is none.
func (t *ResourceType) Attribute(name string) *Attribute {
	for i := range t.Attributes {
		if t.Attributes[i].Name == name {
			return &t.Attributes[i]
		}
	}
	return nil
}

// An AttributeType is what the values of an attribute are.
type AttributeType string

// The attribute types, with the values that they have in Resource.Attributes.
const (
	AttributeString   AttributeType = "string"   // string
	AttributeUUID     AttributeType = "uuid"     // string: the canonical form
	AttributeNumber   AttributeType = "number"   // json.Number
	AttributeBool     AttributeType = "bool"     // bool
	AttributeDatetime AttributeType = "datetime" // int64: nanoseconds since 1970
)

// An Attribute is one attribute of a resource type.
type Attribute struct {
	Name      string        `json:"name"`
	Type      AttributeType `json:"type"`
	Required  bool          `json:"required"`
	MinLength int           `json:"min_length,omitempty"` // of a string, in characters
	MaxLength int           `json:"max_length,omitempty"`
	Min       json.Number   `json:"min,omitempty"` // of a number; "": any
	Max       json.Number   `json:"max,omitempty"`
}

// key is the attribute's key in the JSON column: its name, where nothing in it can
// be mistaken for a part of a JSON path, of a string of SQL or of a parameter.
func (a *Attribute) key() string {
	var s strings.Builder
	for i := range len(a.Name) {
		switch c := a.Name[i]; {
		case c < ' ', c == 0x7f, strings.IndexByte(`"'?%\[]{}`, c) >= 0:
			fmt.Fprintf(&s, "%%%02X", c)
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}

// A FieldKind is what a field's values are, and so what it can be compared with.
type FieldKind uint8

// The kinds, with the type of Expr.Value for each.
const (
	FieldText      FieldKind = iota + 1 // string
	FieldUUID                           // string: the canonical form of a UUID
	FieldID                             // [16]byte: the resource's id
	FieldNumber                         // float64
	FieldBool                           // bool
	FieldTime                           // int64: nanoseconds since 1970
	FieldLifespan                       // int64: nanoseconds
	FieldCreatedBy                      // string, a part of the creator; only equality and OpLike
)

// A Field is something that resources can be searched, and mostly sorted, by. The
// zero Field is none.
type Field struct {
	Name string
	Kind FieldKind

	column    string // of both tables; "" for custom attributes and what is computed
	history   bool   // of resource_history only
	nullable  bool
	attribute *Attribute
	typeID    int64 // whose attribute
}

// builtinFields are the fields of all resources.
var builtinFields = []Field{
	{Name: "id", Kind: FieldID, column: "id"},
	{Name: "type", Kind: FieldText},
	{Name: "creator", Kind: FieldText, column: "creator"},
	{Name: "started_at", Kind: FieldTime, column: "started_at"},
	{Name: "ended_at", Kind: FieldTime, column: "ended_at", nullable: true},
	{Name: "revision_start", Kind: FieldTime, column: "revision_start"},
	{Name: "user_id", Kind: FieldText, column: "user_id", nullable: true},
	{Name: "project_id", Kind: FieldText, column: "project_id", nullable: true},
	{Name: "original_resource_id", Kind: FieldText, column: "original_id"},
	{Name: "created_by_user_id", Kind: FieldCreatedBy},
	{Name: "created_by_project_id", Kind: FieldCreatedBy},
	{Name: "lifespan", Kind: FieldLifespan, nullable: true},
	{Name: "revision_end", Kind: FieldTime, history: true, nullable: true},
	{Name: "revision", Kind: FieldNumber, history: true},
}

// Field finds what a name stands for among the resources of the type: an attribute
// of all resources or of the type, and revision_end and revision where history is
// looked at; false when there is no such thing.
func (t *ResourceType) Field(name string, history bool) (Field, bool) {
	i := slices.IndexFunc(builtinFields, func(f Field) bool { return f.Name == name })
	if i >= 0 {
		f := builtinFields[i]
		return f, history || !f.history
	}
	a := t.Attribute(name)
	if a == nil {
		return Field{}, false
	}
	f := Field{Name: name, attribute: a, nullable: true, typeID: t.id}
	switch a.Type {
	case AttributeString:
		f.Kind = FieldText
	case AttributeUUID:
		f.Kind = FieldUUID
	case AttributeNumber:
		f.Kind = FieldNumber
	case AttributeBool:
		f.Kind = FieldBool
	case AttributeDatetime:
		f.Kind = FieldTime
	}
	return f, true
}

// sorts says whether listings can be sorted by the field.
func (f *Field) sorts() bool { return f.Kind != FieldCreatedBy && f.Kind != FieldLifespan }

// expression is the field's value in a row of resources, or of resource_history.
func (f *Field) expression(d *dialect, old bool) string {
	switch {
	case f.attribute != nil:
		return d.attribute(f.attribute)
	case f.column != "":
		return f.column
	case f.Kind == FieldLifespan:
		return "(ended_at - started_at)"
	case f.Kind == FieldCreatedBy:
		return "creator"
	case f.Name == "type":
		return "(SELECT name FROM resource_types WHERE resource_types.id = type_id)"
	case old:
		return f.Name
	case f.Name == "revision":
		return "-1"
	default:
		return "CAST(NULL AS BIGINT)"
	}
}

package gnocchi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

// An Object is an object of JSON whose keys keep their order.
type Object []Member

// A Member is one key of an object with its value.
type Member struct {
	Name  string
	Value any
}

// Marshal writes v as the v1 API writes JSON: see [Append].
func Marshal(v any) []byte { return Append(nil, v) }

// Append appends v as the v1 API writes JSON: with a space after comma and colon,
// and with no more escapes than necessary. It knows
//
//   - nil, booleans, integers, strings and json.Number,
//   - floats and instants, as AppendFloat and AppendTime write them; the zero Time is null,
//   - a time.Duration, as AppendTimespan writes it, and an ingest.MetricID,
//   - an Object; maps with strings as keys, which are sorted; structs, whose fields
//     are named and left out as their json tags say (omitempty; no embedding),
//   - slices and arrays, pointers to all this, and a json.RawMessage, which is copied.
//
// A nil slice is an empty list and a nil map an empty object. Anything else is a bug.
func Append(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return AppendString(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		return AppendFloat(dst, v)
	case json.Number:
		return append(dst, v...)
	case json.RawMessage:
		if v == nil {
			return append(dst, "null"...)
		}
		return append(dst, v...)
	case time.Time:
		return appendInstantOf(dst, v)
	case time.Duration:
		dst = append(dst, '"')
		dst = AppendTimespan(dst, v)
		return append(dst, '"')
	case ingest.MetricID:
		dst = append(dst, '"')
		dst = v.AppendText(dst)
		return append(dst, '"')
	case Object:
		return appendObject(dst, v)
	case map[string]any:
		return appendMap(dst, v)
	case []any:
		return appendList(dst, len(v), func(i int) any { return v[i] })
	}
	return appendReflected(dst, reflect.ValueOf(v))
}

func appendInstantOf(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = appendInstant(dst, t.Unix(), t.Nanosecond())
	return append(dst, '"')
}

func appendObject(dst []byte, o Object) []byte {
	dst = append(dst, '{')
	for i, m := range o {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = AppendString(dst, m.Name)
		dst = append(dst, ": "...)
		dst = Append(dst, m.Value)
	}
	return append(dst, '}')
}

func appendMap(dst []byte, m map[string]any) []byte {
	o := make(Object, 0, len(m))
	for name, value := range m {
		o = append(o, Member{name, value})
	}
	return appendObject(dst, o.sorted())
}

func (o Object) sorted() Object {
	slices.SortFunc(o, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return o
}

func appendList(dst []byte, n int, at func(int) any) []byte {
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = Append(dst, at(i))
	}
	return append(dst, ']')
}

// appendReflected appends what has no case of its own in Append.
func appendReflected(dst []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(dst, v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		return AppendFloat(dst, v.Float())
	case reflect.String:
		return AppendString(dst, v.String())
	case reflect.Pointer:
		if v.IsNil() {
			return append(dst, "null"...)
		}
		return Append(dst, v.Elem().Interface())
	case reflect.Slice, reflect.Array:
		return appendList(dst, v.Len(), func(i int) any { return v.Index(i).Interface() })
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			o := make(Object, 0, v.Len())
			for it := v.MapRange(); it.Next(); {
				o = append(o, Member{it.Key().String(), it.Value().Interface()})
			}
			return appendObject(dst, o.sorted())
		}
	case reflect.Struct:
		return appendObject(dst, fieldsOf(v))
	}
	panic(fmt.Sprintf("BUG: the API has no JSON for a %s", v.Type()))
}

// fieldsOf are the exported fields of a struct, under the names of their tags.
func fieldsOf(v reflect.Value) Object {
	var o Object
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "-" || strings.Contains(options, "omitempty") && v.Field(i).IsZero() {
			continue
		}
		if name == "" {
			name = field.Name
		}
		o = append(o, Member{name, v.Field(i).Interface()})
	}
	return o
}

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"millrace/api/gnocchi"
)

// An invalidError says what is wrong with a body and where, in the manner of
// voluptuous, the library with which Gnocchi validates.
type invalidError struct {
	message string
	path    []any // keys (string) and indexes (int)
	value   bool  // the message is about the value at path
}

// Error is the message, whether the value sits below a key, and the path:
// "expected a list for dictionary value @ data['definition']".
func (e *invalidError) Error() string {
	if len(e.path) == 0 {
		return e.message
	}
	var s strings.Builder
	s.WriteString(e.message)
	if _, key := e.path[len(e.path)-1].(string); key && e.value {
		s.WriteString(" for dictionary value")
	}
	s.WriteString(" @ data")
	for _, step := range e.path {
		if key, ok := step.(string); ok {
			s.WriteString("['" + key + "']")
		} else {
			fmt.Fprintf(&s, "[%d]", step)
		}
	}
	return s.String()
}

// detail is the path as strings.
func (e *invalidError) detail() []any {
	detail := make([]any, len(e.path))
	for i, step := range e.path {
		detail[i] = fmt.Sprint(step)
	}
	return detail
}

// below moves an error one step further from the root.
func below(err error, step any) error {
	if e, ok := errors.AsType[*invalidError](err); ok {
		e.path = append([]any{step}, e.path...)
	}
	return err
}

func wrong(message string) error { return &invalidError{message: message, value: true} }

// An object is a JSON object whose keys keep their order.
type object struct {
	keys   []string
	values map[string]any
}

// A check looks at one value, stores it, or says what is wrong with it.
type check func(v any) error

// A field is a key that an object may have.
type field struct {
	key      string
	required bool
	check    check
}

func required(key string, c check) field { return field{key, true, c} }
func optional(key string, c check) field { return field{key, false, c} }

// fields checks an object: its keys in the order of the body, and what is missing
// when all that is there is right.
func fields(of ...field) check {
	return func(v any) error {
		o, ok := v.(object)
		if !ok {
			return wrong("expected a dictionary")
		}
	keys:
		for _, key := range o.keys {
			for _, f := range of {
				if f.key == key {
					if err := f.check(o.values[key]); err != nil {
						return below(err, key)
					}
					continue keys
				}
			}
			return &invalidError{message: "extra keys not allowed", path: []any{key}}
		}
		for _, f := range of {
			if _, there := o.values[f.key]; f.required && !there {
				return &invalidError{message: "required key not provided", path: []any{f.key}}
			}
		}
		return nil
	}
}

// list checks a list of at least so many items; item stores one.
func list(least int, item check) check {
	return func(v any) error {
		items, ok := v.([]any)
		if !ok {
			return wrong("expected a list")
		}
		for i, v := range items {
			if err := item(v); err != nil {
				return below(err, i)
			}
		}
		if len(items) < least {
			return wrong("length of value must be at least " + strconv.Itoa(least))
		}
		return nil
	}
}

// text checks a string of at most so many characters.
func text(into *string, most int) check {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return wrong("expected str")
		}
		if utf8.RuneCountInString(s) > most {
			return wrong("length of value must be at most " + strconv.Itoa(most))
		}
		*into = s
		return nil
	}
}

// maybeText checks a text that may be absent.
func maybeText(into **string, most int) check {
	return func(v any) error {
		var s string
		if err := text(&s, most)(v); err != nil {
			return err
		}
		*into = &s
		return nil
	}
}

// integer checks what Python's int() takes, at least so large.
func integer(into *int64, least int64) check {
	return func(v any) error {
		n, ok := asInt(v)
		if !ok {
			return wrong("expected int")
		}
		if n < least {
			return wrong("value must be at least " + strconv.FormatInt(least, 10))
		}
		*into = n
		return nil
	}
}

func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, true
		}
		f, err := v.Float64()
		if err != nil || math.Abs(f) >= 1<<63 {
			return 0, false
		}
		return int64(f), true
	}
	return 0, false
}

// timespan checks a positive duration.
func timespan(into *time.Duration) check {
	return func(v any) error {
		d, err := gnocchi.TimespanOf(v)
		if err != nil {
			return wrong(err.Error())
		}
		*into = d
		return nil
	}
}

// decode reads the request's small JSON body and checks it.
func (q *request) decode(schema check) error {
	v, err := q.readJSON(typeJSON)
	if err != nil {
		return err
	}
	return schema(v)
}

// readJSON reads the request's small body, JSON of a media type.
func (q *request) readJSON(mediaType string) (any, error) {
	if err := q.needType(mediaType); err != nil {
		return nil, err
	}
	b, err := q.readBody(smallBody)
	if err != nil {
		return nil, err
	}
	defer b.release()
	return parseJSON(b.data)
}

// maxDepth bounds how deep a small body may be nested.
const maxDepth = 64

// parseJSON reads one JSON value into nil, bool, json.Number, string, []any and
// object.
func parseJSON(data []byte) (any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &gnocchi.DecodeError{Reason: "Expected object or value"}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("Trailing data") //lint:ignore ST1005 the API's wording
		}
	}
	if err == nil && !utf8.Valid(data) {
		err = errors.New("Invalid UTF-8") //lint:ignore ST1005 the API's wording
	}
	if err != nil {
		return nil, &gnocchi.DecodeError{Reason: err.Error()}
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("nested too deep")
	}
	switch token {
	case json.Delim('['):
		items := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, v)
		}
		_, err := d.Token()
		return items, err
	case json.Delim('{'):
		o := object{values: map[string]any{}}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder knows that keys are strings
			if _, again := o.values[name]; !again {
				o.keys = append(o.keys, name)
			}
			o.values[name] = v
		}
		_, err := d.Token()
		return o, err
	}
	return token, nil
}

package gnocchi

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// checkJSON says, with a *DecodeError, if data isn't JSON. It is JSON as
// encoding/json has it, with NaN, Infinity and -Infinity as further numbers.
func checkJSON(data []byte) error {
	if blanks(data, 0) == len(data) {
		return &DecodeError{Reason: "Expected object or value"}
	}
	plain, quoted := quoteConstants(data)
	err := json.Unmarshal(plain, new(anything))
	if err == nil {
		return nil
	}
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return &DecodeError{Reason: err.Error()}
	}
	at := syntax.Offset
	for _, constant := range quoted {
		if int64(constant)+1 < at { // beyond the quote that was put before it
			at -= 2
		}
	}
	return &DecodeError{Reason: fmt.Sprintf("%s (byte %d of %d)", syntax, at, len(data))}
}

// anything takes any JSON, and keeps nothing of it.
type anything struct{}

func (*anything) UnmarshalJSON([]byte) error { return nil }

// quoteConstants puts quotes around NaN, Infinity and -Infinity where they stand for
// values, so that encoding/json takes them, and returns where in data they were.
func quoteConstants(data []byte) (plain []byte, quoted []int) {
	plain = data
	inString, copied := false, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == 'N' || c == 'I' || c == '-'):
			n := constant(data[i:])
			if n == 0 {
				continue
			}
			if quoted == nil {
				plain = make([]byte, 0, len(data)+64)
			}
			plain = append(plain, data[copied:i]...)
			plain = append(plain, '"')
			plain = append(plain, data[i:i+n]...)
			plain = append(plain, '"')
			quoted = append(quoted, i)
			i += n - 1
			copied = i + 1
		}
	}
	if quoted != nil {
		plain = append(plain, data[copied:]...)
	}
	return plain, quoted
}

// constant is the length of the constant that data begins with, zero when there is
// none or when it is used as a key.
func constant(data []byte) int {
	for _, name := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if len(data) < len(name) || string(data[:len(name)]) != name {
			continue
		}
		if i := blanks(data, len(name)); i < len(data) && data[i] == ':' {
			return 0
		}
		return len(name)
	}
	return 0
}

// A cursor walks over JSON that checkJSON found no fault with; so commas and colons
// say nothing new.
type cursor struct {
	data []byte
	i    int
}

// next is the first byte of what comes next.
func (c *cursor) next() byte {
	for strings.IndexByte(" \t\n\r,:", c.data[c.i]) >= 0 {
		c.i++
	}
	return c.data[c.i]
}

// enter goes into the object or the list that comes next.
func (c *cursor) enter() {
	c.next()
	c.i++
}

// more says whether the object or the list goes on, and leaves it when it doesn't.
func (c *cursor) more() bool {
	if b := c.next(); b != '}' && b != ']' {
		return true
	}
	c.i++
	return false
}

// text returns the string that comes next.
func (c *cursor) text() string { return unquote(c.value()) }

// value passes over the value that comes next and returns it as it stands there.
func (c *cursor) value() []byte {
	c.next()
	start := c.i
	for depth := 0; ; {
		switch c.data[c.i] {
		case '"':
			c.passString()
		case '{', '[':
			depth++
			c.i++
		case '}', ']':
			depth--
			c.i++
		default:
			c.passWord()
		}
		if depth == 0 {
			return c.data[start:c.i]
		}
		c.next()
	}
}

func (c *cursor) passString() {
	for c.i++; c.data[c.i] != '"'; c.i++ {
		if c.data[c.i] == '\\' {
			c.i++
		}
	}
	c.i++
}

// passWord passes over a number or a literal.
func (c *cursor) passWord() {
	for c.i < len(c.data) && strings.IndexByte(" \t\n\r,:]}", c.data[c.i]) < 0 {
		c.i++
	}
}

// unquote is the text of a string of JSON.
func unquote(raw []byte) string {
	for i, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			break
		}
		if i == len(raw)-1 {
			return string(raw[1:i])
		}
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		panic("BUG: a string of JSON that was found valid: " + err.Error())
	}
	return s
}

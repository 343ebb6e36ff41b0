package influx

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// An Error says which line can't be taken, and why.
type Error struct {
	Line   int    // counted from 1
	Tag    string // the tag that is missing; "": it isn't that
	Reason string
}

func (e *Error) Error() string {
	if e.Tag != "" {
		return fmt.Sprintf("line %d: there is no tag %q", e.Line, e.Tag)
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
}

// numbered makes an Error of what is wrong with the n-th entry of a body, from 0. The
// decoder knows the lines of its own errors only, so for the others they are counted,
// once for a body that is refused.
func numbered(err error, body []byte, n int) error {
	if syntax, ok := errors.AsType[*lineprotocol.DecodeError](err); ok {
		return &Error{Line: int(syntax.Line), Reason: syntax.Err.Error()}
	}
	e, ok := errors.AsType[*Error](err)
	if !ok { // the decoder's, of a timestamp
		e = &Error{Reason: err.Error()}
	}
	e.Line = lineOf(body, n)
	return e
}

// lineOf is the line on which the n-th entry of a body begins.
func lineOf(body []byte, n int) int {
	return 1 + sort.Search(bytes.Count(body, []byte{'\n'}), func(lines int) bool { return entries(body, lines+1) > n })
}

// entries counts the entries in so many lines of a body.
func entries(body []byte, lines int) int {
	rest := body
	for range lines {
		_, rest, _ = bytes.Cut(rest, []byte{'\n'})
	}
	d := lineprotocol.NewDecoderWithBytes(body[:len(body)-len(rest)])
	n := 0
	for d.Next() {
		n++
	}
	return n
}

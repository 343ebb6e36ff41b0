package operations

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxDepth bounds how deep an expression may be nested.
const maxDepth = 64

// A SyntaxError says where a string stops being an expression.
type SyntaxError struct {
	Expected string
	At       int // byte
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("Expected %s (at char %d)", e.Expected, e.At)
}

// A token is a word of an expression: a name, or a number.
type token string

// parseExpression reads the first parenthesised expression of a text as lists of
// tokens. What follows is not looked at.
func parseExpression(text string) ([]any, error) {
	var stack [][]any
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case c == '(':
			if len(stack) == maxDepth {
				return nil, &SyntaxError{fmt.Sprintf("at most %d nested parentheses", maxDepth), i}
			}
			stack = append(stack, []any{})
			i++
		case len(stack) == 0:
			return nil, &SyntaxError{`"("`, i}
		case c == ')':
			list := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return list, nil
			}
			stack[len(stack)-1] = append(stack[len(stack)-1], list)
			i++
		default:
			word := wordAt(text[i:])
			stack[len(stack)-1] = append(stack[len(stack)-1], token(word))
			i += len(word)
		}
	}
	if len(stack) == 0 {
		return nil, &SyntaxError{`"("`, len(text)}
	}
	return nil, &SyntaxError{`")"`, len(text)}
}

// wordAt is the word that a text begins with. In quotes, which stay part of it,
// it may have blanks and parentheses.
func wordAt(text string) string {
	if quote := text[0]; quote == '"' || quote == '\'' {
		if end := strings.IndexByte(text[1:], quote); end >= 0 {
			return text[:end+2]
		}
	}
	if end := strings.IndexAny(text, " \t\r\n()"); end >= 0 {
		return text[:end]
	}
	return text
}

// plain is what lists of tokens are in JSON.
func plain(v any) any {
	switch v := v.(type) {
	case token:
		if json.Valid([]byte(v)) {
			if _, ok := parseNumber(string(v)); ok {
				return json.Number(v)
			}
		}
		return string(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	}
	return v
}

package gnocchi

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxFilterDepth bounds how deep a filter may be nested.
const maxFilterDepth = 64

// ParseFilter reads a filter, the text form of the query language:
//
//	expr      := or
//	or        := and { ("or" | "∨") and }
//	and       := not { ("and" | "∧") not }
//	not       := "not" not | "(" expr ")" | condition
//	condition := term OP term
//	OP        := ">=" | "<=" | "!=" | ">" | "<" | "=" | "eq" | "ne" | "lt" | "gt" | "le" | "ge" | "in" | "like" | "≠" |
//	"≥" | "≤"
//	term      := null | bool | uuid | ident | number | quoted | list
//	null      := "None" | "none" | "null"
//	bool      := "True" | "true" | "False" | "false"
//	uuid      := 8-4-4-4-12 hexadecimal digits, hyphens optional
//	ident     := [A-Za-z][A-Za-z0-9_]*
//	number    := [+-]? d+ [ "." d* ] [ (e|E) [+-]? d+ ]
//	quoted    := '…' or "…", without escapes
//	list      := "[" [ term { "," term } ] "]"
//
// Blanks are free, and words end where no letter, digit or underscore follows. The
// result is the filter's JSON form: objects of one key, an operator, with an [Object]
// of one attribute or a list of objects. Values are nil, booleans, strings,
// json.Number and lists of them. An error begins with "Invalid filter: Expected".
func ParseFilter(filter string) (Object, error) {
	p := filterParser{text: filter}
	tree, err := p.or(0)
	if err == nil {
		if p.blanks(); p.at < len(filter) {
			err = p.expected("end of text")
		}
	}
	return tree, err
}

// A filterParser reads a filter from left to right.
type filterParser struct {
	text string
	at   int
}

func (p *filterParser) expected(what string) error {
	found := "end of text"
	if rest := p.text[p.at:]; rest != "" {
		const most = 16 // characters
		end := 0
		for i, n := 0, 0; i < len(rest) && n < most; n++ {
			_, width := utf8.DecodeRuneInString(rest[i:])
			i += width
			end = i
		}
		found = fmt.Sprintf("'%s'", strings.ToValidUTF8(rest[:end], "�"))
	}
	return message(fmt.Sprintf("Invalid filter: Expected %s, found %s  (at char %d)", what, found,
		utf8.RuneCountInString(p.text[:p.at])))
}

func (p *filterParser) blanks() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// mark takes a sign that is no word.
func (p *filterParser) mark(sign string) bool {
	p.blanks()
	if !strings.HasPrefix(p.text[p.at:], sign) {
		return false
	}
	p.at += len(sign)
	return true
}

// word takes one of the words, if it ends there.
func (p *filterParser) word(words ...string) (string, bool) {
	p.blanks()
	rest := p.text[p.at:]
	for _, w := range words {
		if after, ok := strings.CutPrefix(rest, w); ok && (after == "" || !isWordByte(after[0])) {
			p.at += len(w)
			return w, true
		}
	}
	return "", false
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= utf8.RuneSelf
}

func (p *filterParser) or(depth int) (Object, error) { return p.chain(depth, "or", "∨", p.and) }

func (p *filterParser) and(depth int) (Object, error) { return p.chain(depth, "and", "∧", p.not) }

// chain reads operands with an operator between them.
func (p *filterParser) chain(depth int, word, sign string, operand func(int) (Object, error)) (Object, error) {
	first, err := operand(depth)
	if err != nil {
		return nil, err
	}
	operands := []any{first}
	for {
		if _, ok := p.word(word); !ok && !p.mark(sign) {
			break
		}
		next, err := operand(depth)
		if err != nil {
			return nil, err
		}
		operands = append(operands, next)
	}
	if len(operands) == 1 {
		return first, nil
	}
	return Object{{word, operands}}, nil
}

func (p *filterParser) not(depth int) (Object, error) {
	if depth > maxFilterDepth {
		return nil, p.expected(fmt.Sprintf("at most %d levels", maxFilterDepth))
	}
	if _, ok := p.word("not"); ok {
		inner, err := p.not(depth + 1)
		return Object{{"not", inner}}, err
	}
	if !p.mark("(") {
		return p.condition(depth)
	}
	inner, err := p.or(depth + 1)
	if err == nil && !p.mark(")") {
		err = p.expected("')'")
	}
	return inner, err
}

func (p *filterParser) condition(depth int) (Object, error) {
	p.blanks()
	begin := p.at
	left, err := p.term(depth)
	if err != nil {
		return nil, err
	}
	var attribute string
	switch left := left.(type) {
	case string:
		attribute = left
	case json.Number, bool:
		attribute = strings.TrimSpace(p.text[begin:p.at])
	default:
		p.at = begin
		return nil, p.expected("an attribute")
	}
	op, ok := p.operator()
	if !ok {
		return nil, p.expected("an operator")
	}
	value, err := p.term(depth)
	return Object{{op, Object{{attribute, value}}}}, err
}

func (p *filterParser) operator() (string, bool) {
	for _, sign := range []string{">=", "<=", "!=", ">", "<", "=", "≠", "≥", "≤"} {
		if p.mark(sign) {
			return sign, true
		}
	}
	return p.word("eq", "ne", "lt", "gt", "le", "ge", "in", "like")
}

func (p *filterParser) term(depth int) (any, error) {
	if _, ok := p.word("None", "none", "null"); ok {
		return nil, nil
	}
	if w, ok := p.word("True", "true", "False", "false"); ok {
		return w == "True" || w == "true", nil
	}
	p.blanks()
	rest := p.text[p.at:]
	if n := uuidLength(rest); n > 0 {
		return p.take(n), nil
	}
	if n := identLength(rest); n > 0 {
		return p.take(n), nil
	}
	if n := numberLength(rest); n > 0 {
		return json.Number(strings.TrimPrefix(p.take(n), "+")), nil
	}
	switch {
	case rest != "" && (rest[0] == '\'' || rest[0] == '"'):
		end := strings.IndexByte(rest[1:], rest[0])
		if end < 0 {
			return nil, p.expected("a closing " + rest[:1])
		}
		text := p.take(end + 2)
		return text[1 : len(text)-1], nil
	case p.mark("["):
		return p.list(depth + 1)
	}
	return nil, p.expected("a value")
}

func (p *filterParser) take(n int) string {
	p.at += n
	return p.text[p.at-n : p.at]
}

func (p *filterParser) list(depth int) (any, error) {
	if depth > maxFilterDepth {
		return nil, p.expected(fmt.Sprintf("at most %d levels", maxFilterDepth))
	}
	items := []any{}
	if p.mark("]") {
		return items, nil
	}
	for {
		item, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		if p.mark("]") {
			return items, nil
		}
		if !p.mark(",") {
			return nil, p.expected("',' or ']'")
		}
	}
}

// uuidLength is the length of the UUID that a text begins with; 0 when there is none.
func uuidLength(s string) int {
	at := 0
	for group, digits := range [...]int{8, 4, 4, 4, 12} {
		if group > 0 && at < len(s) && s[at] == '-' {
			at++
		}
		for range digits {
			if at >= len(s) || !isHex(s[at]) {
				return 0
			}
			at++
		}
	}
	if at < len(s) && isWordByte(s[at]) {
		return 0
	}
	return at
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func identLength(s string) int {
	if s == "" || !(s[0] >= 'A' && s[0] <= 'Z' || s[0] >= 'a' && s[0] <= 'z') {
		return 0
	}
	n := 1
	for n < len(s) && s[n] < utf8.RuneSelf && isWordByte(s[n]) {
		n++
	}
	return n
}

// numberLength is the length of the number that a text begins with.
func numberLength(s string) int {
	n := 0
	if n < len(s) && (s[n] == '+' || s[n] == '-') {
		n++
	}
	digits := func() int {
		begin := n
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n - begin
	}
	if digits() == 0 {
		return 0
	}
	if n < len(s) && s[n] == '.' {
		n++
		digits()
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		end := n
		if n++; n < len(s) && (s[n] == '+' || s[n] == '-') {
			n++
		}
		if digits() == 0 {
			n = end
		}
	}
	return n
}

package index

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Op is what an Expr does.
type Op uint8

// The operators. OpIn looks at Values, OpAnd, OpOr and OpNot at Args, the others
// at Value.
const (
	OpEq Op = iota + 1
	OpNe
	OpLt
	OpGt
	OpLe
	OpGe
	OpLike // % is any run of characters, _ any one; of text only
	OpIn
	OpAnd
	OpOr
	OpNot
)

// An Expr is a condition on resources: a comparison of a field, or a combination.
//
// Logic is SQL's: a comparison with what a resource doesn't have is neither true
// nor false, and so is its negation. Exceptions: a nil Value is compared as in IS
// NULL by OpEq and IS NOT NULL by OpNe, and OpNe is true of what a resource doesn't
// have.
type Expr struct {
	Op     Op
	Field  Field // from ResourceType.Field
	Value  any   // of the type that Field.Kind says, or nil
	Values []any // not nil ones; none: neither true nor false
	Args   []Expr
}

// MaxExprValues bounds the values of an Expr, all of its comparisons together: what every
// database takes as parameters of a statement. MaxExprComparisons bounds the comparisons,
// of which those of one field with any of several values are one: what is planned in time.
const (
	MaxExprValues      = 10_000
	MaxExprComparisons = 1000
)

// manyComparisons are more than a database is asked to find indexes for: SQLite's planning
// grows with the square of them, and it can't be stopped meanwhile.
const manyComparisons = 64

// maxPattern bounds a pattern, in bytes: SQLite takes up to 50,000.
const maxPattern = 4096

// condition compiles the expression, for rows of resources or of resource_history.
func (e *Expr) condition(d *dialect, old bool) (condition, error) {
	if e == nil {
		return condition{}, nil
	}
	c := compiler{dialect: d, old: old}
	text, err := c.compile(e)
	if err == nil && c.comparisons > manyComparisons {
		text = d.opaque(text)
	}
	switch {
	case err != nil:
	case len(c.args) > MaxExprValues:
		err = &InvalidError{fmt.Sprintf("Invalid filter: it has %d values, and the limit is %d", len(c.args),
			MaxExprValues)}
	case c.comparisons > MaxExprComparisons:
		err = &InvalidError{fmt.Sprintf("Invalid filter: it has %d comparisons, and the limit is %d", c.comparisons,
			MaxExprComparisons)}
	}
	return condition{text, c.args}, err
}

// A compiler collects the arguments of the SQL that it writes.
type compiler struct {
	dialect *dialect
	old     bool
	args    []any

	comparisons int
}

// never is a condition that is neither true nor false.
const never = "(1 = NULL)"

func (c *compiler) compile(e *Expr) (string, error) {
	switch e.Op {
	case OpAnd:
		return c.join(e.Args, " AND ")
	case OpOr:
		return c.join(gather(e.Args), " OR ")
	case OpNot:
		if len(e.Args) != 1 {
			panic("BUG: OpNot has one argument")
		}
		inner, err := c.compile(&e.Args[0])
		return "(NOT " + inner + ")", err
	}
	c.comparisons++
	switch {
	case e.Field.Kind == FieldCreatedBy:
		return c.createdBy(e)
	case e.Field.Name == "type" && (e.Op == OpEq || e.Op == OpIn):
		return c.ofTypes(e)
	}
	return c.compare(e)
}

// gather makes one OpIn of all comparisons with a value that an OpOr has of a field, which
// says the same.
func gather(args []Expr) []Expr {
	at := make(map[string]int) // by field, in gathered
	var gathered []Expr
	for i, arg := range args {
		if arg.Op != OpEq || arg.Value == nil || arg.Field.Kind == FieldCreatedBy {
			gathered = append(gathered, arg)
			continue
		}
		first, there := at[arg.Field.Name]
		switch {
		case !there:
			at[arg.Field.Name] = len(gathered)
			gathered = append(gathered, args[i])
		case gathered[first].Op == OpEq:
			gathered[first] = Expr{Op: OpIn, Field: arg.Field, Values: []any{gathered[first].Value, arg.Value}}
		default:
			gathered[first].Values = append(gathered[first].Values, arg.Value)
		}
	}
	return gathered
}

// join writes a long list as a tree that is flat enough for every database.
func (c *compiler) join(args []Expr, word string) (string, error) {
	switch len(args) {
	case 0:
		panic("BUG: nothing to combine")
	case 1:
		return c.compile(&args[0])
	}
	left, err := c.join(args[:len(args)/2], word)
	if err != nil {
		return "", err
	}
	right, err := c.join(args[len(args)/2:], word)
	return "(" + left + word + right + ")", err
}

var comparisons = map[Op]string{OpEq: " = ?", OpLt: " < ?", OpGt: " > ?", OpLe: " <= ?", OpGe: " >= ?"}

func (c *compiler) compare(e *Expr) (string, error) {
	left := e.Field.expression(c.dialect, c.old)
	if e.Field.Name == "revision" { // else the values would have to be integers, too
		left = "CAST(" + left + " AS DOUBLE PRECISION)"
	}
	switch {
	case e.Op == OpIn:
		return c.in(left, e.Values), nil
	case e.Value == nil && e.Op == OpEq:
		return "(" + left + " IS NULL)", nil
	case e.Value == nil && e.Op == OpNe:
		return "(" + left + " IS NOT NULL)", nil
	case e.Value == nil:
		return never, nil
	case e.Op == OpLike:
		return c.like(left, e)
	}
	c.args = append(c.args, argument(e.Value))
	if e.Op == OpNe && e.Field.nullable {
		return "(" + left + " <> ? OR " + left + " IS NULL)", nil
	}
	if e.Op == OpNe {
		return "(" + left + " <> ?)", nil
	}
	return "(" + left + comparisons[e.Op] + ")", nil
}

func (c *compiler) in(left string, values []any) string {
	if len(values) == 0 { // there were nulls only
		return never
	}
	for _, v := range values {
		c.args = append(c.args, argument(v))
	}
	return "(" + left + " IN (?" + strings.Repeat(", ?", len(values)-1) + "))"
}

func (c *compiler) like(left string, e *Expr) (string, error) {
	pattern, ok := e.Value.(string)
	if !ok || e.Field.Kind != FieldText && e.Field.Kind != FieldUUID || len(pattern) > maxPattern {
		return "", invalidValue(e)
	}
	text, arg := c.dialect.like(left, pattern)
	c.args = append(c.args, arg)
	return "(" + text + ")", nil
}

// createdBy compares a part of the creator, of those that have the parts.
func (c *compiler) createdBy(e *Expr) (string, error) {
	value, ok := e.Value.(string)
	if !ok || e.Op != OpEq && e.Op != OpNe && e.Op != OpLike || len(value) > maxPattern {
		return "", invalidValue(e)
	}
	if e.Op == OpLike {
		pattern := value + ":%"
		if e.Field.Name == "created_by_project_id" {
			pattern = "%:" + value
		}
		text, arg := c.dialect.like("creator", pattern)
		c.args = append(c.args, arg)
		return "(" + text + ")", nil
	}
	var is condition
	if e.Field.Name == "created_by_project_id" {
		is = endsWith("creator", ":"+value)
	} else {
		is = startsWith("creator", value+":")
	}
	c.args = append(c.args, is.args...)
	if e.Op == OpNe {
		return "(NOT (" + is.text + "))", nil
	}
	return "(" + is.text + ")", nil
}

// startsWith and endsWith compare the ends of a text.
func startsWith(column, start string) condition {
	return where(fmt.Sprintf("substr(%s, 1, %d) = ?", column, utf8.RuneCountInString(start)), start)
}

func endsWith(column, end string) condition {
	n := utf8.RuneCountInString(end)
	return where(fmt.Sprintf("length(%[1]s) >= %[2]d AND substr(%[1]s, length(%[1]s) - %[2]d + 1) = ?", column, n), end)
}

// ofTypes finds resources by the names of types, without looking at every name.
func (c *compiler) ofTypes(e *Expr) (string, error) {
	values := e.Values
	if e.Op == OpEq {
		if e.Value == nil {
			return "(1 = 0)", nil
		}
		values = []any{e.Value}
	}
	return "(type_id IN (SELECT id FROM resource_types WHERE " + c.in("name", values) + "))", nil
}

func argument(value any) any {
	switch v := value.(type) {
	case [16]byte:
		return v[:]
	case string, float64, bool, int64:
		return v
	}
	panic(fmt.Sprintf("BUG: a value of an Expr is a %T", value))
}

func invalidValue(e *Expr) error {
	return &InvalidError{fmt.Sprintf("Invalid value: `%v' for field `%s'", e.Value, e.Field.Name)}
}

package ingest

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// A Method is an aggregation method: one of 108 (mean, sum, last, max, min, std,
// median, first, count, 1pct … 99pct), or the same over the differences between
// consecutive measures (prefix "rate:"). The numbers are part of the segment
// format.
type Method uint8

// The methods. Percentile(q) gives the others, m.OfRate() those with "rate:".
const (
	Mean Method = iota
	Sum
	Last
	Max
	Min
	Std
	Median
	First
	Count
	firstPercentile // 1pct

	baseMethods = 108
	// Methods is how many methods there are; each is below it.
	Methods = 2 * baseMethods
)

const ratePrefix = "rate:"

var methodNames = func() (names [Methods]string) {
	copy(names[:], []string{"mean", "sum", "last", "max", "min", "std", "median", "first", "count"})
	for q := 1; q <= 99; q++ {
		names[Percentile(q)] = strconv.Itoa(q) + "pct"
	}
	for m := range baseMethods {
		names[baseMethods+m] = ratePrefix + names[m]
	}
	return names
}()

var methodByName = func() map[string]Method {
	byName := make(map[string]Method, Methods)
	for m, name := range methodNames {
		byName[name] = Method(m)
	}
	return byName
}()

// Percentile returns the method "<q>pct", 1 ≤ q ≤ 99.
func Percentile(q int) Method {
	if q < 1 || q > 99 {
		panic(fmt.Sprintf("BUG: no such percentile: %d", q))
	}
	return firstPercentile + Method(q-1)
}

// ParseMethod finds a method by its name.
func ParseMethod(name string) (Method, bool) {
	m, ok := methodByName[name]
	return m, ok
}

// String returns the method's name.
func (m Method) String() string {
	if int(m) >= Methods {
		return "method(" + strconv.Itoa(int(m)) + ")"
	}
	return methodNames[m]
}

// IsRate says whether the method works on differences.
func (m Method) IsRate() bool { return m >= baseMethods }

// Base is the method without "rate:".
func (m Method) Base() Method {
	if m.IsRate() {
		return m - baseMethods
	}
	return m
}

// OfRate is the method with "rate:".
func (m Method) OfRate() Method { return m.Base() + baseMethods }

// Quantile returns q of a percentile "<q>pct" (with or without "rate:").
func (m Method) Quantile() (q int, ok bool) {
	b := m.Base()
	if b < firstPercentile {
		return 0, false
	}
	return int(b-firstPercentile) + 1, true
}

// A MethodSet is a set of methods.
type MethodSet [(Methods + 63) / 64]uint64

// MethodsOf returns the set of the methods given.
func MethodsOf(methods ...Method) MethodSet {
	var s MethodSet
	for _, m := range methods {
		s.Add(m)
	}
	return s
}

// DefaultMethods is Gnocchi's default list: mean, min, max, sum, std, count.
func DefaultMethods() MethodSet { return MethodsOf(Mean, Min, Max, Sum, Std, Count) }

// AllMethods is the set of all 216.
func AllMethods() MethodSet {
	var s MethodSet
	for m := range Methods {
		s.Add(Method(m))
	}
	return s
}

// Has says whether m is in the set.
func (s *MethodSet) Has(m Method) bool { return s[m/64]&(1<<(m%64)) != 0 }

// Add puts m into the set.
func (s *MethodSet) Add(m Method) { s[m/64] |= 1 << (m % 64) }

// Remove takes m out of the set.
func (s *MethodSet) Remove(m Method) { s[m/64] &^= 1 << (m % 64) }

// Union adds every method of t.
func (s *MethodSet) Union(t MethodSet) {
	for i := range s {
		s[i] |= t[i]
	}
}

// Len counts the methods.
func (s *MethodSet) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// AnyRate says whether a method of the set works on differences.
func (s *MethodSet) AnyRate() bool {
	for m := baseMethods; m < Methods; m++ {
		if s.Has(Method(m)) {
			return true
		}
	}
	return false
}

// List returns the methods in their numeric order.
func (s *MethodSet) List() []Method {
	list := make([]Method, 0, s.Len())
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			list = append(list, Method(i*64+bits.TrailingZeros64(w)))
		}
	}
	return list
}

// Names returns the methods' names in numeric order.
func (s *MethodSet) Names() []string {
	names := make([]string, 0, s.Len())
	for _, m := range s.List() {
		names = append(names, m.String())
	}
	return names
}

// ExpandMethods reads the method list of an archive policy: plain names, "*" for
// all, "+name" and "-name" to add to or take from the base, which is all methods
// when "*" occurs, else defaults when every item is signed (or none is given),
// else the plain names. Removals come before additions. The error's Item is the
// index of the item that is not a method.
func ExpandMethods(items []string, defaults MethodSet) (MethodSet, error) {
	var plain, add, remove MethodSet
	all, signed := false, true
	for i, item := range items {
		if item == "*" {
			all, signed = true, false
			continue
		}
		into, name := &plain, item
		switch {
		case strings.HasPrefix(item, "+"):
			into, name = &add, item[1:]
		case strings.HasPrefix(item, "-"):
			into, name = &remove, item[1:]
		default:
			signed = false
		}
		m, ok := ParseMethod(name)
		if !ok {
			return MethodSet{}, &MethodError{Item: i, Name: item}
		}
		into.Add(m)
	}
	set := plain
	if all {
		set = AllMethods()
	} else if signed {
		set = defaults
	}
	for i := range set {
		set[i] = set[i]&^remove[i] | add[i]
	}
	return set, nil
}

// A MethodError names the item of a list that is not an aggregation method.
type MethodError struct {
	Item int
	Name string
}

func (e *MethodError) Error() string {
	return fmt.Sprintf("%q (item %d) is not an aggregation method", e.Name, e.Item)
}

package index

import "strings"

// A sortKey is a column that listings can be sorted by.
type sortKey struct {
	column   string
	nullable bool
	value    func(m *Metric) any // nil: the metric has none
}

// sortKeyOf finds a key by the name that the API gives it. The key without a
// column, status, is the same for every active metric.
func sortKeyOf(name string) (key sortKey, ok bool) {
	text := func(s *string) any {
		if s == nil {
			return nil
		}
		return *s
	}
	switch name {
	case "id":
		return sortKey{"id", false, func(m *Metric) any { return m.ID[:] }}, true
	case "creator":
		return sortKey{byWalking("creator"), false, func(m *Metric) any { return m.Creator }}, true
	case "archive_policy_name":
		return sortKey{"archive_policy", false, func(m *Metric) any { return m.Policy }}, true
	case "name":
		return sortKey{"name", true, func(m *Metric) any { return text(m.Name) }}, true
	case "unit":
		return sortKey{byWalking("unit"), true, func(m *Metric) any { return text(m.Unit) }}, true
	case "resource_id":
		return sortKey{"resource", true, func(m *Metric) any { return resourceArg(m.Resource) }}, true
	case "status":
		return sortKey{}, true
	}
	return sortKey{}, false
}

// byWalking is a column of which no index is used. One of values that many metrics have is
// no good for pages: metrics of one value are found in no order, one by one, and sorted.
// (A coalesce is an expression, which no index is of, and costs nothing; a concatenation with
// nothing makes a text of each row, several times.)
func byWalking(column string) string { return "coalesce(" + column + ", " + column + ")" }

// An order is one of the keys that a listing is sorted by.
type order struct {
	key        sortKey
	descending bool
	nullsFirst bool
}

// beyond is the comparison that is true of what comes later.
func (o order) beyond() string {
	if o.descending {
		return " <"
	}
	return " >"
}

// parseSorts reads sorts and appends the id, which no two metrics share. Keys that
// can't make a difference, because they come again or after the id, are left out.
func parseSorts(sorts []string) ([]order, error) {
	var orders []order
	seen := make(map[string]bool)
	for _, sort := range append(sorts[:len(sorts):len(sorts)], "id") {
		name, direction, _ := strings.Cut(sort, ":")
		key, ok := sortKeyOf(strings.TrimSpace(name))
		if !ok {
			return nil, badSortKey(strings.TrimSpace(name))
		}
		o, err := parseOrder(key, strings.TrimSpace(direction))
		if err != nil {
			return nil, err
		}
		if column := o.key.column; column != "" && !seen[column] && !seen["id"] {
			seen[column] = true
			orders = append(orders, o)
		}
	}
	return orders, nil
}

func badSortKey(name string) error {
	return &InvalidError{"Invalid pagination: `Sort key supplied is invalid: " + name + "'"}
}

func parseOrder(key sortKey, direction string) (order, error) {
	switch direction {
	case "asc", "asc-nullslast", "":
		return order{key: key}, nil
	case "asc-nullsfirst":
		return order{key: key, nullsFirst: true}, nil
	case "desc", "desc-nullsfirst":
		return order{key: key, descending: true, nullsFirst: true}, nil
	case "desc-nullslast":
		return order{key: key, descending: true}, nil
	}
	return order{}, &InvalidError{"Invalid pagination: `Unknown sort direction, must be one of: asc-nullsfirst, " +
		"asc-nullslast, desc-nullsfirst, desc-nullslast'"}
}

// orderBy writes the ORDER BY clause. Databases differ in where they put nulls, so
// it says that.
func orderBy(orders []order) string {
	terms := make([]string, len(orders))
	for i, o := range orders {
		terms[i] = o.key.column
		if o.descending {
			terms[i] += " DESC"
		}
		switch {
		case !o.key.nullable:
		case o.nullsFirst:
			terms[i] += " NULLS FIRST"
		default:
			terms[i] += " NULLS LAST"
		}
	}
	return strings.Join(terms, ", ")
}

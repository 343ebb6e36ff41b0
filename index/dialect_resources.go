package index

import "strings"

// A resourceDialect is all that differs between the databases where resources are
// concerned: how to look into JSON, and how to match patterns.
type resourceDialect struct {
	// bytes is the type of columns that hold any bytes, json of those with JSON.
	bytes, json string
	// attribute is a custom attribute's value in a row: as SQL knows it, NULL where
	// there is none. It is the text of an index as well, so it never changes.
	attribute func(a *Attribute) string
	// ofType begins the columns of an index of a type's resources by an attribute:
	// SQLite prefers an index with the type in it, and PostgreSQL drops a condition that
	// the index implies, so that it couldn't find its way in it.
	ofType string
	// setAttribute is the row's attributes with another value for one of them, the
	// statement's next parameter, which is JSON.
	setAttribute func(a *Attribute) string
	// removeAttribute is the row's attributes without one of them.
	removeAttribute func(a *Attribute) string
	// like matches a value with a pattern of SQL, of which % and _ are all that is
	// special, and case matters. It returns what to write and the pattern to give it.
	like func(expression, pattern string) (text, argument string)
	// opaque is a condition in parentheses for which no index is looked for, where looking
	// takes longer than the condition is long.
	opaque func(condition string) string
	// metricsOf is the names and ids of the metrics of the resource u.id, as an
	// object of JSON; NULL where there are none.
	metricsOf string
}

func sqliteResources() resourceDialect {
	path := func(a *Attribute) string { return `'$."` + a.key() + `"'` }
	return resourceDialect{
		bytes: "BLOB", json: "TEXT",
		ofType:          "type_id, ",
		attribute:       func(a *Attribute) string { return "json_extract(attributes, " + path(a) + ")" },
		setAttribute:    func(a *Attribute) string { return "json_set(attributes, " + path(a) + ", json(?))" },
		removeAttribute: func(a *Attribute) string { return "json_remove(attributes, " + path(a) + ")" },
		like: func(expression, pattern string) (string, string) {
			// LIKE takes A for a here, and GLOB doesn't.
			glob := strings.NewReplacer("%", "*", "_", "?", "*", "[*]", "?", "[?]", "[", "[[]")
			return expression + " GLOB ?", glob.Replace(pattern)
		},
		opaque: func(condition string) string { return "+" + condition },
		metricsOf: `(SELECT json_group_object(name, hex(id)) FROM metrics
			WHERE resource = u.id AND deleted_at IS NULL AND name IS NOT NULL)`,
	}
}

func postgresResources() resourceDialect {
	return resourceDialect{
		bytes: "BYTEA", json: "JSONB",
		attribute: func(a *Attribute) string {
			value := "(attributes ->> '" + a.key() + "')"
			switch a.Type {
			case AttributeNumber:
				return "CAST(" + value + " AS DOUBLE PRECISION)"
			case AttributeBool:
				return "CAST(" + value + " AS BOOLEAN)"
			case AttributeDatetime:
				return "CAST(" + value + " AS BIGINT)"
			}
			return "(" + value + ` COLLATE "C")`
		},
		setAttribute: func(a *Attribute) string {
			return "jsonb_set(attributes, ARRAY['" + a.key() +
				"'], CAST(? AS JSONB))"
		},
		removeAttribute: func(a *Attribute) string { return "attributes - '" + a.key() + "'" },
		like: func(expression, pattern string) (string, string) {
			return expression + " LIKE ? ESCAPE ''", pattern
		},
		opaque: func(condition string) string { return condition },
		metricsOf: `(SELECT CAST(json_object_agg(name, encode(id, 'hex')) AS TEXT) FROM metrics
			WHERE resource = u.id AND deleted_at IS NULL AND name IS NOT NULL)`,
	}
}

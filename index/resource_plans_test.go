package index

import (
	"database/sql"
	"strings"
	"testing"
)

// TestSearchPlans checks that resources with one value of an attribute are found by
// its index, in the order of listings: that the database looks at no others and sorts
// nothing. (PostgreSQL plans here without statistics, and may sort the few it expects.)
func TestSearchPlans(t *testing.T) {
	for _, c := range []struct {
		name, url, explain string
		column4            bool
	}{
		{name: "sqlite", url: "sqlite::memory:", explain: "EXPLAIN QUERY PLAN ", column4: true},
		{name: "postgres", explain: "EXPLAIN "},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.url
			if url == "" {
				url = postgres(t)
			}
			x := openIndex(t, url, Config{})
			must(t, x.CreateResourceType(t.Context(), &flavors))
			instance := value(x.ResourceType(t.Context(), "instance"))(t)
			values := map[AttributeType]any{AttributeString: "x", AttributeUUID: "x", AttributeNumber: 1.5, AttributeBool: true,
				AttributeDatetime: int64(1)}
			for i := range instance.Attributes {
				a := &instance.Attributes[i]
				f, _ := instance.Field(a.Name, false)
				l := listing{index: x, search: Search{Type: instance, Where: &Expr{Op: OpEq, Field: f, Value: values[a.Type]}},
					dialect: x.database.dialect}
				must(t, l.parseSorts([]string{"revision_start:asc", "started_at:asc"}))
				p := parts(l.in(false), nil)
				query, args, err := l.query(p[0], p[0])
				must(t, err)
				plan := ""
				must(t, x.database.following().rows(t.Context(), func(rows *sql.Rows) error {
					var line string
					dest := []any{&line}
					if c.column4 {
						dest = []any{new(int), new(int), new(int), &line}
					}
					err := rows.Scan(dest...)
					plan += line + "\n"
					return err
				}, c.explain+query+" LIMIT 10", args...))
				if !strings.Contains(plan, instance.indexName(a)) || c.column4 && strings.Contains(plan, "TEMP B-TREE") {
					t.Errorf("%s is not found by its index:\n%s", a.Name, plan)
				}
			}
		})
	}
}

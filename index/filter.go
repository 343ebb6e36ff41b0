package index

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"millrace/ingest"
)

// A Filter selects metrics: those for which everything that is given is equal.
type Filter struct {
	ID                          *ingest.MetricID
	Name, Unit, Policy, Creator *string
	Project                     *string // the creator ends with ":" and this, or it is the resource's project
}

// condition is true of the metrics that are selected. It is written so that no index
// but those of ids and names serves it: the others would find, and sort, most of the
// metrics for every page.
func (f *Filter) condition() condition {
	c := where("deleted_at IS NULL")
	if f.ID != nil {
		c = c.and(where("id = ?", f.ID[:]))
	}
	if f.Name != nil {
		c = c.and(where("name = ?", *f.Name))
	}
	if f.Unit != nil {
		c = c.and(where("unit || '' = ?", *f.Unit))
	}
	if f.Policy != nil {
		c = c.and(where("archive_policy || '' = ?", *f.Policy))
	}
	if f.Creator != nil {
		c = c.and(where("creator || '' = ?", *f.Creator))
	}
	if f.Project != nil {
		created := endsWith("creator", ":"+*f.Project)
		c = c.and(condition{"(" + created.text +
			" OR EXISTS (SELECT 1 FROM resources WHERE resources.id = metrics.resource AND project_id = ?))",
			append(created.args, *f.Project)})
	}
	return c
}

const (
	// rareMetrics is how many metrics may have a value for them all to be found and
	// sorted for a page. Of what more have, one in so many is met when a listing walks
	// along all metrics.
	rareMetrics = 10_000
	// maxCreators is how many creators there may be for those of a project to be looked for.
	maxCreators = 1_000
)

// wholeTable is where metrics are looked for whose values are not rare.
var wholeTable = condition{text: "metrics"}

// from finds where to look for what a filter selects: in all metrics, or only among
// those that have a rare value. Nowhere, if no metric has it.
func (f *Filter) from(ctx context.Context, s session) (table condition, nowhere bool, err error) {
	if f.ID != nil || f.Name != nil { // They have an index.
		return wholeTable, false, nil
	}
	for _, c := range []struct {
		column string
		value  *string
	}{{"unit", f.Unit}, {"archive_policy", f.Policy}, {"creator", f.Creator}} {
		if c.value == nil {
			continue
		}
		table, nowhere, err := rare(ctx, s, where(c.column+" = ?", *c.value))
		if err != nil || nowhere || table.text != wholeTable.text {
			return table, nowhere, err
		}
	}
	if f.Project == nil {
		return wholeTable, false, nil
	}
	return ofProject(ctx, s, *f.Project)
}

// ofProject is from for a project.
func ofProject(ctx context.Context, s session, project string) (table condition, nowhere bool, err error) {
	creators, err := creatorsOf(ctx, s, project)
	if err != nil {
		if errors.Is(err, errManyCreators) {
			err = nil
		}
		return wholeTable, false, err
	}
	which := where("deleted_at IS NULL AND resource IS NOT NULL AND resource IN (SELECT r.id FROM resources AS r "+
		"WHERE project_id = ?)", project)
	of, err := countRare(ctx, s, which)
	if err != nil || of > rareMetrics {
		return wholeTable, false, err
	}
	if len(creators) > 0 {
		created := where("creator IN (?"+strings.Repeat(", ?", len(creators)-1)+")", creators...)
		n, err := countRare(ctx, s, created)
		if of += n; err != nil || n > rareMetrics {
			return wholeTable, false, err
		}
		which = condition{"id IN (SELECT id FROM metrics WHERE " + created.text + " UNION SELECT id FROM metrics WHERE " +
			which.text + ")",
			append(created.args, which.args...)}
	}
	return only(which), of == 0, nil
}

// rare is from for one condition, which an index serves.
func rare(ctx context.Context, s session, c condition) (table condition, nowhere bool, err error) {
	n, err := countRare(ctx, s, c)
	if err != nil || n == 0 || n > rareMetrics {
		return wholeTable, err == nil && n == 0, err
	}
	return only(c), false, nil
}

// countRare counts, but not far beyond rareMetrics.
func countRare(ctx context.Context, s session, c condition) (n int, err error) {
	args := append(c.args[:len(c.args):len(c.args)], rareMetrics+1)
	err = s.row(ctx, []any{&n}, `SELECT count(*) FROM (SELECT 1 FROM metrics WHERE `+c.text+` LIMIT ?) AS begun`, args...)
	return n, err
}

// only is the metrics of which a condition is true, as a table. The limit, which is
// none, has the database find them before anything else.
func only(c condition) condition {
	return condition{"(SELECT * FROM metrics WHERE " + c.text + " LIMIT 1000000000000) AS metrics", c.args}
}

var errManyCreators = errors.New("there are too many creators")

// creatorsOf returns the creators of a project, leaping from each to the next.
func creatorsOf(ctx context.Context, s session, project string) (creators []any, err error) {
	all := 0
	err = s.rows(ctx, func(rows *sql.Rows) error {
		var creator sql.NullString
		err := rows.Scan(&creator)
		if all++; all > maxCreators {
			return errManyCreators
		}
		if creator.Valid && strings.HasSuffix(creator.String, ":"+project) {
			creators = append(creators, creator.String)
		}
		return err
	}, `WITH RECURSIVE creators (creator) AS (
			SELECT min(creator) FROM metrics
			UNION ALL SELECT (SELECT min(m.creator) FROM metrics AS m WHERE m.creator > c.creator) FROM creators AS c WHERE c.creator IS NOT NULL
		) SELECT creator FROM creators LIMIT ?`, maxCreators+1)
	return creators, err
}

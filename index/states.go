package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// selectStates reads states from one of the tables, with the values that they sort by.
func selectStates(d *dialect, which condition, orders []order, old bool) string {
	columns := `SELECT id, type_id, original_id, creator, user_id, project_id, started_at, ended_at, revision_start`
	for _, name := range []string{"revision_end", "revision"} {
		f, _ := (&ResourceType{}).Field(name, true)
		columns += `, ` + f.expression(d, old) + ` AS ` + name
	}
	columns += `, CAST(attributes AS TEXT) AS attributes`
	for i, o := range orders {
		columns += `, ` + o.key.column + ` AS s` + strconv.Itoa(i)
	}
	return columns + ` FROM ` + tableOf(old) + which.clause()
}

// withMetrics reads what scan reads from states that are selected in an order.
func withMetrics(d *dialect, states string) string {
	return `SELECT id, type_id, original_id, creator, user_id, project_id, started_at, ended_at, revision_start,
		revision_end, revision, attributes, ` + d.metricsOf + ` FROM (` + states + `) AS u`
}

// scan reads a row of withMetrics.
func (r *Resource) scan(ctx context.Context, x *Index, rows *sql.Rows) error {
	var id, attributes, metrics sql.RawBytes
	var typeID int64
	err := rows.Scan(&id, &typeID, &r.Original, &r.Creator, &r.User, &r.Project, &r.Started, &r.Ended, &r.RevisionStart,
		&r.RevisionEnd, &r.Revision, &attributes, &metrics)
	if err != nil {
		return err
	}
	if err := scanUUID((*[16]byte)(&r.ID), id); err != nil {
		return err
	}
	t, err := x.typeOf(ctx, typeID)
	if err != nil {
		return err
	}
	r.Type = t.Name
	if r.Attributes, err = loadAttributes(t, attributes); err != nil {
		return fmt.Errorf("the attributes of resource %s: %w", r.ID, err)
	}
	if r.Metrics, err = loadMetrics(metrics); err != nil {
		return fmt.Errorf("the metrics of resource %s: %w", r.ID, err)
	}
	return nil
}

// loadMetrics reads an object of names and ids.
func loadMetrics(object []byte) ([]NamedMetric, error) {
	if len(object) <= len("{}") {
		return nil, nil
	}
	var ids map[string]ResourceID
	if err := json.Unmarshal(object, &ids); err != nil {
		return nil, err
	}
	list := make([]NamedMetric, 0, len(ids))
	for name, id := range ids {
		list = append(list, NamedMetric{name, id})
	}
	slices.SortFunc(list, func(a, b NamedMetric) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

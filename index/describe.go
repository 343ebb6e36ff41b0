package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

var _ ingest.Describer = (*Index)(nil)

// A described is a metric's row, and what its resource's attributes are decoded from.
type described struct {
	ingest.Description
	creator    string
	attributes []byte
}

// Describe returns what metrics and their resources are called now; see [ingest.Describer].
func (x *Index) Describe(ctx context.Context, metrics []ingest.MetricID) ([]ingest.Description, error) {
	found := make(map[ingest.MetricID]*described, len(metrics))
	for some := range slices.Chunk(metrics, idsPerQuery) {
		in, args := inIDs(some)
		err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
			var column sql.RawBytes
			var id ingest.MetricID
			d := &described{Description: ingest.Description{Known: true}}
			err := rows.Scan(&column, &d.Name, &d.creator, &d.Resource, &d.ResourceType, &d.User, &d.Project, &d.attributes)
			err = errors.Join(err, scanUUID((*[16]byte)(&id), column))
			found[id] = d
			return err
		}, `SELECT m.id, coalesce(m.name, ''), m.creator, coalesce(r.original_id, ''), coalesce(t.name, ''),
				coalesce(r.user_id, ''), coalesce(r.project_id, ''), r.attributes
			FROM metrics m LEFT JOIN resources r ON r.id = m.resource LEFT JOIN resource_types t ON t.id = r.type_id
			WHERE m.deleted_at IS NULL AND m.id `+in, args...)
		if err != nil {
			return nil, x.failed("cannot look up what metrics are called", err)
		}
	}
	list := make([]ingest.Description, len(metrics))
	for i, id := range metrics {
		d := found[id]
		if d == nil {
			continue
		}
		if err := x.complete(ctx, d); err != nil {
			return nil, x.failed("cannot look up what the resource of metric "+id.String()+" is like", err)
		}
		list[i] = d.Description
	}
	return list, nil
}

// complete fills in what a row doesn't say itself.
func (x *Index) complete(ctx context.Context, d *described) error {
	if d.ResourceType == "" {
		d.User, d.Project, _ = strings.Cut(d.creator, ":")
		return nil
	}
	t, err := x.ResourceType(ctx, d.ResourceType)
	if errors.Is(err, ErrNotFound) { // since the row was read
		return nil
	}
	if err != nil {
		return err
	}
	r := Resource{Type: t.Name}
	if r.Attributes, err = loadAttributes(t, d.attributes); err != nil {
		return err
	}
	d.Attributes = make([]ingest.DescribedAttribute, len(t.Attributes))
	for i := range t.Attributes {
		a := &t.Attributes[i]
		d.Attributes[i] = ingest.DescribedAttribute{Name: a.Name, Text: attributeText(r.Value(a))}
	}
	return nil
}

// attributeText is what Resource.Value returns, as a text; "" is nothing.
func attributeText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return time.Unix(0, v).UTC().Format(time.RFC3339Nano)
	}
	return ""
}

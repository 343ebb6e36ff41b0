package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"millrace/ingest"
)

var _ ingest.Labeler = (*Index)(nil)

// labels returns what a metric's labels are to say of its resource; nil is nothing.
func (m *Metric) labels() (resource, resourceType any) {
	if m.LabelType != "" {
		resourceType = m.LabelType
	}
	switch {
	case m.LabelResource != "":
		resource = m.LabelResource
	case m.Resource != nil:
		resource = ingest.MetricID(*m.Resource).String()
	}
	return resource, resourceType
}

// Labels returns the labels of metrics: what they and their resources were called when
// they were created. Those of a deleted metric are known until it is purged. Index is
// an [ingest.Labeler].
func (x *Index) Labels(ctx context.Context, metrics []ingest.MetricID) ([]ingest.Labels, error) {
	found := make(map[ingest.MetricID]ingest.Labels, len(metrics))
	for some := range slices.Chunk(metrics, idsPerQuery) {
		in, args := inIDs(some)
		err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
			var column sql.RawBytes
			var id ingest.MetricID
			l := ingest.Labels{Known: true}
			err := rows.Scan(&column, &l.Name, &l.Resource, &l.ResourceType)
			err = errors.Join(err, scanUUID((*[16]byte)(&id), column))
			found[id] = l
			return err
		}, `SELECT id, coalesce(label_name, name, ''), coalesce(label_resource, ''), coalesce(label_type, '')
			FROM metrics WHERE id `+in, args...)
		if err != nil {
			return nil, x.failed("cannot look up labels", err)
		}
	}
	labels := make([]ingest.Labels, len(metrics))
	for i, id := range metrics {
		labels[i] = found[id]
	}
	return labels, nil
}

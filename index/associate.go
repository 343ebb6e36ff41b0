package index

import (
	"context"
	"database/sql"
	"slices"

	"millrace/ingest"
)

// An Association is a metric that a resource is to have.
type Association struct {
	Name string
	ID   ingest.MetricID
	// Attach says that the metric exists: it is renamed, and taken from the resource
	// that has it. Otherwise it is created, for the resource's creator.
	Attach bool
	Policy string // the archive policy of a new one
	Unit   *string
}

// An association gives metrics to a resource. What it has done may be looked at
// once it is committed.
type association struct {
	of      []Association
	replace bool // what the resource has and isn't named by of is detached

	resource Resource // as it is then
}

func (w *association) apply(ctx context.Context, s session, r *Resource) error {
	w.resource = *r
	if len(w.of) == 0 && !w.replace {
		return nil
	}
	s.effects.renamed = append(s.effects.renamed, r.ID)
	if err := w.clear(ctx, s, r); err != nil {
		return err
	}
	var created []Metric
	for i := range w.of {
		a := &w.of[i]
		if !a.Attach {
			m := Metric{ID: a.ID, Name: &a.Name, Unit: a.Unit, Creator: r.Creator, Policy: a.Policy,
				Resource:      (*[16]byte)(&r.ID),
				LabelResource: r.Original, LabelType: r.Type}
			created = append(created, m)
			continue
		}
		if err := w.attach(ctx, s, r, a); err != nil {
			return err
		}
	}
	if err := checkPolicies(ctx, s, created); err != nil {
		return err
	}
	if _, err := insertMetrics(ctx, s, created); err != nil {
		return err
	}
	if r.Ended != nil {
		for i := range created {
			s.effects.altered = append(s.effects.altered, created[i].ID) // it is remembered without that
		}
	}
	metrics, err := metricsOf(ctx, s, r.ID)
	w.resource.Metrics = metrics
	return err
}

// clear makes room for the names of the new metrics.
func (w *association) clear(ctx context.Context, s session, r *Resource) error {
	if !w.replace {
		for i := range w.of {
			if slices.ContainsFunc(r.Metrics, func(m NamedMetric) bool { return m.Name == w.of[i].Name }) {
				return &ObjectError{KindNamed, w.of[i].Name, ErrExists}
			}
		}
		return nil
	}
	for _, m := range r.Metrics {
		s.effects.altered = append(s.effects.altered, m.ID)
	}
	_, err := s.exec(ctx, `UPDATE metrics SET resource = NULL WHERE resource = ? AND deleted_at IS NULL`, r.ID[:])
	return err
}

func (w *association) attach(ctx context.Context, s session, r *Resource, a *Association) error {
	var before sql.RawBytes
	var from ResourceID
	found := false
	err := s.rows(ctx, func(rows *sql.Rows) error {
		found = true
		if err := rows.Scan(&before); err != nil || before == nil {
			return err
		}
		return scanUUID((*[16]byte)(&from), before)
	}, `SELECT resource FROM metrics WHERE id = ? AND creator = ? AND deleted_at IS NULL`, a.ID[:], r.Creator)
	if err != nil {
		return err
	}
	if !found {
		return &ObjectError{KindMetric, a.ID.String(), ErrNotFound}
	}
	if from != (ResourceID{}) {
		s.effects.renamed = append(s.effects.renamed, from)
	}
	s.effects.altered = append(s.effects.altered, a.ID)
	_, err = s.exec(ctx,
		`UPDATE metrics SET label_name = coalesce(label_name, name, ''), name = ?, resource = ? WHERE id = ?`, a.Name,
		r.ID[:], a.ID[:])
	return err
}

// checkPolicies says with an error that an archive policy of the metrics isn't there.
func checkPolicies(ctx context.Context, s session, metrics []Metric) error {
	seen := map[string]bool{}
	for i := range metrics {
		name := metrics[i].Policy
		if seen[name] {
			continue
		}
		seen[name] = true
		found := 0
		if err := s.row(ctx, []any{&found}, `SELECT count(*) FROM archive_policies WHERE name = ?`, name); err != nil {
			return err
		}
		if found == 0 {
			return &ObjectError{KindPolicy, name, ErrNotFound}
		}
	}
	return nil
}

// metricsOf reads the named metrics of a resource, by name.
func metricsOf(ctx context.Context, s session, id ResourceID) ([]NamedMetric, error) {
	var list []NamedMetric
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var m NamedMetric
		var metric sql.RawBytes
		if err := rows.Scan(&m.Name, &metric); err != nil {
			return err
		}
		err := scanUUID((*[16]byte)(&m.ID), metric)
		list = append(list, m)
		return err
	}, `SELECT name, id FROM metrics WHERE resource = ? AND deleted_at IS NULL AND name IS NOT NULL ORDER BY name`, id[:])
	return list, err
}

// MetricsOf returns the active metrics of a resource, by name.
func (x *Index) MetricsOf(ctx context.Context, id ResourceID) ([]Metric, error) {
	var list []Metric
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		var m Metric
		err := m.scan(rows)
		list = append(list, m)
		return err
	}, `SELECT `+metricColumns+` FROM metrics WHERE resource = ? AND deleted_at IS NULL ORDER BY name, id`, id[:])
	return list, x.failed("cannot list the metrics of resource "+id.String(), err)
}

// MetricOf returns the active metric of a name of a resource, seen as one of type t;
// ErrNotFound of the resource or of the metric.
func (x *Index) MetricOf(ctx context.Context, t *ResourceType, id ResourceID, name string) (Metric, error) {
	var m Metric
	found := false
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		found = true
		return m.scan(rows)
	}, `SELECT `+metricColumns+` FROM metrics WHERE resource = ? AND name = ? AND deleted_at IS NULL`, id[:], name)
	if err != nil {
		return Metric{}, x.failed("cannot find metric "+name+" of resource "+id.String(), err)
	}
	if _, err := x.Resource(ctx, t, id); err != nil {
		return Metric{}, err
	}
	if !found {
		return Metric{}, &ObjectError{KindMetric, name, ErrNotFound}
	}
	return m, nil
}

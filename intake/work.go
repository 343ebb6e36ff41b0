package intake

import (
	"context"
	"slices"

	"millrace/ingest"
)

// A work is one batch on its way. Works are pooled.
type work struct {
	*Intake
	who     *Caller
	batch   *Batch
	lenient bool
	result  *Result

	keys      []Key    // per series
	metrics   []Metric // per series
	ids       [][16]byte
	resources []ResourceInfo // per resource; those that nobody asked about are zero
	missing   []int          // series whose metric is to be created
	newOf     map[Key]int    // index in new
	new       []NewMetric
	newHomes  []Resource
	entries   ingest.Batch
	series    []int // per entry: its series
}

// keptSeries bounds the memory that a work keeps.
const keptSeries = 1 << 16

func (w *work) reset() {
	if cap(w.keys) > keptSeries {
		*w = work{}
		return
	}
	clear(w.keys) // they point into the batch
	clear(w.metrics)
	clear(w.resources)
	clear(w.new)
	clear(w.newHomes)
	clear(w.newOf)
	clear(w.entries.Entries)
	*w = work{
		keys: w.keys[:0], metrics: w.metrics[:0], ids: w.ids[:0], resources: w.resources[:0], missing: w.missing[:0],
		newOf: w.newOf, new: w.new[:0], newHomes: w.newHomes[:0],
		entries: ingest.Batch{Entries: w.entries.Entries[:0]}, series: w.series[:0],
	}
}

func (w *work) reject(r Reject, measures int) {
	w.result.Ticket.Refused += uint64(measures)
	if len(w.result.Rejects) < MaxRejects {
		w.result.Rejects = append(w.result.Rejects, r)
	}
}

// leaveOut leaves a series out of a lenient batch; of another it returns err.
func (w *work) leaveOut(series int, err error) error {
	if !w.lenient {
		return err
	}
	w.reject(Reject{series, -1, err.Error()}, len(w.batch.Series[series].Measures))
	w.batch.Series[series].Measures = nil
	w.metrics[series] = Metric{}
	return nil
}

// find finds out about the metrics, and about the resources that matter: all where
// they may have to be created, else those of metrics that don't exist.
func (w *work) find(ctx context.Context) error {
	series := w.batch.Series
	w.keys = slices.Grow(w.keys, len(series))
	for i := range series {
		w.keys = append(w.keys, Key{w.batch.Resources[series[i].Resource].ID, series[i].Name})
	}
	w.metrics = slices.Grow(w.metrics, len(series))[:len(series)]
	clear(w.metrics)
	if err := w.index.FindMetrics(ctx, w.keys, w.metrics); err != nil {
		return err
	}
	for i := range w.metrics {
		if !w.metrics[i].Found {
			w.missing = append(w.missing, i)
		}
	}
	if len(w.missing) > 0 && !w.batch.CreateMetrics && !w.batch.CreateResources && !w.lenient {
		return w.unknownMetrics()
	}
	return w.findResources(ctx)
}

// unknownMetrics names what is missing, each once.
func (w *work) unknownMetrics() error {
	seen := make(map[Key]bool, len(w.missing))
	e := &UnknownMetricsError{}
	for _, i := range w.missing {
		if k := w.keys[i]; !seen[k] {
			seen[k] = true
			e.Keys = append(e.Keys, k)
		}
	}
	return e
}

func (w *work) findResources(ctx context.Context) error {
	all := w.batch.CreateResources
	if !all && (len(w.missing) == 0 || !w.batch.CreateMetrics) {
		return nil
	}
	n := len(w.batch.Resources)
	wanted := make([]bool, n)
	for _, i := range w.missing {
		wanted[w.batch.Series[i].Resource] = true
	}
	var places []int
	for i := range n {
		if all || wanted[i] {
			places = append(places, i)
			w.ids = append(w.ids, w.batch.Resources[i].ID)
		}
	}
	found := make([]ResourceInfo, len(places))
	if err := w.index.FindResources(ctx, w.ids, found); err != nil {
		return err
	}
	w.resources = slices.Grow(w.resources, n)[:n]
	clear(w.resources)
	var unknown []Resource
	for j, i := range places {
		w.resources[i] = found[j]
		r := &w.batch.Resources[i]
		switch {
		case !found[j].Found && !all:
			unknown = append(unknown, *r)
		case !found[j].Found:
			if !w.who.CreateResource("", "") {
				return ErrForbidden
			}
			w.newHomes = append(w.newHomes, *r)
		case r.Type != "" && found[j].Type != r.Type:
			return &ConflictError{*r}
		case all && !w.who.UpdateResource(found[j].Creator, found[j].Project):
			return ErrForbidden
		}
	}
	if len(unknown) > 0 && !w.lenient {
		return &UnknownResourcesError{unknown}
	}
	return nil
}

// plan decides what is created and makes the entries for the log.
func (w *work) plan(ctx context.Context) error {
	for _, i := range w.missing {
		if err := w.planMetric(ctx, i); err != nil {
			return err
		}
	}
	w.entries.Project, w.entries.Trace = w.who.Account, w.who.Trace
	for i := range w.batch.Series {
		s, m := &w.batch.Series[i], &w.metrics[i]
		if m.Found && !w.who.PostMeasures(m.Creator, w.project(s.Resource)) {
			if err := w.leaveOut(i, ErrForbidden); err != nil {
				return err
			}
		}
		if len(s.Measures) > 0 {
			w.entries.Entries = append(w.entries.Entries, ingest.Entry{Metric: m.ID, Policy: m.Policy, Measures: s.Measures})
			w.series = append(w.series, i)
		}
	}
	return nil
}

// project is whose a resource is, as far as anybody has asked.
func (w *work) project(resource int) string {
	if resource < len(w.resources) {
		return w.resources[resource].Project
	}
	return ""
}

// planMetric plans the metric of a series that has none.
func (w *work) planMetric(ctx context.Context, i int) error {
	s, key := &w.batch.Series[i], w.keys[i]
	if at, again := w.newOf[key]; again {
		w.metrics[i] = w.new[at].metric()
		return nil
	}
	switch r := &w.batch.Resources[s.Resource]; {
	case !w.batch.CreateMetrics && !w.batch.CreateResources:
		return w.leaveOut(i, &UnknownMetricsError{[]Key{key}})
	case !w.batch.CreateResources && !w.resources[s.Resource].Found:
		return w.leaveOut(i, &UnknownResourcesError{[]Resource{*r}})
	case !w.who.CreateMetric(w.who.Creator, ""):
		return w.leaveOut(i, ErrForbidden)
	}
	if reason := checkName(s.Name); reason != "" {
		return w.leaveOut(i, &NameError{i, s.Name, reason})
	}
	policy, err := w.index.Policy(ctx, s.Name, s.Policy)
	if err != nil {
		return w.leaveOut(i, err)
	}
	if w.newOf == nil {
		w.newOf = make(map[Key]int)
	}
	w.newOf[key] = len(w.new)
	w.new = append(w.new, NewMetric{ID: ingest.NewMetricID(), Key: key, Policy: policy, Unit: s.Unit, Creator: w.who.Creator})
	w.metrics[i] = w.new[len(w.new)-1].metric()
	return nil
}

func (m *NewMetric) metric() Metric {
	return Metric{ID: m.ID, Policy: m.Policy, Creator: m.Creator, Found: true}
}

// create creates what is missing, and puts what somebody else has created meanwhile
// into the entries.
func (w *work) create(ctx context.Context) error {
	if len(w.new) == 0 && len(w.newHomes) == 0 {
		return nil
	}
	var err error
	w.result.Created, err = w.index.Create(ctx, w.who.Creator, w.newHomes, w.new)
	if err != nil {
		return err
	}
	for at, i := range w.series {
		n, isNew := w.newOf[w.keys[i]]
		if !isNew {
			continue
		}
		m := &w.new[n]
		if m.Creator != w.who.Creator && !w.who.PostMeasures(m.Creator, w.project(w.batch.Series[i].Resource)) {
			return w.created(ErrForbidden)
		}
		e := &w.entries.Entries[at]
		e.Metric, e.Policy = m.ID, m.Policy
	}
	return nil
}

// created adds to an error what was created before it.
func (w *work) created(err error) error {
	if w.result.Created == (Created{}) {
		return err
	}
	return &CreatedError{w.result.Created, err}
}

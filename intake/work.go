package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"millrace/index"
	"millrace/ingest"
)

// A work is one batch on its way. Works are pooled.
type work struct {
	*Intake
	who     *Caller
	batch   *Batch
	lenient bool
	result  *Result

	refs      []index.MetricRef  // per series
	infos     []index.MetricInfo // per series
	entries   ingest.Batch       // per series; later of those that have measures
	series    []int              // per entry, when it is later: its series
	resources []index.ResourceInfo
	newOf     map[string]int // index in new, by key
	newAt     []int          // per series: index in new, -1: it isn't new
	new       []index.Metric
	newHomes  []index.Resource
	ended     bool // a metric's resource has ended
}

// keptSeries bounds the memory that a work keeps.
const keptSeries = 1 << 16

func (w *work) reset() {
	if cap(w.refs) > keptSeries {
		*w = work{}
		return
	}
	clear(w.refs) // they point into the batch
	clear(w.infos)
	clear(w.entries.Entries)
	*w = work{
		refs: w.refs[:0], infos: w.infos[:0], entries: ingest.Batch{Entries: w.entries.Entries[:0]}, series: w.series[:0],
		newAt: w.newAt[:0],
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
	return nil
}

// find finds out about the metrics, and about the resources that matter: all where
// they may have to be created, else those of metrics that don't exist. It returns the
// series that have no metric.
func (w *work) find(ctx context.Context) (missing []int, err error) {
	n := len(w.batch.Series)
	w.refs = slices.Grow(w.refs, n)
	for i := range w.batch.Series {
		s := &w.batch.Series[i]
		w.refs = append(w.refs, index.MetricRef{Resource: w.batch.Resources[s.Resource].ID, Name: s.Name})
	}
	w.infos = slices.Grow(w.infos, n)[:n]
	w.entries.Entries = slices.Grow(w.entries.Entries, n)[:n]
	missing, err = w.index.LookupNamed(ctx, w.refs, w.entries.Entries, w.infos)
	if _, bad := errors.AsType[*index.InvalidError](err); bad && w.lenient {
		missing, err = w.findGood(ctx)
	}
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 && !w.batch.CreateMetrics && !w.batch.CreateResources && !w.lenient {
		return nil, w.unknownMetrics(missing)
	}
	return missing, w.findResources(ctx, missing)
}

// findGood looks for the metrics of a lenient batch in which there are names that no
// database holds: they are left out.
func (w *work) findGood(ctx context.Context) (missing []int, err error) {
	bad := make([]bool, len(w.refs))
	for i := range w.refs {
		name := string(w.refs[i].Name)
		reason := checkName(name)
		if bad[i] = reason != ""; !bad[i] {
			continue
		}
		if err := w.leaveOut(i, &NameError{i, name, reason}); err != nil {
			return nil, err
		}
		w.refs[i].Name = []byte("/") // no metric is called so
	}
	missing, err = w.index.LookupNamed(ctx, w.refs, w.entries.Entries, w.infos)
	return slices.DeleteFunc(missing, func(i int) bool { return bad[i] }), err
}

// unknownMetrics names what is missing, each once.
func (w *work) unknownMetrics(missing []int) error {
	seen := make(map[string]bool, len(missing))
	e := &UnknownMetricsError{}
	for _, i := range missing {
		if key := w.key(i); !seen[key] {
			seen[key] = true
			e.Metrics = append(e.Metrics, i)
		}
	}
	return e
}

// key is a series' resource and name as one text.
func (w *work) key(series int) string {
	r := &w.refs[series]
	return string(r.Resource[:]) + string(r.Name)
}

func (w *work) findResources(ctx context.Context, missing []int) error {
	all := w.batch.CreateResources
	if !all && (len(missing) == 0 || !w.batch.CreateMetrics) {
		return nil
	}
	wanted := make([]bool, len(w.batch.Resources))
	for _, i := range missing {
		wanted[w.batch.Series[i].Resource] = true
	}
	var places []int
	var ids []index.ResourceID
	for i := range w.batch.Resources {
		if all || wanted[i] {
			places = append(places, i)
			ids = append(ids, w.batch.Resources[i].ID)
		}
	}
	found := make([]index.ResourceInfo, len(ids))
	if err := w.index.LookupResources(ctx, ids, found); err != nil {
		return err
	}
	w.resources = make([]index.ResourceInfo, len(w.batch.Resources))
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
			w.newHomes = append(w.newHomes, w.newHome(r))
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

func (w *work) newHome(r *Resource) index.Resource {
	home := index.Resource{ID: r.ID, Type: r.Type, Original: r.Original, Creator: w.who.Creator}
	if len(r.Attributes) > 0 {
		home.Attributes = make(map[string]any, len(r.Attributes))
	}
	for _, a := range r.Attributes {
		home.Attributes[a.Name] = a.Value
	}
	return home
}

// plan decides what is created and makes the entries for the log.
func (w *work) plan(ctx context.Context, missing []int) error {
	if len(missing) > 0 {
		w.newOf = make(map[string]int, len(missing))
		w.newAt = slices.Grow(w.newAt, len(w.infos))
		for range w.infos {
			w.newAt = append(w.newAt, -1)
		}
	}
	for _, i := range missing {
		if err := w.planMetric(ctx, i); err != nil {
			return err
		}
	}
	w.entries.Project, w.entries.Trace = w.who.Account, w.who.Trace
	kept := 0
	for i := range w.batch.Series {
		s, info := &w.batch.Series[i], &w.infos[i]
		if info.Found && !w.who.PostMeasures(info.Creator, w.project(s.Resource)) {
			if err := w.leaveOut(i, ErrForbidden); err != nil {
				return err
			}
		}
		if len(s.Measures) == 0 {
			continue
		}
		w.ended = w.ended || info.Ended
		w.entries.Entries[kept] = ingest.Entry{Metric: w.entries.Entries[i].Metric, Policy: info.Policy,
			Measures: s.Measures}
		w.series = append(w.series, i)
		kept++
	}
	w.entries.Entries = w.entries.Entries[:kept]
	return nil
}

// project is whose a resource is, as far as anybody has asked.
func (w *work) project(resource int) string {
	if w.resources == nil {
		return ""
	}
	return w.resources[resource].Project
}

// planMetric plans the metric of a series that has none.
func (w *work) planMetric(ctx context.Context, i int) error {
	s, key := &w.batch.Series[i], w.key(i)
	at, again := w.newOf[key]
	if !again {
		m, err := w.newMetric(ctx, i, s)
		if errors.Is(err, errLeftOut) {
			return nil
		}
		if err != nil {
			return err
		}
		at = len(w.new)
		w.new = append(w.new, m)
		w.newOf[key] = at
	}
	w.newAt[i] = at
	w.entries.Entries[i].Metric = w.new[at].ID
	w.infos[i] = index.MetricInfo{Policy: w.new[at].Policy, Creator: w.new[at].Creator, Found: true}
	return nil
}

// errLeftOut says that a series has been left out.
var errLeftOut = errors.New("left out")

// newMetric makes the metric of a series that is to be created.
func (w *work) newMetric(ctx context.Context, i int, s *Series) (m index.Metric, err error) {
	out := func(err error) (index.Metric, error) {
		if err := w.leaveOut(i, err); err != nil {
			return m, err
		}
		return m, errLeftOut
	}
	r := &w.batch.Resources[s.Resource]
	switch {
	case !w.batch.CreateMetrics && !w.batch.CreateResources:
		return out(&missingError{"Metric " + string(s.Name) + " does not exist"})
	case !w.batch.CreateResources && !w.resources[s.Resource].Found:
		return out(&missingError{"Resource " + r.Original + " does not exist"})
	case !w.who.CreateMetric(w.who.Creator, ""):
		return out(ErrForbidden)
	}
	name := string(s.Name)
	if reason := checkName(name); reason != "" {
		return out(&NameError{i, name, reason})
	}
	if !utf8.ValidString(s.Unit) || strings.Contains(s.Unit, "\x00") {
		return out(&NameError{i, name, "unit of the metric is not UTF-8 text"})
	}
	policy, err := w.policy(ctx, name, s.Policy)
	if err != nil {
		return out(err)
	}
	resource := [16]byte(r.ID)
	m = index.Metric{ID: ingest.NewMetricID(), Name: &name, Creator: w.who.Creator, Policy: policy, Resource: &resource}
	if s.Unit != "" {
		unit := strings.Clone(s.Unit)
		m.Unit = &unit
	}
	return m, nil
}

// policy is the archive policy of a new metric.
func (w *work) policy(ctx context.Context, name, wanted string) (string, error) {
	if wanted == "" {
		rule, found, err := w.index.MatchRule(ctx, name)
		if err == nil && !found {
			err = &NoRuleError{name}
		}
		return rule.Policy, err
	}
	p, err := w.index.Policy(ctx, wanted)
	if err != nil {
		return "", err
	}
	return p.Name, nil
}

// create creates what is missing, and puts what somebody else has created meanwhile
// into the entries.
func (w *work) create(ctx context.Context) (err error) {
	if len(w.new) == 0 && len(w.newHomes) == 0 {
		return nil
	}
	made, err := w.index.EnsureNamed(ctx, w.newHomes, w.new)
	if e, ok := errors.AsType[*index.ObjectError](err); ok && e.Kind == index.KindResource && e.Err == index.ErrExists {
		return w.conflict(e.Name)
	}
	if e, ok := errors.AsType[*index.UnknownResourcesError](err); ok {
		return w.vanished(e)
	}
	if err != nil {
		return err
	}
	w.result.Created = Created(made)
	for at, i := range w.series {
		if len(w.newAt) == 0 || w.newAt[i] < 0 {
			continue
		}
		m := &w.new[w.newAt[i]]
		if !w.who.PostMeasures(m.Creator, w.project(w.batch.Series[i].Resource)) {
			return &UnfinishedError{w.result.Created, ErrForbidden}
		}
		e := &w.entries.Entries[at]
		e.Metric, e.Policy = m.ID, m.Policy
	}
	return nil
}

// conflict finds the resource that somebody has created meanwhile, of another type.
func (w *work) conflict(id string) error {
	for i := range w.batch.Resources {
		if r := &w.batch.Resources[i]; r.ID.String() == id {
			return &ConflictError{*r}
		}
	}
	return &ConflictError{Resource{Original: id}}
}

// vanished lists the resources that somebody has deleted meanwhile. Where resources are
// created on the way that is no mistake of the client: the same again works.
func (w *work) vanished(e *index.UnknownResourcesError) error {
	if w.batch.CreateResources {
		return fmt.Errorf("%w: %d resources were deleted at this moment", index.ErrUnavailable, len(e.IDs))
	}
	gone := make(map[index.ResourceID]bool, len(e.IDs))
	for _, id := range e.IDs {
		gone[id] = true
	}
	var unknown []Resource
	for i := range w.batch.Resources {
		if r := &w.batch.Resources[i]; gone[r.ID] {
			unknown = append(unknown, *r)
		}
	}
	return &UnknownResourcesError{unknown}
}

// newest returns the newest measures of metrics whose resource has ended; nil when
// there are none. It has to be asked before the batch is appended.
func (w *work) newest() map[ingest.MetricID]int64 {
	if !w.ended {
		return nil
	}
	newest := make(map[ingest.MetricID]int64)
	for at, i := range w.series {
		if !w.infos[i].Ended {
			continue
		}
		e := &w.entries.Entries[at]
		for _, m := range e.Measures {
			newest[e.Metric] = max(newest[e.Metric], m.Time)
		}
	}
	return newest
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// A target is the metric that a path names.
type target struct {
	id      ingest.MetricID
	policy  string
	creator string
	ended   bool         // its resource has ended
	metric  index.Metric // whole, when findMetric has looked
	text    string       // as the path has it
}

// maxUnit bounds a metric's unit, in characters.
const maxUnit = 31

// findMetric looks the path's metric up, with all its attributes.
func (q *request) findMetric() error {
	text := q.params[0]
	id, err := ingest.ParseMetricID(text)
	if err != nil {
		return noMetric(text)
	}
	m, err := q.index.Metric(q.ctx, id)
	if errors.Is(err, index.ErrNotFound) {
		return noMetric(text)
	}
	if err != nil {
		return err
	}
	q.target = target{id: m.ID, policy: m.Policy, creator: m.Creator, metric: m, text: text}
	return nil
}

// findTarget looks the path's metric up in memory: what it takes to write or read
// its measures.
func (q *request) findTarget() error {
	text := q.params[0]
	id, err := ingest.ParseMetricID(text)
	if err != nil {
		return noMetric(text)
	}
	entries := [1]ingest.Entry{{Metric: id}}
	var infos [1]index.MetricInfo
	if _, err := q.index.Lookup(q.ctx, entries[:], infos[:]); err != nil {
		return err
	}
	if !infos[0].Found {
		return noMetric(text)
	}
	q.target = target{id: id, policy: infos[0].Policy, creator: infos[0].Creator, ended: infos[0].Ended, text: text}
	return nil
}

// permit asks whether the caller may do something to the path's metric.
func (q *request) permit(r auth.Rule) error { return q.permitTarget(r, q.target.id, q.target.creator) }

// permitTarget asks whether the caller may do something to a metric.
func (q *request) permitTarget(r auth.Rule, id ingest.MetricID, creator string) error {
	permit := q.who.Permit(r)
	if permit.For(creator, "") {
		return nil
	}
	if q.who.Project != "" && permit.For("", q.who.Project) { // It may be theirs by its resource.
		project, err := q.index.ProjectOf(q.ctx, id)
		if err != nil {
			return err
		}
		if permit.For(creator, project) {
			return nil
		}
	}
	return forbidden()
}

// metricJSON is what every representation of a metric has.
func metricJSON(m *index.Metric) gnocchi.Object {
	user, project := auth.CreatedBy(m.Creator)
	return gnocchi.Object{
		{Name: "id", Value: m.ID}, {Name: "name", Value: m.Name}, {Name: "unit", Value: m.Unit},
		{Name: "creator", Value: m.Creator}, {Name: "created_by_user_id", Value: user},
		{Name: "created_by_project_id", Value: project},
	}
}

// resourceOf is a metric's resource_id: a UUID or null.
func resourceOf(m *index.Metric) gnocchi.Member {
	r := gnocchi.Member{Name: "resource_id"}
	if m.Resource != nil {
		r.Value = ingest.MetricID(*m.Resource)
	}
	return r
}

func (q *request) getMetric() error {
	if err := q.permit(auth.GetMetric); err != nil {
		return err
	}
	m := &q.target.metric
	p, err := q.index.Policy(q.ctx, m.Policy)
	if err != nil {
		return err
	}
	resource, err := q.resourceOfMetric(m)
	if err != nil {
		return err
	}
	q.showLate(m.ID)
	return q.json(http.StatusOK, append(metricJSON(m),
		gnocchi.Member{Name: "archive_policy", Value: newPolicyDoc(p)}, gnocchi.Member{Name: "resource", Value: resource}))
}

// resourceOfMetric is a metric's resource, as any resource but without its metrics;
// null when it has none, or one that the caller may not see.
func (q *request) resourceOfMetric(m *index.Metric) (json.RawMessage, error) {
	if m.Resource == nil {
		return nil, nil
	}
	t, err := q.index.ResourceType(q.ctx, index.GenericType)
	if err != nil {
		return nil, err
	}
	r, err := q.index.Resource(q.ctx, t, *m.Resource)
	if errors.Is(err, index.ErrNotFound) { // deleted a moment ago, and the metric with it
		return nil, noMetric(q.target.text)
	}
	if err != nil {
		return nil, err
	}
	if q.mayTouch(auth.GetResource, &r) != nil && !q.who.Permit(auth.GetMetric).Always() {
		return nil, nil // their metric, and somebody else's resource
	}
	return appendResource(nil, &r, t, false, nil), nil
}

// latePatience bounds how long GET of a metric, which needs no driver, waits for
// one to say how much was late.
const latePatience = time.Second

// showLate says in a header how many of a metric's measures came too late: the
// representations have no room for a key of ours.
func (q *request) showLate(id ingest.MetricID) {
	if q.late == nil {
		return
	}
	ctx, cancel := context.WithTimeout(q.ctx, latePatience)
	defer cancel()
	counts, err := q.late.Late(ctx, []ingest.MetricID{id})
	if err != nil {
		q.log.Warn("cannot tell how many measures of a metric were late", "metric", id.String(), "err", err)
		return
	}
	q.w.Header()[headerLate] = []string{strconv.FormatUint(counts[0], 10)}
}

func (q *request) postMetric() error {
	id, keyed, err := q.newMetricID()
	if err != nil {
		return err
	}
	m := index.Metric{ID: id, Creator: q.who.Creator}
	var resource *ingest.MetricID
	err = q.decode(fields(
		optional("name", maybeText(&m.Name, maxName)),
		optional("unit", maybeText(&m.Unit, maxUnit)),
		optional("archive_policy_name", text(&m.Policy, maxName)),
		optional("resource_id", q.resource(&resource)),
	))
	if err != nil {
		return err
	}
	policyNamed := m.Policy != ""
	if err := q.completeMetric(&m, resource); err != nil {
		return err
	}
	if resource != nil {
		m.Resource = (*[16]byte)(resource)
	}
	err = q.index.CreateMetric(q.ctx, m)
	e, _ := errors.AsType[*index.ObjectError](err)
	if taken := errors.Is(err, index.ErrExists) && e != nil && e.Kind == index.KindMetric; taken && keyed {
		err = q.createdBefore(&m, policyNamed)
	}
	if e != nil && e.Kind == index.KindNamed {
		return badRequest(cause{cause: "Named metric already exists", detail: e.Name})
	}
	if errors.Is(err, index.ErrNotFound) { // the archive policy, the resource
		return badRequest(err.Error())
	}
	if err != nil {
		return err
	}
	q.w.Header().Set("Location", q.base()+"/v1/metric/"+m.ID.String())
	return q.json(http.StatusCreated, append(metricJSON(&m), resourceOf(&m),
		gnocchi.Member{Name: "archive_policy_name", Value: m.Policy}))
}

// completeMetric checks a new metric, whose fields are each right, as a whole, and
// finds its archive policy by the rules if it names none.
func (q *request) completeMetric(m *index.Metric, resource *ingest.MetricID) error {
	if m.Name != nil && strings.Contains(*m.Name, "/") {
		return badRequest("'/' is not supported in metric name")
	}
	if err := q.completePolicy(&m.Policy, m.Name); err != nil {
		return err
	}
	if resource != nil && m.Name == nil {
		return badRequest(cause{cause: "Attribute value error", detail: "name",
			reason: "Name cannot be null if resource_id is not null"})
	}
	return nil
}

// completePolicy finds a metric's archive policy by the rules if none is named.
func (q *request) completePolicy(policy *string, metricName *string) error {
	if *policy != "" {
		return nil
	}
	name, shown := "", "None"
	if metricName != nil {
		name, shown = *metricName, *metricName
	}
	rule, found, err := q.index.MatchRule(q.ctx, name)
	if err != nil {
		return err
	}
	if !found {
		return badRequest("No archive policy name specified and no archive policy rule found matching the metric name " +
			shown)
	}
	*policy = rule.Policy
	return nil
}

// deleteMetric marks the metric first, so that it is gone from every view at
// once, then asks for its data to be forgotten. When that can't be said now the
// mark stays, and ResendDeletes says it later.
func (q *request) deleteMetric() error {
	if err := q.permit(auth.DeleteMetric); err != nil {
		return err
	}
	err := q.index.MarkDeleted(q.ctx, q.target.id)
	if errors.Is(err, index.ErrNotFound) {
		return noMetric(q.target.text)
	}
	if err != nil {
		return err
	}
	if err := q.forget(q.ctx, q.target.id); err != nil {
		q.log.Warn("cannot pass on that a metric was deleted; it stays marked", "metric", q.target.id.String(), "err", err)
	}
	return q.empty(http.StatusNoContent)
}

// forget puts a deletion into the log, and tells the index when that is durable.
func (a *API) forget(ctx context.Context, id ingest.MetricID) error {
	sack, offset, err := a.acceptor.Delete(ctx, id)
	if err != nil {
		return err
	}
	return a.index.Told(ctx, index.Deletion{Metric: id, Sack: sack, Offset: offset})
}

// ResendDeletes puts the deletions that are marked in the index, and perhaps not
// in the log, into the log: to be called at the start, and now and then. It returns
// the first error, having tried them all. Calling it again does no harm.
func (a *API) ResendDeletes(ctx context.Context) error {
	marked, err := a.index.Deleted(ctx)
	if err != nil {
		return err
	}
	return a.forgetThem(ctx, marked)
}

func (a *API) forgetThem(ctx context.Context, marked []ingest.MetricID) error {
	var group errgroup.Group
	group.SetLimit(64) // they share the log's commits
	for _, id := range marked {
		group.Go(func() error { return a.forget(ctx, id) })
	}
	return group.Wait()
}

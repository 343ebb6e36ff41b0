package api

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"time"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// resourceID maps the path's resource id. A textual id is the caller's own, so this is
// for handlers: nobody knows before who asks.
func (q *request) resourceID() (index.ResourceID, error) {
	id, err := resourceID(q.params[1], q.who.Creator)
	if err != nil {
		return id, notFound("Resource " + q.params[1] + " does not exist")
	}
	return id, nil
}

// pathResource finds the path's resource, if the caller may do something to it.
func (q *request) pathResource(r auth.Rule) (index.Resource, error) {
	id, err := q.resourceID()
	if err != nil {
		return index.Resource{}, err
	}
	resource, err := q.index.Resource(q.ctx, q.resourceType, id)
	if err != nil {
		return index.Resource{}, err
	}
	return resource, q.mayTouch(r, &resource)
}

// mayTouch says with an error that the caller may not do something to a resource.
// Where there are no projects everybody may look at everything; where there are,
// what somebody may not see isn't there.
func (q *request) mayTouch(r auth.Rule, resource *index.Resource) error {
	project := ""
	if resource.Project != nil {
		project = *resource.Project
	}
	reading := r == auth.GetResource
	if reading && !q.who.Scoped || q.who.Permit(r).For(resource.Creator, project) {
		return nil
	}
	if reading || q.who.Scoped && !q.who.Permit(auth.GetResource).For(resource.Creator, project) {
		return &index.ObjectError{Kind: index.KindResource, Name: resource.ID.String(), Err: index.ErrNotFound}
	}
	return forbidden()
}

// appendResource appends a resource as the API shows it: what all have, and the
// attributes of a type. Only, if not nil, names the keys that are wanted.
func appendResource(dst []byte, r *index.Resource, t *index.ResourceType, metrics bool, only map[string]bool) []byte {
	user, project := auth.CreatedBy(r.Creator)
	first := true
	member := func(name string, value any) {
		if only != nil && !only[name] {
			return
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = append(gnocchi.AppendString(dst, name), ": "...)
		dst = gnocchi.Append(dst, value)
	}
	dst = append(dst, '{')
	member("id", r.ID)
	member("original_resource_id", r.Original)
	member("type", r.Type)
	member("creator", r.Creator)
	member("created_by_user_id", user)
	member("created_by_project_id", project)
	member("user_id", r.User)
	member("project_id", r.Project)
	member("started_at", instantOf(&r.Started))
	member("ended_at", instantOf(r.Ended))
	member("revision_start", instantOf(&r.RevisionStart))
	member("revision_end", instantOf(r.RevisionEnd))
	if metrics {
		member("metrics", metricIDs(r.Metrics))
	}
	for i := range t.Attributes {
		a := &t.Attributes[i]
		v := r.Value(a)
		if ns, ok := v.(int64); ok && a.Type == index.AttributeDatetime {
			v = instantOf(&ns)
		}
		member(a.Name, v)
	}
	return append(dst, '}')
}

func instantOf(ns *int64) time.Time {
	if ns == nil {
		return time.Time{}
	}
	return time.Unix(0, *ns).UTC()
}

func metricIDs(metrics []index.NamedMetric) gnocchi.Object {
	o := make(gnocchi.Object, len(metrics))
	for i, m := range metrics {
		o[i] = gnocchi.Member{Name: m.Name, Value: m.ID}
	}
	return o
}

// showResource answers with a resource and its validators.
func (q *request) showResource(status int, r *index.Resource) error {
	q.validators(r)
	return q.bytes(status, typeJSON, appendResource(nil, r, q.resourceType, true, nil))
}

func (q *request) validators(r *index.Resource) {
	h := q.w.Header()
	h.Set("ETag", etag(r))
	h.Set("Last-Modified", instantOf(&r.RevisionStart).Format(http.TimeFormat))
}

// etag is a resource's strong validator: another for every revision.
func etag(r *index.Resource) string {
	sum := sha1.Sum(gnocchi.AppendTime([]byte(r.ID.String()), r.RevisionStart))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (q *request) getResource() error {
	r, err := q.pathResource(auth.GetResource)
	if err != nil {
		return err
	}
	q.validators(&r)
	if err := precondition(q.r, &r); err != nil {
		return err
	}
	return q.showResource(http.StatusOK, &r)
}

// A resourceBody is what a body says about a resource.
type resourceBody struct {
	id             string
	user, project  **string // nil: not said; to nil: null
	started, ended *int64
	attributes     map[string]any
	associations   []index.Association
	metrics        *[]index.Association // nil: not said
}

// schema checks the body of a resource of a type, a new one or a change of one.
func (b *resourceBody) schema(q *request, t *index.ResourceType, isNew bool) check {
	b.attributes = map[string]any{}
	of := []field{
		optional("user_id", nullableText(&b.user, maxName)), optional("project_id", nullableText(&b.project, maxName)),
		optional("started_at", q.someDatetime(&b.started)), optional("ended_at", q.someDatetime(&b.ended)),
		optional("metrics", func(v any) error {
			b.metrics = &b.associations
			return q.associations(b.metrics)(v)
		}),
	}
	if isNew {
		of = append(of, required("id", resourceIDText(&b.id)))
	}
	for i := range t.Attributes {
		a := &t.Attributes[i]
		of = append(of, field{a.Name, isNew && a.Required, q.value(a, b.attributes)})
	}
	return fields(of...)
}

func resourceIDText(into *string) check {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return wrong("expected str")
		}
		if _, err := resourceID(s, ""); err != nil {
			return wrong(err.Error())
		}
		*into = s
		return nil
	}
}

// nullableText checks a text of at most so many characters, or null.
func nullableText(into ***string, most int) check {
	return func(v any) error {
		var s *string
		*into = &s
		if v != nil && maybeText(&s, most)(v) != nil {
			return wrong("not a valid value")
		}
		return nil
	}
}

func (q *request) someDatetime(into **int64) check {
	return func(v any) error {
		var t int64
		if err := q.datetime(&t)(v); err != nil {
			return err
		}
		*into = &t
		return nil
	}
}

// postResource answers POST /v1/resource/<type>.
func (q *request) postResource() error {
	v, err := q.readJSON(typeJSON)
	if err != nil {
		return err
	}
	return q.asTypeIs(func() error { return q.createResource(v) })
}

func (q *request) createResource(body any) error {
	var b resourceBody
	if err := b.schema(q, q.resourceType, true)(body); err != nil {
		return err
	}
	if !q.who.Permit(auth.CreateResource).For(q.who.Creator, q.who.Project) {
		return forbidden()
	}
	r := index.Resource{Original: b.id, Creator: q.who.Creator, Attributes: b.attributes, Ended: b.ended}
	var err error
	if r.ID, err = resourceID(b.id, q.who.Creator); err != nil {
		return badRequest(err.Error())
	}
	if b.user != nil {
		r.User = *b.user
	}
	if b.project != nil {
		r.Project = *b.project
	}
	r.Started = q.now().UnixMicro() * 1000
	if b.started != nil {
		r.Started = *b.started
	}
	if r.Ended != nil && r.Started > *r.Ended {
		return badRequest("Start timestamp cannot be after end timestamp")
	}
	if err := q.completeAssociations(b.associations); err != nil {
		return err
	}
	made, err := q.index.CreateResource(q.ctx, q.resourceType, r, b.associations)
	if err != nil {
		return badAssociation(err)
	}
	q.w.Header().Set("Location", q.base()+"/v1/resource/"+url.PathEscape(q.resourceType.Name)+"/"+made.ID.String())
	return q.showResource(http.StatusCreated, &made)
}

// patchResource answers PATCH /v1/resource/<type>/<id>.
func (q *request) patchResource() error {
	r, err := q.pathResource(auth.UpdateResource)
	if err != nil {
		return err
	}
	if err := precondition(q.r, &r); err != nil {
		return err
	}
	v, err := q.readJSON(typeJSON)
	if err != nil {
		return err
	}
	return q.asTypeIs(func() error { return q.changeResource(r.ID, v) })
}

func (q *request) changeResource(id index.ResourceID, body any) error {
	var b resourceBody
	if err := b.schema(q, q.resourceType, false)(body); err != nil {
		return err
	}
	if err := q.completeAssociations(b.associations); err != nil {
		return err
	}
	of, name := *q.r, q.resourceType.Name // Edit may run when the request is over.
	of.Header = q.r.Header.Clone()
	edit := func(r *index.Resource) error {
		if err := precondition(&of, r); err != nil {
			return err
		}
		return b.edit(r, name)
	}
	changed, err := q.index.UpdateResource(q.ctx, q.resourceType, id, edit, b.metrics)
	if err != nil {
		return badAssociation(err)
	}
	return q.showResource(http.StatusOK, &changed)
}

// edit changes a resource as the body says.
func (b *resourceBody) edit(r *index.Resource, typeName string) error {
	if b.user != nil {
		r.User = *b.user
	}
	if b.project != nil {
		r.Project = *b.project
	}
	if b.started != nil {
		r.Started = *b.started
	}
	if b.ended != nil {
		ended := *b.ended
		r.Ended = &ended
	}
	for name, value := range b.attributes {
		r.Attributes[name] = value
	}
	if r.Ended == nil || r.Started <= *r.Ended {
		return nil
	}
	name, value := "ended_at", *r.Ended
	if b.ended == nil {
		name, value = "started_at", r.Started
	}
	return badRequest("Value " + instantOf(&value).Format("2006-01-02 15:04:05.999999-07:00") + " for attribute " + name +
		" on resource type " + typeName + " is invalid")
}

// deleteResource answers DELETE /v1/resource/<type>/<id>.
func (q *request) deleteResource() error {
	r, err := q.pathResource(auth.DeleteResource)
	if err != nil {
		return err
	}
	of := *q.r
	of.Header = q.r.Header.Clone()
	metrics, err := q.index.DeleteResource(q.ctx, q.resourceType, r.ID,
		func(r *index.Resource) error { return precondition(&of, r) })
	if err != nil {
		return err
	}
	q.forgetAll(metrics)
	return q.empty(http.StatusNoContent)
}

// badAssociation makes a 400 of what is missing where a body has asked for it.
func badAssociation(err error) error {
	e, ok := errors.AsType[*index.ObjectError](err)
	if ok && e.Err == index.ErrNotFound && (e.Kind == index.KindMetric || e.Kind == index.KindPolicy) {
		return badRequest(e.Error())
	}
	return err
}

// forgetAll asks for the data of deleted metrics to be forgotten, as far as there is
// time; of others the mark stays, and ResendDeletes says it later.
func (q *request) forgetAll(metrics []ingest.MetricID) {
	const most = 1000
	if err := q.forgetThem(q.ctx, metrics[:min(len(metrics), most)]); err != nil {
		q.log.Warn("cannot pass on that metrics were deleted; they stay marked", "metrics", len(metrics), "err", err)
	}
}

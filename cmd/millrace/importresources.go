package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// An importResource is a resource that an import writes metrics of.
type importResource struct {
	path    string            // of the resource, below /v1
	metrics map[string]string // name → id, as the server had them when they were looked up
}

// genericType is the type of resources of which nothing else is said.
const genericType = "generic"

// ofResource is the resource alone.
func (t target) ofResource() target {
	t.metric = ""
	return t
}

// prepareResources creates the resources that there aren't yet, and asks how many
// measures have been late of metrics that this run uses for the first time. Their
// metrics are created by the batch that brings measures.
func (s *sender) prepareResources(ctx context.Context, targets []target) error {
	fresh := make(map[target][]target) // by resource
	var order []target
	for _, t := range targets {
		r := t.ofResource()
		if s.resources[r] != nil || s.refusals[t] != nil {
			continue
		}
		if fresh[r] == nil {
			order = append(order, r)
		}
		fresh[r] = append(fresh[r], t)
	}
	for len(order) > 0 { // should rows give a resource several types, the first row's is it
		var now, then []target
		seen := make(map[string]bool)
		for _, r := range order {
			if seen[r.resource] {
				then = append(then, r)
			} else {
				now = append(now, r)
			}
			seen[r.resource] = true
		}
		if err := s.findResources(ctx, now, fresh); err != nil {
			return err
		}
		order = then
	}
	return s.startCounting(ctx, targets)
}

// findResources finds or creates resources. Those that the server refuses are
// remembered with the reason, for each of their metrics.
func (s *sender) findResources(ctx context.Context, list []target, metrics map[target][]target) error {
	found, refusals := make([]*importResource, len(list)), make([]error, len(list))
	err := each(ctx, len(list), func(ctx context.Context, i int) (err error) {
		found[i], err = s.resource(ctx, list[i])
		if isNameRefusal(err) || isStatus(err, http.StatusNotFound) { // the id, or the type
			refusals[i], err = err, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, r := range list {
		if refusals[i] == nil {
			s.resources[r] = found[i]
			continue
		}
		for _, t := range metrics[r] {
			s.refusals[t] = refusals[i]
		}
	}
	return nil
}

// startCounting asks how many measures have been late so far of metrics that this run
// uses for the first time and that there already are.
func (s *sender) startCounting(ctx context.Context, targets []target) error {
	var ids []string
	for _, t := range targets {
		if r := s.resources[t.ofResource()]; r != nil {
			id := r.metrics[t.metric]
			if _, used := s.late[id]; id != "" && !used {
				ids = append(ids, id)
			}
		}
	}
	counts := make([]uint64, len(ids))
	err := each(ctx, len(ids), func(ctx context.Context, i int) (err error) {
		counts[i], err = s.lateOf(ctx, ids[i])
		return err
	})
	for i, id := range ids {
		s.late[id] = counts[i]
	}
	return err
}

// resource finds a resource, and creates it where there is none.
func (s *sender) resource(ctx context.Context, t target) (*importResource, error) {
	kind := t.resourceType
	if kind == "" {
		kind = genericType
	}
	r := &importResource{path: "/resource/" + url.PathEscape(kind) + "/" + url.PathEscape(t.resource)}
	err := s.patiently(ctx, func() error {
		err := s.lookUp(ctx, r)
		if !isStatus(err, http.StatusNotFound) {
			return err
		}
		in := map[string]string{"id": t.resource}
		_, err = s.client.do(ctx, "POST", "/resource/"+url.PathEscape(kind), nil, in, nil)
		if isStatus(err, http.StatusConflict) { // somebody else has been faster, or it is of another type
			return s.lookUp(ctx, r)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// lookUp reads which metrics a resource has.
func (s *sender) lookUp(ctx context.Context, r *importResource) error {
	var doc struct {
		Metrics map[string]string `json:"metrics"`
	}
	_, err := s.client.do(ctx, "GET", r.path, nil, nil, &doc)
	if err == nil {
		r.metrics = doc.Metrics
	}
	return err
}

// resourceBody is the batch as JSON: measures by resource and metric name, with the
// archive policy of metrics that are created.
func (s *sender) resourceBody() []byte {
	byResource := make(map[string][]target)
	var order []string
	for _, t := range s.order {
		if byResource[t.resource] == nil {
			order = append(order, t.resource)
		}
		byResource[t.resource] = append(byResource[t.resource], t)
	}
	body := []byte{'{'}
	for i, resource := range order {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(appendText(body, resource), `:{`...)
		for j, t := range byResource[resource] {
			if j > 0 {
				body = append(body, ',')
			}
			body = append(appendText(body, t.metric), `:{"measures":`...)
			body = appendMeasures(body, s.entries[t])
			if s.options.policy != "" {
				body = appendText(append(body, `,"archive_policy_name":`...), s.options.policy)
			}
			body = append(body, '}')
		}
		body = append(body, '}')
	}
	return append(body, '}')
}

// appendText appends a text as JSON.
func appendText(dst []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(fmt.Sprintf("BUG: a text that is no JSON: %v", err))
	}
	return append(dst, quoted...)
}

// countResources finds the metrics that this run's batches have created: none of their
// measures was late before.
func (s *sender) countResources(ctx context.Context) error {
	list := make([]*importResource, 0, len(s.resources))
	for _, r := range s.resources {
		list = append(list, r)
	}
	err := each(ctx, len(list), func(ctx context.Context, i int) error {
		return s.patiently(ctx, func() error { return s.lookUp(ctx, list[i]) })
	})
	if err != nil {
		return errors.Join(errors.New("cannot count what came too late"), err)
	}
	for t := range s.positions {
		if r := s.resources[t.ofResource()]; r != nil && r.metrics[t.metric] != "" {
			id := r.metrics[t.metric]
			if _, known := s.late[id]; !known {
				s.late[id] = 0
			}
		}
	}
	return nil
}

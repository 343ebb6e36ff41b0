package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// importClients is how many metrics are created or looked up at the same time.
const importClients = 8

// prepare creates the metrics that this import has not yet created, and asks how
// many measures have been late of those that it uses for the first time. The key
// that it creates with is in the state before it does: should it not hear of the
// outcome, the next run asks for the same again, and gets what the first made.
func (s *sender) prepare(ctx context.Context, targets []target) error {
	var missing []target
	for _, t := range targets {
		if _, known := s.state.Metrics[t.metric]; !known && s.refusals[t] == nil {
			missing = append(missing, t)
		}
	}
	if err := s.createAll(ctx, missing); err != nil {
		return err
	}
	var fresh []string
	for _, t := range targets {
		id, known := s.state.Metrics[t.metric]
		if _, used := s.late[id]; known && !used {
			fresh = append(fresh, t.metric)
		}
	}
	counts := make([]uint64, len(fresh))
	err := each(ctx, len(fresh), func(ctx context.Context, i int) (err error) {
		counts[i], err = s.lateOf(ctx, s.state.Metrics[fresh[i]])
		if isStatus(err, http.StatusNotFound) {
			err = fmt.Errorf("metric %s, which %s says was created, does not exist any more: "+
				"choose another --state to begin anew", fresh[i], s.options.state)
		}
		return err
	})
	for i, name := range fresh {
		s.late[s.state.Metrics[name]] = counts[i]
	}
	return err
}

// createAll creates metrics. A name that the server refuses is remembered with its
// reason, and no error.
func (s *sender) createAll(ctx context.Context, targets []target) error {
	if len(targets) == 0 {
		return nil
	}
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.metric
	}
	if err := s.state.ensureKey(); err != nil {
		return err
	}
	ids, refusals := make([]string, len(names)), make([]error, len(names))
	err := each(ctx, len(names), func(ctx context.Context, i int) (err error) {
		ids[i], err = s.create(ctx, names[i])
		if isNameRefusal(err) {
			refusals[i], err = err, nil
		}
		return err
	})
	for i, t := range targets {
		switch {
		case ids[i] != "":
			s.state.Metrics[t.metric] = ids[i]
		case refusals[i] != nil:
			s.refusals[t] = refusals[i]
		}
	}
	return errors.Join(err, s.state.save())
}

// isNameRefusal says whether the server refuses one name. That there is no archive policy
// for it is for the operator to mend, and ends an import.
func isNameRefusal(err error) bool {
	refusal, ok := errors.AsType[*apiError](err)
	return ok && refusal.status == http.StatusBadRequest &&
		!strings.HasPrefix(refusal.description, "No archive policy") &&
		!strings.HasPrefix(refusal.description, "Archive policy ")
}

// each calls f for 0 to n-1, several at a time, and returns the first error.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(importClients)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// create creates a metric, or finds the one that an earlier request of this import's created
// though its answer was not heard.
func (s *sender) create(ctx context.Context, name string) (id string, err error) {
	in := map[string]string{"name": name}
	if s.options.policy != "" {
		in["archive_policy_name"] = s.options.policy
	}
	err = s.patiently(ctx, func() error {
		var made struct{ ID string }
		err := s.client.createOnce(ctx, "/metric", s.state.keyOf(name), in, &made)
		id = made.ID
		return err
	})
	if err != nil {
		return "", fmt.Errorf("cannot create metric %s: %w", name, err)
	}
	return id, nil
}

// lateOf asks how many measures of a metric have been dropped because they came too late.
func (s *sender) lateOf(ctx context.Context, id string) (late uint64, err error) {
	err = s.patiently(ctx, func() error {
		header, err := s.client.do(ctx, "GET", "/metric/"+url.PathEscape(id), nil, nil, nil)
		if err != nil {
			return err
		}
		late, _ = strconv.ParseUint(header.Get("Millrace-Late"), 10, 64)
		return nil
	})
	return late, err
}

// lateSince sums up how many measures of this run's metrics came too late since it began.
func (s *sender) lateSince(ctx context.Context) (uint64, error) {
	ids := slices.Sorted(maps.Keys(s.late))
	counts := make([]uint64, len(ids))
	err := each(ctx, len(ids), func(ctx context.Context, i int) (err error) {
		counts[i], err = s.lateOf(ctx, ids[i])
		return err
	})
	sum := uint64(0)
	for i, id := range ids {
		sum += counts[i] - min(counts[i], s.late[id])
	}
	return sum, err
}

package index

import (
	"context"
	"maps"
)

// CreateResource adds a resource of type t with its metrics, all or nothing, and
// returns it. ID, Original, Creator, User, Project, Started, Ended and Attributes
// are the caller's. ErrExists when there is a resource of that id, of any type;
// ErrNotFound of a metric to attach that isn't there or has another creator;
// ingest.ErrNoPolicy; ErrChanged when t is no longer what it was.
func (x *Index) CreateResource(
	ctx context.Context, t *ResourceType, r Resource, metrics []Association,
) (Resource, error) {
	r.Type, r.Revision, r.RevisionEnd = t.Name, current, nil
	attributes, err := storedAttributes(t, r.Attributes)
	if err != nil {
		return Resource{}, err
	}
	w := &association{of: metrics}
	err = x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			if err := t.unchanged(ctx, s); err != nil {
				return err
			}
			exists := 0
			if err := s.row(ctx, []any{&exists}, `SELECT count(*) FROM resources WHERE id = ?`, r.ID[:]); err != nil {
				return err
			}
			if exists > 0 {
				return &ObjectError{KindResource, r.ID.String(), ErrExists}
			}
			made := r
			made.RevisionStart = now()
			if err := insertResource(ctx, s, t, &made, attributes); err != nil {
				return err
			}
			return w.apply(ctx, s, &made)
		},
	})
	if err != nil {
		return Resource{}, x.failedOn(ctx, "cannot create resource "+r.ID.String(), err)
	}
	return w.resource, nil
}

// insertResource inserts a resource of type t as it begins, with its attributes as they
// are stored. One that was deleted a moment ago gets the place in listings that it had:
// somebody may be reading them page by page.
func insertResource(ctx context.Context, s session, t *ResourceType, r *Resource, attributes string) error {
	_, err := s.exec(ctx, `INSERT INTO resources (id, type_id, original_id, creator, user_id, project_id,
		started_at, ended_at, revision_start, attributes, listed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS `+s.dialect.json+`),
		coalesce((SELECT listed_at FROM deleted_resources WHERE id = ?), ?))`,
		r.ID[:], t.id, r.Original, r.Creator, r.User, r.Project,
		r.Started, r.Ended, r.RevisionStart, attributes, r.ID[:], r.RevisionStart)
	return err
}

// UpdateResource changes a resource, seen as one of type t, and returns what it is
// then. Edit changes a copy; what it does to User, Project, Started, Ended and
// Attributes is kept, and makes a new revision if it is a difference. Its error
// ends the update. It runs while nothing else can be written, perhaps more than
// once or after UpdateResource has returned because ctx has ended, so it may only
// look at what never changes.
//
// Metrics, unless nil, are all metrics that the resource has from then on: others
// are detached and go on without a resource. That makes no revision. Errors are
// those of CreateResource, and ErrNotFound.
func (x *Index) UpdateResource(
	ctx context.Context, t *ResourceType, id ResourceID, edit func(r *Resource) error, metrics *[]Association,
) (Resource, error) {
	w := &association{}
	if metrics != nil {
		w.of, w.replace = *metrics, true
	}
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			if err := t.unchanged(ctx, s); err != nil {
				return err
			}
			old, err := x.resourceIn(ctx, s, t, id)
			if err != nil {
				return err
			}
			r := old
			r.Attributes = maps.Clone(old.Attributes)
			if r.Attributes == nil {
				r.Attributes = map[string]any{}
			}
			if err := edit(&r); err != nil {
				return err
			}
			if err := x.revise(ctx, s, &old, &r); err != nil {
				return err
			}
			if (old.Ended == nil) != (r.Ended == nil) {
				endChanged(s, r.ID, old.Metrics)
			}
			return w.apply(ctx, s, &r)
		},
	})
	if err != nil {
		return Resource{}, x.failedOn(ctx, "cannot change resource "+id.String(), err)
	}
	return w.resource, nil
}

// AddMetrics gives metrics to a resource, seen as one of type t, and returns it.
// ErrExists when it has one of that name already; else as UpdateResource.
func (x *Index) AddMetrics(
	ctx context.Context, t *ResourceType, id ResourceID, metrics []Association,
) (Resource, error) {
	w := &association{of: metrics}
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			r, err := x.resourceIn(ctx, s, t, id)
			if err != nil {
				return err
			}
			return w.apply(ctx, s, &r)
		},
	})
	if err != nil {
		return Resource{}, x.failed("cannot add metrics to resource "+id.String(), err)
	}
	return w.resource, nil
}

// revise makes a new revision of a resource when it differs from what it was.
func (x *Index) revise(ctx context.Context, s session, old, r *Resource) error {
	own := x.snapshots.load().types[r.Type]
	if own == nil {
		return &ObjectError{KindResourceType, r.Type, ErrChanged}
	}
	if old.equal(r, own) {
		return nil
	}
	after, err := storedAttributes(own, r.Attributes)
	if err != nil {
		return err
	}
	if orNil(old.Project) != orNil(r.Project) {
		s.effects.renamed = append(s.effects.renamed, r.ID)
	}
	r.RevisionStart = max(now(), old.RevisionStart+1000)
	if err := keepState(ctx, s, r.ID, r.RevisionStart); err != nil {
		return err
	}
	_, err = s.exec(ctx, `UPDATE resources SET user_id = ?, project_id = ?, started_at = ?, ended_at = ?,
		revision_start = ?, attributes = CAST(? AS `+s.dialect.json+`) WHERE id = ?`,
		r.User, r.Project, r.Started, r.Ended, r.RevisionStart, after, r.ID[:])
	return err
}

// keepState puts what a resource is until an instant into the history.
func keepState(ctx context.Context, s session, id ResourceID, until int64) error {
	_, err := s.exec(ctx, `INSERT INTO resource_history (id, type_id, original_id, creator, user_id, project_id,
			started_at, ended_at, revision_start, revision_end, attributes)
		SELECT id, type_id, original_id, creator, user_id, project_id, started_at, ended_at, revision_start,
			CAST(? AS BIGINT), attributes
		FROM resources WHERE id = ?`, until, id[:])
	return err
}

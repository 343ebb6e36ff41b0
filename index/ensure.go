package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// A ResourceInfo is what accepting measures needs to know about a resource.
type ResourceInfo struct {
	Type, Creator string
	Project       string // "": none
	Found         bool   // false: there is no such resource
}

// LookupResources finds out about resources and fills in infos, which is as long as
// ids. Resources that it has met before cost no SQL, the others one query
// for many of them.
func (x *Index) LookupResources(ctx context.Context, ids []ResourceID, infos []ResourceInfo) error {
	if err := x.believable(); err != nil {
		return err
	}
	unknown, asked := x.named.homes.find(ids, infos)
	if len(unknown) == 0 { // Fast path.
		return nil
	}
	found := make(map[ResourceID]ResourceInfo, len(unknown))
	for some := range slices.Chunk(unknown, idsPerQuery) {
		wanted := make([]ResourceID, len(some))
		for i, at := range some {
			wanted[i] = ids[at]
		}
		err := findResourceInfos(ctx, x.database.reading(), wanted, func(id ResourceID, info ResourceInfo) {
			found[id] = info
		})
		if err != nil {
			return x.failed("cannot look up resources", err)
		}
	}
	x.named.homes.add(asked, found)
	for _, at := range unknown {
		infos[at] = found[ids[at]]
	}
	return nil
}

// findResourceInfos calls found for those of the resources that exist.
func findResourceInfos(ctx context.Context, s session, ids []ResourceID, found func(ResourceID, ResourceInfo)) error {
	in, args := inIDs(ids)
	return s.rows(ctx, func(rows *sql.Rows) error {
		var column sql.RawBytes
		var id ResourceID
		var project *string
		info := ResourceInfo{Found: true}
		if err := rows.Scan(&column, &info.Type, &info.Creator, &project); err != nil {
			return err
		}
		if project != nil {
			info.Project = *project
		}
		if err := scanUUID((*[16]byte)(&id), column); err != nil {
			return err
		}
		found(id, info)
		return nil
	}, `SELECT resources.id, name, creator, project_id
		FROM resources JOIN resource_types ON resource_types.id = type_id WHERE resources.id `+in, args...)
}

// Made counts what EnsureNamed has created.
type Made struct{ Resources, Metrics int }

// EnsureNamed makes sure that resources and metrics of resources exist: CreateNamed,
// with the resources first. All are created or, with an error, none. Of resources, ID,
// Type, Original, Creator, User, Project and Attributes are the caller's; one that
// exists by now stays as it is, unless it is of another type: then the error is an
// ObjectError of it that is ErrExists. Metrics are as CreateNamed has them.
func (x *Index) EnsureNamed(ctx context.Context, resources []Resource, metrics []Metric) (Made, error) {
	resources = slices.Clone(resources) // ctx may end before they are written
	n := &naming{metrics: slices.Clone(metrics)}
	var made Made
	asked := x.named.moment()
	err := x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) (err error) {
			made = Made{}
			if made.Resources, err = ensureResources(ctx, s, resources); err != nil || len(metrics) == 0 {
				return err
			}
			return n.apply(ctx, s, metrics)
		},
	})
	if e, ok := errors.AsType[*UnknownResourcesError](err); ok {
		x.named.forget(e.IDs)
		return Made{}, err
	}
	if err != nil {
		return Made{}, x.failed(fmt.Sprintf("cannot create %d resources and %d metrics", len(resources), len(metrics)), err)
	}
	for i := range metrics {
		if metrics[i].ID == n.metrics[i].ID {
			made.Metrics++
		}
	}
	copy(metrics, n.metrics)
	x.named.add(asked, n.found)
	return made, nil
}

// ensureResources creates those of the resources that don't exist.
func ensureResources(ctx context.Context, s session, resources []Resource) (made int, err error) {
	infos := make(map[ResourceID]ResourceInfo, len(resources))
	ids := make([]ResourceID, len(resources))
	for i := range resources {
		ids[i] = resources[i].ID
	}
	for some := range slices.Chunk(ids, idsPerQuery) {
		err := findResourceInfos(ctx, s, some, func(id ResourceID, info ResourceInfo) { infos[id] = info })
		if err != nil {
			return 0, err
		}
	}
	types := make(map[string]*ResourceType)
	for i := range resources {
		r := &resources[i]
		if info := infos[r.ID]; info.Found {
			if info.Type != r.Type {
				return 0, &ObjectError{KindResource, r.ID.String(), ErrExists}
			}
			continue
		}
		t := types[r.Type]
		if t == nil {
			if t, err = typeIn(ctx, s, r.Type); err != nil {
				return 0, err
			}
			types[r.Type] = t
		}
		attributes, err := storedAttributes(t, r.Attributes)
		if err != nil {
			return 0, err
		}
		r.RevisionStart = now()
		r.Started, r.Ended = r.RevisionStart, nil
		if err := insertResource(ctx, s, t, r, attributes); err != nil {
			return 0, err
		}
		infos[r.ID] = ResourceInfo{Type: r.Type, Found: true}
		made++
	}
	return made, nil
}

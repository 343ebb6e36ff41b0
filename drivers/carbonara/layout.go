package carbonara

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
)

const layoutName = "layout.json"

// A Layout is what never changes in the life of a deployment.
type Layout struct {
	Format     int    `json:"format"`
	Sacks      int    `json:"sacks"`
	Deployment string `json:"deployment"` // random; every manifest repeats it
}

// ReadLayout returns the layout of the deployment on a store; ErrNotFound when there
// is none, and an error that is ingest.ErrNewer when this program doesn't know it.
func ReadLayout(ctx context.Context, store Store) (Layout, error) {
	got, err := store.Read(ctx, layoutName, "", nil)
	if err != nil {
		return Layout{}, fmt.Errorf("cannot read %s: %w", layoutName, &storeError{err})
	}
	var l Layout
	if err := json.Unmarshal(got.Data[0], &l); err != nil {
		return Layout{}, fmt.Errorf("%s is damaged: %w", layoutName, err)
	}
	switch {
	case l.Format > layoutVersion:
		return Layout{}, fmt.Errorf("the storage has format %d, this program knows %d: %w", l.Format, layoutVersion,
			ingest.ErrNewer)
	case l.Format < layoutVersion || l.Sacks < 1 || l.Deployment == "":
		return Layout{}, fmt.Errorf("%s is damaged, or of a version before the first release: format %d, %d sacks, "+
			"deployment %q",
			layoutName, l.Format, l.Sacks, l.Deployment)
	}
	return l, nil
}

// openLayout returns the layout of the deployment on a store, having made it if the
// store is empty and may be.
func openLayout(ctx context.Context, store Store, sacks int, c Config) (Layout, error) {
	l, err := ReadLayout(ctx, store)
	if errors.Is(err, ErrNotFound) {
		if c.MustExist {
			return Layout{}, fmt.Errorf("the storage is empty, or another than before: it has no %s, and this deployment "+
				"has been in use", layoutName)
		}
		if err := create(ctx, store, sacks, c.Deployment); err != nil {
			return Layout{}, fmt.Errorf("cannot create a deployment: %w", err)
		}
		l, err = ReadLayout(ctx, store) // somebody else may have been faster
	}
	switch {
	case err != nil:
		return Layout{}, err
	case l.Sacks != sacks:
		return Layout{}, fmt.Errorf("the storage was created with %d sacks and the configuration says %d: the number of "+
			"sacks never changes", l.Sacks, sacks)
	case c.Deployment != "" && l.Deployment != c.Deployment:
		return Layout{}, fmt.Errorf("the storage belongs to deployment %s, and this is deployment %s", l.Deployment,
			c.Deployment)
	}
	return l, nil
}

// create makes a deployment: a manifest for every sack, so that one which is missing
// later is known to be missing, and then the layout. It may be done by several at once,
// and again after it was given up half way: what the manifest of the first sack says
// counts.
func create(ctx context.Context, store Store, sacks int, deployment string) error {
	if deployment == "" {
		deployment = newID()
	}
	deployment, err := createSack(ctx, store, 0, deployment)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(16)
	for sack := ingest.Sack(1); int(sack) < sacks; sack++ {
		group.Go(func() error {
			got, err := createSack(ctx, store, sack, deployment)
			if err == nil && got != deployment {
				err = fmt.Errorf("%s is of deployment %s, that of sack 0 of deployment %s", manifestName(sack), got, deployment)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	data, err := json.Marshal(Layout{layoutVersion, sacks, deployment})
	if err != nil {
		return err
	}
	_, err = store.Swap(ctx, layoutName, "", append(data, '\n'), nil)
	if errors.Is(err, ErrChanged) {
		return nil
	}
	return err
}

// createSack makes a sack's first manifest and returns the deployment of the one that
// is there then. One that has been in use is in the way.
func createSack(ctx context.Context, store Store, sack ingest.Sack, deployment string) (string, error) {
	name := manifestName(sack)
	m := &manifest{Format: layoutVersion, Deployment: deployment, Swap: newID()}
	_, err := store.Swap(ctx, name, "", m.encode(), nil)
	if err == nil || !errors.Is(err, ErrChanged) {
		return deployment, err
	}
	there, _, err := readManifest(ctx, store, sack, "")
	if err != nil {
		return "", err
	}
	if there.Epoch > 0 {
		return "", fmt.Errorf("there is %s, which has been in use, and no %s: put it back, or let check --repair make a "+
			"new one", name, layoutName)
	}
	return there.Deployment, nil
}

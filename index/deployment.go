package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"millrace/ingest"
)

// A Deployment is what index, log and storage are parts of.
type Deployment struct {
	ID      string // random
	Sacks   int
	Created time.Time
}

// ErrNoDeployment says that the index is new: it is no part of any deployment yet.
var ErrNoDeployment = errors.New("the index is not part of a deployment yet")

// Deployment returns the deployment that the index is a part of; ErrNoDeployment
// when it is new (or was lost, and another made in its place).
func (x *Index) Deployment(ctx context.Context) (Deployment, error) {
	d, err := readDeployment(ctx, x.database.reading())
	if err != nil && !errors.Is(err, ErrNoDeployment) {
		return Deployment{}, x.failed("cannot read which deployment the index belongs to", err)
	}
	return d, err
}

func readDeployment(ctx context.Context, s session) (d Deployment, err error) {
	var created int64
	err = s.row(ctx, []any{&d.ID, &d.Sacks, &created}, `SELECT id, sacks, created_at FROM deployment`)
	if errors.Is(err, sql.ErrNoRows) {
		return Deployment{}, ErrNoDeployment
	}
	d.Created = time.Unix(0, created).UTC()
	return d, err
}

// FoundDeployment makes the index a part of a new deployment of so many sacks, unless
// it is part of one: then it returns that. Of processes that do so at the same time one
// founds it, and all get the same. An error says that the deployment has another
// number of sacks.
func (x *Index) FoundDeployment(ctx context.Context, sacks int) (Deployment, error) {
	return x.joinDeployment(ctx, Deployment{ingest.NewMetricID().String(), sacks, time.Now().UTC()}, false)
}

// AdoptDeployment makes the index a part of that deployment, whatever it has been part
// of. It is an operator's decision: for an index that was lost or replaced.
func (x *Index) AdoptDeployment(ctx context.Context, id string, sacks int) (Deployment, error) {
	return x.joinDeployment(ctx, Deployment{id, sacks, time.Now().UTC()}, true)
}

func (x *Index) joinDeployment(ctx context.Context, want Deployment, force bool) (d Deployment, err error) {
	err = x.writer.do(ctx, &change{apply: func(ctx context.Context, s session) error {
		if force {
			if _, err := s.exec(ctx, `DELETE FROM deployment`); err != nil {
				return err
			}
		}
		if d, err = readDeployment(ctx, s); err == nil || !errors.Is(err, ErrNoDeployment) {
			return err
		}
		d = want
		_, err := s.exec(ctx, `INSERT INTO deployment (one, id, sacks, created_at) VALUES (1, ?, ?, ?)`,
			d.ID, d.Sacks, d.Created.UnixNano())
		return err
	}})
	if err != nil {
		return Deployment{}, x.failed("cannot make the index a part of a deployment", err)
	}
	if d.Sacks != want.Sacks {
		return d, fmt.Errorf("the index belongs to a deployment of %d sacks, and %d are configured: their number never "+
			"changes", d.Sacks, want.Sacks)
	}
	return d, nil
}

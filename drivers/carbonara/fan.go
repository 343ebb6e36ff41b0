package carbonara

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// A fan does what a read asks of the store, several things at once. The bound is the
// driver's, for all reads.
type fan struct {
	driver *Driver
	group  *errgroup.Group
	ctx    context.Context
}

func (d *Driver) newFan(ctx context.Context) *fan {
	group, ctx := errgroup.WithContext(ctx)
	return &fan{d, group, ctx}
}

// do runs work when there is room. It must not wait for other work of a fan.
func (f *fan) do(work func(ctx context.Context) error) {
	f.group.Go(func() error {
		select {
		case f.driver.room <- struct{}{}:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		defer func() { <-f.driver.room }()
		return work(f.ctx)
	})
}

// wait returns when everything is done, with the first error.
func (f *fan) wait() error { return f.group.Wait() }

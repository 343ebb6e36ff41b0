package index

import (
	"context"
	"sync"
	"time"
)

// A freshener asks the database what is held in memory as a whole, for callers who miss
// something there: another process may just have made it. Those who come while it is
// asked wait for the next answer, which then is for all of them. So however many ask for
// what isn't there, the database is asked by one of them at a time.
type freshener struct {
	mu    sync.Mutex // held while the database is asked
	begun time.Time  // when the answer that is held was asked for
}

// fresh returns what is held, no older than the call.
func (x *Index) fresh(ctx context.Context) (*snapshot, error) {
	called := time.Now()
	x.freshener.mu.Lock()
	defer x.freshener.mu.Unlock()
	if x.freshener.begun.After(called) {
		return x.held()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	begun := time.Now()
	s := x.database.reading()
	var version int64
	if err := s.row(ctx, []any{&version}, `SELECT version FROM state`); err != nil {
		return nil, err
	}
	if held := x.snapshots.load(); held.version == version {
		x.freshener.begun = begun
		return held, nil
	}
	fresh, err := x.snapshots.refresh(ctx, s)
	if err == nil {
		x.freshener.begun = begun
	}
	return fresh, err
}

// FreshResourceType returns a resource type as the database has it now: t itself where it
// hasn't changed. It is for a request that makes no sense with t: another process may
// have changed it less than Config.Refresh ago. ErrNotFound when it is gone.
func (x *Index) FreshResourceType(ctx context.Context, t *ResourceType) (*ResourceType, error) {
	fresh, err := x.fresh(ctx)
	if err != nil {
		return nil, x.failed("cannot find resource type "+t.Name, err)
	}
	if now := fresh.types[t.Name]; now != nil {
		return now, nil
	}
	return nil, &ObjectError{KindResourceType, t.Name, ErrNotFound}
}

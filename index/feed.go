package index

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"

	"millrace/ingest"
)

const (
	feedPage   = 4096        // rows that are read at a time
	feedKept   = time.Hour   // how long rows stay, and places of deleted resources
	pruneEvery = time.Minute //
)

// A follower reads what other processes have changed, so that the caches are right.
type follower struct {
	started time.Time
	asOf    atomic.Int64 // the caches are right as of then, in ns since started
	failing bool         // follow's alone
}

// age is how old what the caches say may be.
func (f *follower) age() time.Duration { return time.Since(f.started) - time.Duration(f.asOf.Load()) }

// believable says whether the caches may be believed: an error that is ErrUnavailable
// when it is too long ago that the feed could be read.
func (x *Index) believable() error {
	age := x.follower.age()
	if age <= x.config.Believe || x.config.Refresh < 0 {
		return nil
	}
	if x.closed.Load() {
		return ErrClosed
	}
	return fmt.Errorf("%w: the last answer of its database is %s old, and %s is the limit",
		ErrUnavailable, age.Round(time.Second), x.config.Believe)
}

// held is what is held in memory as a whole, if that may be believed.
func (x *Index) held() (*snapshot, error) {
	if err := x.believable(); err != nil {
		return nil, err
	}
	return x.snapshots.load(), nil
}

// follow reads the feed every now and then until ctx ends.
func (x *Index) follow(ctx context.Context) {
	if x.config.Refresh < 0 {
		return
	}
	tick := time.NewTicker(x.config.Refresh)
	defer tick.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			x.followed(ctx, x.poll(ctx))
		case <-prune.C:
			if err := x.prune(ctx, time.Now().Add(-feedKept)); err != nil && ctx.Err() == nil {
				x.log.Warn("cannot prune the index's feed", "err", err)
			}
		}
	}
}

// followed says when following begins to fail, and when it works again.
func (x *Index) followed(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !x.follower.failing:
		x.follower.failing = true
		x.log.Warn("cannot see what others change in the index: what is in memory is believed for a while",
			"for", x.config.Believe, "err", err)
	case err == nil && x.follower.failing:
		x.follower.failing = false
		x.log.Info("see again what others change in the index")
	}
}

// poll brings the caches up to what is committed when it is called.
func (x *Index) poll(ctx context.Context) error {
	asOf := time.Since(x.follower.started)
	s := x.database.following()
	var version, pruned, letters int64
	if err := s.row(ctx, []any{&version, &pruned, &letters}, `SELECT version, pruned, letters FROM state`); err != nil {
		return err
	}
	x.letters.count.Store(letters)
	seen := x.cache.followed()
	var err error
	switch {
	case version < seen:
		x.log.Warn("the index has gone back: what is in memory is read anew", "from", seen, "to", version)
		err = x.anew(ctx, s, version)
	case pruned > seen: // What is missing was pruned.
		err = x.anew(ctx, s, version)
	case version > seen:
		err = x.catchUp(ctx, s, seen)
	}
	if err == nil {
		x.follower.asOf.Store(int64(asOf))
	}
	return err
}

// anew forgets what is cached, as of a version.
func (x *Index) anew(ctx context.Context, s session, version int64) error {
	x.snapshots.forget()
	if _, err := x.snapshots.refresh(ctx, s); err != nil {
		return err
	}
	x.named.anew()
	x.cache.anew(version)
	return nil
}

// catchUp applies the rows of the feed after a version.
func (x *Index) catchUp(ctx context.Context, s session, version int64) error {
	for {
		rows, held := 0, false
		var deleted []ingest.MetricID
		var renamed []ResourceID
		err := s.rows(ctx, func(r *sql.Rows) error {
			var kind int
			var object sql.RawBytes
			if err := r.Scan(&version, &kind, &object); err != nil {
				return err
			}
			rows++
			switch kind {
			case eventDeleted, eventRenamed:
				var id [16]byte
				if err := scanUUID(&id, object); err != nil {
					return err
				}
				if kind == eventRenamed {
					renamed = append(renamed, id)
				} else {
					deleted = append(deleted, id)
				}
			case eventHeld:
				held = true
			}
			return nil // A kind of a newer version is nothing that we hold.
		}, `SELECT version, kind, object FROM feed WHERE version > ? ORDER BY version LIMIT ?`, version, feedPage)
		if err != nil {
			return err
		}
		if held {
			if _, err := x.snapshots.refresh(ctx, s); err != nil {
				return err
			}
		}
		x.named.forget(renamed)
		x.cache.follow(deleted, version)
		if rows < feedPage {
			return nil
		}
	}
}

// prune forgets rows of the feed that were made before a time, and resources that were
// deleted before it, if there are any.
func (x *Index) prune(ctx context.Context, before time.Time) error {
	var version, deleted int64
	at := before.UnixNano()
	err := x.database.following().row(ctx, []any{&version, &deleted}, `SELECT
		coalesce((SELECT version FROM feed WHERE made_at < ? ORDER BY made_at DESC LIMIT 1), 0),
		(SELECT count(*) FROM (SELECT 1 FROM deleted_resources WHERE deleted_at < ? LIMIT 1) AS one)`, at, at)
	if err != nil || version == 0 && deleted == 0 {
		return err
	}
	return x.writer.do(ctx, &change{apply: func(ctx context.Context, s session) error {
		if _, err := s.exec(ctx, `DELETE FROM deleted_resources WHERE deleted_at < ?`, at); err != nil {
			return err
		}
		if _, err := s.exec(ctx, `DELETE FROM feed WHERE version <= ?`, version); err != nil {
			return err
		}
		_, err := s.exec(ctx, `UPDATE state SET pruned = ? WHERE pruned < ?`, version, version)
		return err
	}})
}

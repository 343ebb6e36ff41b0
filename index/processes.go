package index

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"time"

	"millrace/ingest"
)

const (
	// BeatInterval is how often a process says that it lives.
	BeatInterval = 5 * time.Second
	// DeadAfter is how long ago it must have done so to be taken for alive.
	DeadAfter = 30 * time.Second
	// forgottenAfter is how long a process that has vanished is listed.
	forgottenAfter = 24 * time.Hour
)

// A Process is one of a deployment's.
type Process struct {
	ID      string // of this life of it: random
	Host    string
	Roles   []string
	Version string
	Formats []string     // of records, segments and manifests that it writes
	Log     ingest.LogID // that it writes to or reads from

	Since time.Duration // since it registered
	Beat  time.Duration // since its heart has last beaten; by the database's clock, as is Since
}

// Alive says whether its heart still beats.
func (p *Process) Alive() bool { return p.Beat < DeadAfter }

// Register adds a process, or brings what is known of it up to date.
func (x *Index) Register(ctx context.Context, p Process) error {
	now := x.database.dialect.now
	return x.failed("cannot register process "+p.ID, x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			_, err := s.exec(ctx,
				`INSERT INTO processes (id, host, roles, version, formats, log_id, log_base, started_at, beat_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, `+now+`, `+now+`) ON CONFLICT (id) DO UPDATE SET host = excluded.host,
				roles = excluded.roles, version = excluded.version, formats = excluded.formats, log_id = excluded.log_id,
				log_base = excluded.log_base, beat_at = excluded.beat_at`, p.ID, p.Host, strings.Join(p.Roles, ","), p.Version,
				strings.Join(p.Formats, ","), p.Log.ID, int64(p.Log.Base))
			return err
		},
	}))
}

// Beat says that a process lives; ErrNotFound when it isn't registered (any more).
func (x *Index) Beat(ctx context.Context, id string) error {
	return x.failed("cannot note that process "+id+" lives", x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			rows, err := s.exec(ctx, `UPDATE processes SET beat_at = `+s.dialect.now+` WHERE id = ?`, id)
			if err == nil && rows == 0 {
				return &ObjectError{"Process", id, ErrNotFound}
			}
			return err
		},
	}))
}

// Forget takes processes from the list.
func (x *Index) Forget(ctx context.Context, ids ...string) error {
	return x.failed("cannot forget processes", x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			for _, id := range ids {
				if _, err := s.exec(ctx, `DELETE FROM processes WHERE id = ?`, id); err != nil {
					return err
				}
			}
			return nil
		},
	}))
}

// Processes lists the processes that are registered, the oldest first: those that
// have vanished without a word for a day.
func (x *Index) Processes(ctx context.Context) ([]Process, error) {
	var list []Process
	now := x.database.dialect.now
	err := x.database.reading().rows(ctx, func(rows *sql.Rows) error {
		var p Process
		var roles, formats string
		err := rows.Scan(&p.ID, &p.Host, &roles, &p.Version, &formats, &p.Log.ID, &p.Log.Base, &p.Since, &p.Beat)
		p.Roles, p.Formats = splitList(roles), splitList(formats)
		list = append(list, p)
		return err
	}, `SELECT id, host, roles, version, formats, log_id, log_base, `+now+` - started_at, `+now+` - beat_at
		FROM processes WHERE beat_at > `+now+` - ? ORDER BY started_at, id`, int64(forgottenAfter))
	if err != nil {
		return nil, x.failed("cannot list processes", err)
	}
	return list, nil
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// Attend has a process registered, and its heart beat, until ctx ends; then it is
// forgotten. While the database can't be asked it goes on trying.
func (x *Index) Attend(ctx context.Context, p Process) {
	tick := time.NewTicker(BeatInterval)
	defer tick.Stop()
	failing := false
	for {
		err := x.Register(ctx, p)
		if err == nil {
			err = x.forgetVanished(ctx)
		}
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			failing = failed
			if failing {
				x.log.Warn("cannot say in the index that this process lives", slog.String("process", p.ID), slog.Any("err", err))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = x.Forget(leaving, p.ID) // else it vanishes
			return
		}
	}
}

func (x *Index) forgetVanished(ctx context.Context) error {
	now := x.database.dialect.now
	var vanished int
	err := x.database.reading().row(ctx, []any{&vanished}, `SELECT count(*) FROM processes WHERE beat_at < `+now+` - ?`,
		int64(forgottenAfter))
	if err != nil || vanished == 0 {
		return err
	}
	return x.writer.do(ctx, &change{apply: func(ctx context.Context, s session) error {
		_, err := s.exec(ctx, `DELETE FROM processes WHERE beat_at < `+now+` - ?`, int64(forgottenAfter))
		return err
	}})
}

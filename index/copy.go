package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrNotEmpty says that an index is not new.
var ErrNotEmpty = errors.New("it is not empty")

// Copy copies the index at one URL to another, which must be new: between SQLite and
// PostgreSQL, and between two of a kind. Nobody may use either meanwhile: it is refused
// while a process is registered whose heart beats, and nobody can write while it
// goes on. All is copied or, with an error, nothing; the rows of every table are
// counted on both sides. It calls copied, if not nil, for every table with its rows.
func Copy(ctx context.Context, from, to string, copied func(table string, rows int64)) error {
	if err := mustExist(from); err != nil {
		return fmt.Errorf("cannot copy the index: %w", err)
	}
	source, err := openDatabase(from, 1)
	if err != nil {
		return err
	}
	target, err := openDatabase(to, 1)
	if err != nil {
		return errors.Join(err, source.close())
	}
	c := copying{source, target, copied}
	if err = c.run(ctx); err != nil {
		err = fmt.Errorf("cannot copy the index %s to %s: %w", source.name, target.name, err)
	}
	return errors.Join(err, source.close(), target.close())
}

// mustExist keeps a mistyped name from making a file.
func mustExist(url string) error {
	place, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return nil
	}
	_, err := os.Stat(strings.TrimPrefix(place, "//"))
	return err
}

type copying struct {
	source, target *database
	copied         func(table string, rows int64)
}

func (c *copying) run(ctx context.Context) error {
	list := migrations()
	if err := mustBeOf(ctx, c.source.reading(), len(list)); err != nil {
		return err
	}
	if err := migrate(ctx, c.target, list); err != nil {
		return err
	}
	if err := mustBeEmpty(ctx, c.target.reading()); err != nil {
		return err // Before the source is locked, which may be the same.
	}
	_, err := c.source.transact(ctx, func(source session) error {
		if err := mustBeIdle(ctx, source); err != nil {
			return err
		}
		_, err := c.target.transact(ctx, func(target session) error {
			if err := mustBeEmpty(ctx, target); err != nil {
				return err
			}
			return c.tables(ctx, source, target)
		})
		return err
	})
	return err
}

// mustBeOf checks that a database has an index of this program's version.
func mustBeOf(ctx context.Context, s session, want int) error {
	var version int
	if err := s.row(ctx, []any{&version}, `SELECT coalesce(max(version), 0) FROM migrations`); err != nil {
		return fmt.Errorf("there is no index: %w", err)
	}
	if version > want {
		return ErrNewer
	}
	if version < want {
		return fmt.Errorf("its tables are of version %d, and this program's of %d: start this version on it once", version,
			want)
	}
	return nil
}

func mustBeEmpty(ctx context.Context, s session) error {
	for _, t := range copiedTables() {
		var rows int64
		if err := s.row(ctx, []any{&rows}, `SELECT count(*) FROM (SELECT 1 FROM `+t.name+` LIMIT 2) AS begun`); err != nil {
			return err
		}
		if rows > 1 || rows > 0 && !filledByMigrations(t.name) {
			return fmt.Errorf("%w: the target has rows in %s", ErrNotEmpty, t.name)
		}
	}
	return nil
}

func mustBeIdle(ctx context.Context, s session) error {
	var alive int
	err := s.row(ctx, []any{&alive}, `SELECT count(*) FROM processes WHERE beat_at > `+s.dialect.now+` - ?`,
		int64(DeadAfter))
	if err == nil && alive > 0 {
		err = fmt.Errorf("%d processes of the deployment use it, or did less than %s ago: stop them first", alive, DeadAfter)
	}
	return err
}

func (c *copying) tables(ctx context.Context, source, target session) error {
	for _, t := range copiedTables() {
		rows, err := t.copy(ctx, source, target)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		if c.copied != nil {
			c.copied(t.name, rows)
		}
	}
	if err := reindexAttributes(ctx, target); err != nil {
		return err
	}
	// What other processes would have to be told, there was nobody to tell.
	_, err := target.exec(ctx, `UPDATE state SET pruned = version`)
	return err
}

func (t *copiedTable) copy(ctx context.Context, source, target session) (rows int64, err error) {
	if filledByMigrations(t.name) {
		if _, err := target.exec(ctx, `DELETE FROM `+t.name); err != nil {
			return 0, err
		}
	}
	var args []any
	bytes := 0
	flush := func() error {
		n := len(args) / len(t.columns)
		if n == 0 {
			return nil
		}
		inserted, err := target.exec(ctx, t.insert(n), args...)
		if err == nil && inserted != int64(n) {
			err = fmt.Errorf("%d of %d rows were inserted", inserted, n)
		}
		rows += int64(n)
		args, bytes = args[:0], 0
		return err
	}
	err = source.rows(ctx, func(r *sql.Rows) error {
		before := len(args)
		args, err = t.scan(r, args)
		if err != nil {
			return err
		}
		bytes += sizeOf(args[before:])
		if len(args)+len(t.columns) > copiedAtOnce || bytes > copiedBytesAtOnce {
			return flush()
		}
		return nil
	}, `SELECT `+t.columnNames()+` FROM `+t.name)
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = t.verify(ctx, source, target, rows)
	}
	if err == nil && t.serial != "" {
		err = t.goOnNumbering(ctx, source, target)
	}
	return rows, err
}

// verify counts the rows on both sides.
func (t *copiedTable) verify(ctx context.Context, source, target session, rows int64) error {
	var there, here int64
	count := `SELECT count(*) FROM ` + t.name
	if err := errors.Join(source.row(ctx, []any{&there}, count), target.row(ctx, []any{&here}, count)); err != nil {
		return err
	}
	if there != rows || here != rows {
		return fmt.Errorf("%d rows were copied, the source has %d and the target %d", rows, there, here)
	}
	return nil
}

// goOnNumbering has the target number rows from where the source would.
func (t *copiedTable) goOnNumbering(ctx context.Context, source, target session) error {
	var last int64
	if err := source.row(ctx, []any{&last}, source.dialect.lastNumber(t.name, t.serial)); err != nil || last == 0 {
		return err
	}
	for _, statement := range target.dialect.goOnFrom(t.name, t.serial, last) {
		if err := target.rows(ctx, func(*sql.Rows) error { return nil }, statement); err != nil {
			return err
		}
	}
	return nil
}

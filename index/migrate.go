package index

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// ErrNewer says that a newer version of this program has changed the tables.
var ErrNewer = errors.New("the tables are newer than this program")

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration changes the tables from one version to the next. One that has been
// released never changes. More, if any, is done after its statements.
type migration struct {
	name, statements string
	more             func(context.Context, session) error
}

// migrations returns all of them, in order: the first makes version 1.
func migrations() []migration {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted
	if err != nil {
		panic("BUG: " + err.Error())
	}
	list := make([]migration, len(names))
	for i, name := range names {
		statements, err := migrationFiles.ReadFile(name)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql")
		list[i] = migration{name: name, statements: string(statements)}
		if list[i].name == "0006_place" {
			// They go on with the order in which resources are listed, which was another before.
			list[i].more = reindexAttributes
		}
	}
	return list
}

// migrate applies the migrations that the database hasn't seen, all or none of them.
func migrate(ctx context.Context, db *database, list []migration) error {
	_, err := db.transact(ctx, func(s session) error {
		if _, err := s.exec(ctx, `CREATE TABLE IF NOT EXISTS migrations (
			version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)`); err != nil {
			return err
		}
		var version int
		if err := s.row(ctx, []any{&version}, `SELECT coalesce(max(version), 0) FROM migrations`); err != nil {
			return err
		}
		if version > len(list) {
			return fmt.Errorf("%w: they are of version %d, and it knows up to %d", ErrNewer, version, len(list))
		}
		for i, m := range list[version:] {
			if err := m.apply(ctx, s, version+i+1); err != nil {
				return fmt.Errorf("cannot apply migration %s: %w", m.name, err)
			}
		}
		return nil
	})
	return err
}

func (m migration) apply(ctx context.Context, s session, version int) error {
	err := s.dialect.sorting(ctx, s, func() error {
		_, err := s.exec(ctx, s.dialect.words.Replace(m.statements))
		return err
	})
	if err != nil {
		return err
	}
	if m.more != nil {
		if err := m.more(ctx, s); err != nil {
			return err
		}
	}
	_, err = s.exec(ctx, `INSERT INTO migrations (version, name, applied_at) VALUES (?, ?, ?)`,
		version, m.name, time.Now().UnixNano())
	return err
}

// reindexAttributes makes the indexes of all resource types' attributes, anew where there
// are any.
func reindexAttributes(ctx context.Context, s session) error {
	types, err := readTypes(ctx, s)
	if err != nil {
		return err
	}
	for name, row := range types {
		t, err := row.decode(name)
		if err != nil {
			return fmt.Errorf("resource type %s: %w", name, err)
		}
		for i := range t.Attributes {
			if _, err := s.exec(ctx, `DROP INDEX IF EXISTS `+t.indexName(&t.Attributes[i])); err != nil {
				return err
			}
		}
		if err := t.index(ctx, s, t.Attributes); err != nil {
			return err
		}
	}
	return nil
}

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func sqliteDialect() *dialect {
	return &dialect{
		name: "SQLite",
		open: openSQLite,
		words: strings.NewReplacer("{text}", "TEXT", "{bytes}", "BLOB", "{json}", "TEXT",
			"{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT"),
		bind:          func(statement string) string { return statement },
		begin:         "", // a transaction that writes is alone from its beginning
		rowsPerInsert: []int{64, 8, 1},
		slowReturning: true,                  // it goes through a table of its own
		brief:         context.WithoutCancel, // waiting for another process is bounded by busy_timeout
		sorting: func(ctx context.Context, s session, do func() error) (err error) {
			if _, err := s.exec(ctx, "PRAGMA temp_store = FILE"); err != nil {
				return err
			}
			defer func() {
				_, failed := s.exec(ctx, "PRAGMA temp_store = MEMORY")
				err = errors.Join(err, failed)
			}()
			return do()
		},
		now: "CAST(unixepoch('subsec') * 1000000000 AS INTEGER)",
		lastNumber: func(table, _ string) string {
			return "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '" + table + "'"
		},
		goOnFrom: func(table, _ string, last int64) []string {
			return []string{"DELETE FROM sqlite_sequence WHERE name = '" + table + "'",
				fmt.Sprintf("INSERT INTO sqlite_sequence (name, seq) VALUES ('%s', %d)", table, last)}
		},
		fault:  sqliteFault,
		check:  func(context.Context, session, *slog.Logger) error { return nil },
		verify: verifySQLite,

		resourceDialect: sqliteResources(),
	}
}

// openSQLite opens pools on one file, in write-ahead mode so that readers and the
// writer don't wait for each other. Synchronous=FULL: a commit returns when the
// log of the database is on the device. Only the file's owner may read it, and what
// SQLite makes beside it has the file's mode.
func openSQLite(address string, readers int) (p pools, name string, err error) {
	place := strings.TrimPrefix(address, "sqlite:")
	options := url.Values{
		"_txlock":       {"immediate"},
		"_busy_timeout": {"4000"}, // ms, for another process's write
		"_foreign_keys": {"on"},
		"_synchronous":  {"full"},
		"_dqs":          {"false"},
		"_pragma":       {"cache_size(-32768)", "temp_store(memory)"}, // KiB; see sorting
	}
	if place == ":memory:" { // it lives in its connection
		pool, err := openSQLitePool("file::memory:", options, 1)
		return pools{pool, pool, pool}, address, err
	}
	path := strings.TrimPrefix(place, "//")
	if path == "" || strings.ContainsRune(path, '?') {
		return pools{}, "", errors.New("its URL names no file")
	}
	if err := makePrivate(path); err != nil {
		return pools{}, "", err
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath()
	options.Set("_journal_mode", "wal")
	options.Add("_pragma", "wal_autocheckpoint(4000)") // pages of 4 KiB
	if p.writes, err = openSQLitePool(file, options, 1); err != nil {
		return pools{}, "", err
	}
	options.Del("_journal_mode")
	options.Set("_query_only", "on")
	options.Set("_pragma", "cache_size(-8192)")
	if p.reads, err = openSQLitePool(file, options, readers); err != nil {
		return pools{}, "", errors.Join(err, p.close())
	}
	options.Set("_pragma", "cache_size(-256)")
	if p.feed, err = openSQLitePool(file, options, 1); err != nil {
		return pools{}, "", errors.Join(err, p.close())
	}
	return p, address, nil
}

// makePrivate makes the file if there is none, and lets nobody but its owner read it.
func makePrivate(path string) error {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		err := os.Chmod(name, 0o600)
		if errors.Is(err, os.ErrNotExist) && name == path {
			var f *os.File
			if f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
				err = f.Close()
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) || err != nil && name == path {
			return fmt.Errorf("cannot make it its owner's alone: %w", err)
		}
	}
	return nil
}

func openSQLitePool(name string, options url.Values, connections int) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(name + "?" + options.Encode())
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(preparingConnector{connector})
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, nil
}

func sqliteFault(err error) fault {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return faultOther
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return faultUnique
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return faultForeign
	}
	switch e.Code() & 0xff { // the kind; the rest says more
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
		return faultUnavailable
	}
	return faultOther
}

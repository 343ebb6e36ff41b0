package index

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A dialect is all that differs between the databases.
type dialect struct {
	// open opens the database at a place: what follows the scheme of its URL.
	open func(place string, readers int) (reads, writes *sql.DB, err error)
	// words of migrations: {text} compares byte by byte, {bytes} holds any bytes.
	words *strings.Replacer
	// bind writes a statement's parameters, which are question marks, as the database does.
	bind func(statement string) string
	// broken says which kind of constraint an error is about.
	broken func(err error) constraint
	// lock, the first statement of a migration, keeps other processes from migrating.
	lock string
}

// A constraint is what a statement can run into.
type constraint int

const (
	constraintNone    constraint = iota // another kind of error
	constraintUnique                    // there is one already
	constraintForeign                   // it refers to something that isn't there, or something refers to it
)

// openDatabase opens the database that a URL names.
func openDatabase(address string, readers int) (*database, error) {
	scheme, place, found := strings.Cut(address, ":")
	if !found || scheme != "sqlite" {
		return nil, fmt.Errorf("cannot open index: its URL must start with sqlite:, and starts with %q", scheme)
	}
	d := sqliteDialect()
	reads, writes, err := d.open(place, readers)
	if err != nil {
		return nil, fmt.Errorf("cannot open index %s: %w", address, err)
	}
	return &database{name: address, dialect: d, reads: reads, writes: writes}, nil
}

func sqliteDialect() *dialect {
	return &dialect{
		open:   openSQLite,
		words:  strings.NewReplacer("{text}", "TEXT", "{bytes}", "BLOB"),
		bind:   func(statement string) string { return statement },
		broken: brokenInSQLite,
		lock:   "", // a transaction that writes is alone from its beginning
	}
}

// openSQLite opens two pools on one file, in write-ahead mode so that neither
// waits for the other. Synchronous=FULL: a commit returns when the log of the
// database is on the device.
func openSQLite(place string, readers int) (reads, writes *sql.DB, err error) {
	options := url.Values{
		"_txlock":       {"immediate"},
		"_busy_timeout": {"4000"}, // ms, for another process's write
		"_foreign_keys": {"on"},
		"_synchronous":  {"full"},
		"_dqs":          {"false"},
		"_pragma":       {"cache_size(-32768)"}, // KiB
	}
	if place == ":memory:" { // it lives in its connection
		if writes, err = openPool("file::memory:", options, 1); err != nil {
			return nil, nil, err
		}
		return writes, writes, nil
	}
	path := strings.TrimPrefix(place, "//")
	if path == "" || strings.ContainsRune(path, '?') {
		return nil, nil, errors.New("its URL names no file")
	}
	name := "file:" + (&url.URL{Path: path}).EscapedPath()
	options.Set("_journal_mode", "wal")
	options.Add("_pragma", "wal_autocheckpoint(4000)") // pages of 4 KiB
	if writes, err = openPool(name, options, 1); err != nil {
		return nil, nil, err
	}
	options.Del("_journal_mode")
	options.Set("_query_only", "on")
	options.Set("_pragma", "cache_size(-8192)")
	if reads, err = openPool(name, options, readers); err != nil {
		return nil, nil, errors.Join(err, writes.Close())
	}
	return reads, writes, nil
}

func openPool(name string, options url.Values, connections int) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(name + "?" + options.Encode())
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, nil
}

func brokenInSQLite(err error) constraint {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return constraintNone
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return constraintUnique
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return constraintForeign
	}
	return constraintNone
}

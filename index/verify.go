package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"millrace/ingest"
)

// A Verified is what Verify has found in an index.
type Verified struct {
	Deployment Deployment   // zero: it is part of none yet
	Log        ingest.LogID // that the deployment writes to; zero: none yet
	Metrics    int64        // active ones
	Letters    int64        // dead letters, all of which can be read
}

// Verify reads what a start needs of the index at a URL, and lets the database check itself
// as far as it can (SQLite: all pages, indexes and references). It makes no index, and
// changes none. The error joins everything that is wrong; what is told is sound.
func Verify(ctx context.Context, url string) (v Verified, err error) {
	if err := mustExist(url); err != nil {
		return v, fmt.Errorf("the index is missing: %w", err)
	}
	db, err := openDatabase(url, 1)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	return v, v.read(ctx, db)
}

func (v *Verified) read(ctx context.Context, db *database) error {
	s := db.reading()
	if err := db.dialect.verify(ctx, s); err != nil {
		return err // what is read of damaged pages means nothing
	}
	if err := mustBeOf(ctx, s, len(migrations())); err != nil {
		return err
	}
	var errs []error
	fail := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	var err error
	if v.Deployment, err = readDeployment(ctx, s); !errors.Is(err, ErrNoDeployment) {
		fail("its deployment", err)
	}
	if v.Log, err = currentLog(ctx, s); !errors.Is(err, ErrNoLog) {
		fail("its log", err)
	}
	_, err = new(snapshot).reread(ctx, s, 0)
	fail("what is held in memory", err)
	fail("metrics", s.row(ctx, []any{&v.Metrics}, `SELECT count(*) FROM metrics WHERE deleted_at IS NULL`))
	fail("dead letters", v.letters(ctx, s))
	return errors.Join(errs...)
}

// letters decodes all dead letters, a page at a time.
func (v *Verified) letters(ctx context.Context, s session) error {
	for after := ""; ; {
		letters, err := new(Letters).list(ctx, s, after, lettersVerified)
		if err != nil || len(letters) == 0 {
			return err
		}
		v.Letters += int64(len(letters))
		after = letters[len(letters)-1].ID
	}
}

const lettersVerified = 1000 // at a time

// verifySQLite has SQLite look at every page and every index, and at references.
// (https://www.sqlite.org/pragma.html#pragma_integrity_check)
func verifySQLite(ctx context.Context, s session) error {
	var errs []error
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		if err == nil && text != "ok" {
			errs = append(errs, errors.New(text))
		}
		return err
	}, `PRAGMA integrity_check(20)`)
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return fmt.Errorf("it is damaged: %w", errors.Join(errs...))
	}
	return s.rows(ctx, func(rows *sql.Rows) error {
		var table, parent string
		var row, key sql.NullInt64
		if err := rows.Scan(&table, &row, &parent, &key); err != nil {
			return err
		}
		return fmt.Errorf("it is damaged: row %d of %s refers to something that is not in %s", row.Int64, table, parent)
	}, `PRAGMA foreign_key_check`)
}

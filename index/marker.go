package index

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"millrace/ingest"
)

// marker returns the values by which the resource sorts after which a page begins;
// nil at the beginning.
func (l *listing) marker(ctx context.Context, marker string) ([]any, error) {
	if marker == "" {
		return nil, nil
	}
	invalid := invalidMarker(marker)
	m, err := l.parseMarker(marker)
	if err != nil {
		return nil, invalid
	}
	if l.fields[0].Name == "id" && len(l.fields) == 1 {
		return []any{m.id[:]}, nil // wherever it was, also when it is gone by now
	}
	for _, where := range m.wheres(l.byPlace) {
		values, err := l.valuesOf(ctx, where)
		if err == nil {
			return values, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return nil, l.index.failed("cannot find where a page begins", err)
		}
	}
	return nil, invalid
}

// A marker names a state of a resource.
type marker struct {
	id       ResourceID
	revision int64
	begun    int64 // the present state's RevisionStart when it was seen; 0: not known
}

var errBadMarker = errors.New("bad marker")

func (l *listing) parseMarker(text string) (m marker, err error) {
	parts := strings.Split(text, "@")
	m.revision = current
	if len(parts) > 3 || len(parts) > 1 && !l.search.History {
		return m, errBadMarker
	}
	if m.id, err = ingest.ParseMetricID(parts[0]); err != nil {
		return m, err
	}
	if len(parts) > 1 {
		if m.revision, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
			return m, err
		}
	}
	if len(parts) > 2 {
		if m.begun, err = strconv.ParseInt(parts[2], 10, 64); err == nil && m.revision != current {
			err = errBadMarker
		}
	}
	return m, err
}

// A rowOf is where a row may be found.
type rowOf struct {
	table string
	which condition
	old   bool
}

// deletedResources has nothing of resources but where they stood.
const deletedResources = "deleted_resources"

// wheres are where the values are that the marker's state sorts by.
func (m *marker) wheres(byPlace bool) []rowOf {
	which := where("id = ?", m.id[:])
	present := rowOf{tableOf(false), which, false}
	switch {
	case byPlace:
		return []rowOf{present, {deletedResources, which, false}}
	case m.revision != current:
		return []rowOf{{tableOf(true), which.and(where("revision = ?", m.revision)), true}}
	case m.begun != 0:
		which = which.and(where("revision_start = ?", m.begun))
		return []rowOf{{tableOf(false), which, false}, {tableOf(true), which, true}}
	}
	return []rowOf{present}
}

// valuesOf reads the values by which a state sorts.
func (l *listing) valuesOf(ctx context.Context, row rowOf) ([]any, error) {
	columns := make([]string, len(l.fields))
	values, dest := make([]any, len(l.fields)), make([]any, len(l.fields))
	for i, o := range l.in(row.old) {
		columns[i] = o.key.column
		dest[i] = &values[i]
	}
	which := row.which
	if l.search.Scope != nil && row.table != deletedResources { // else where a page begins tells what they have
		which = which.and(l.search.Scope.condition())
	}
	err := l.index.database.reading().row(ctx, dest,
		`SELECT `+strings.Join(columns, ", ")+` FROM `+row.table+which.clause(), which.args...)
	return values, err
}

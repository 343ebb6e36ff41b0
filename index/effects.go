package index

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"millrace/ingest"
)

// The kinds of rows of the feed.
const (
	eventDeleted = 1 // of a metric
	eventHeld    = 2 // of what is held in memory as a whole: archive policies, rules, resource types
	eventRenamed = 3 // of a resource whose metrics are called otherwise, that has another end or project, or is gone
)

// effects are what changes do to what is counted and to what caches hold, here and
// in other processes. The statements that have them say so in a session's effects.
type effects struct {
	created []Metric          // exist now
	deleted []ingest.MetricID // are marked now
	altered []ingest.MetricID // are there, but not as they were: a MetricInfo has changed
	renamed []ResourceID      // have metrics of other names, another end or project, or are gone; some more than once
	purged  int64             // marked ones that are gone now
	held    bool              // something that is held in memory as a whole has changed
}

func (e *effects) add(f effects) {
	if len(e.created) == 0 {
		e.created = f.created // Fast path: not copied.
	} else {
		e.created = append(e.created, f.created...)
	}
	e.deleted = append(e.deleted, f.deleted...)
	e.altered = append(e.altered, f.altered...)
	e.renamed = append(e.renamed, f.renamed...)
	e.purged += f.purged
	e.held = e.held || f.held
}

func (e *effects) none() bool {
	return len(e.created) == 0 && len(e.deleted) == 0 && len(e.altered) == 0 && len(e.renamed) == 0 && e.purged == 0 &&
		!e.held
}

// record counts the effects and tells them to other processes; it returns the feed's
// version, which is that of the transaction.
func (e *effects) record(ctx context.Context, s session) (version int64, err error) {
	if e.none() {
		return 0, nil
	}
	slices.SortFunc(e.renamed, func(a, b ResourceID) int { return bytes.Compare(a[:], b[:]) })
	e.renamed = slices.Compact(e.renamed)
	events := int64(len(e.deleted) + len(e.altered) + len(e.renamed))
	if e.held {
		events++
	}
	creations := min(1, len(e.created))
	gone := int64(len(e.deleted)) - e.purged
	args := []any{events, creations, len(e.created) - len(e.deleted), gone}
	update := `UPDATE state SET version = version + ?, creations = creations + ?,
		metrics = metrics + ?, deleted = deleted + ? WHERE one = 1`
	if brief := s.dialect.brief(ctx); s.dialect.slowReturning {
		if _, err = s.exec(brief, update, args...); err == nil {
			err = s.row(brief, []any{&version}, `SELECT version FROM state`)
		}
	} else {
		err = s.row(brief, []any{&version}, update+` RETURNING version`, args...)
	}
	if err != nil || events == 0 {
		return version, err
	}
	return version, e.insert(ctx, s, version-events+1)
}

const eventsPerStatement = 256

// insert adds the rows of the feed, the first of that version.
func (e *effects) insert(ctx context.Context, s session, version int64) error {
	now := time.Now().UnixNano()
	if e.held {
		if _, err := s.exec(ctx, `INSERT INTO feed (version, kind, made_at) VALUES (?, ?, ?)`, version, eventHeld,
			now); err != nil {
			return err
		}
		version++
	}
	type event struct {
		kind   int
		object []byte
	}
	var events []event
	for _, ids := range [][]ingest.MetricID{e.deleted, e.altered} {
		for i := range ids {
			events = append(events, event{eventDeleted, ids[i][:]}) // All the same to others: they forget it.
		}
	}
	for i := range e.renamed {
		events = append(events, event{eventRenamed, e.renamed[i][:]})
	}
	for some := range slices.Chunk(events, eventsPerStatement) {
		args := make([]any, 0, 4*len(some))
		for i := range some {
			args = append(args, version, some[i].kind, some[i].object, now)
			version++
		}
		_, err := s.exec(ctx, `INSERT INTO feed (version, kind, object, made_at)
			VALUES (?, ?, ?, ?)`+strings.Repeat(", (?, ?, ?, ?)", len(some)-1), args...)
		if err != nil {
			return err
		}
	}
	return nil
}

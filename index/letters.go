package index

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"millrace/ingest"
)

// ErrLettersFull says that there is no room for more dead letters: none is dropped,
// and somebody has to replay or remove some.
var ErrLettersFull = errors.New("dead letters are full")

const (
	lettersPerStatement = 64
	lettersReadAtOnce   = 16 << 20 // bytes that a List may return, if it returns more than one letter
	letterOverhead      = 128      // what a letter counts beside its texts and bytes
	maxLetterID         = 1 << 10  // bytes
)

// Letters are the dead letters of a deployment, of all its processes: its
// [ingest.DeadLetters]. Their number and size are bounded by Config.MaxLetters and
// Config.MaxLetterBytes.
type Letters struct {
	index *Index
	count atomic.Int64 // when the feed was last read, or we last changed them
}

var _ ingest.DeadLetters = (*Letters)(nil)

// Letters returns the dead letters.
func (x *Index) Letters() *Letters { return x.letters }

// Count says how many letters there are: as of our last change, or half a second ago.
func (l *Letters) Count() int { return int(l.count.Load()) }

// Add returns when the letters are durable. A letter whose ID is there already, or
// was before in the same call, is left alone. With ErrLettersFull, when they don't
// all fit, and with any other error none is added, but perhaps after one that is
// ErrUnavailable; to try again is harmless. Characters that a database can't hold
// are replaced by U+FFFD.
func (l *Letters) Add(ctx context.Context, letters []ingest.DeadLetter) error {
	rows := make([]letterRow, len(letters))
	for i := range letters {
		if n := len(letters[i].ID); n == 0 || n > maxLetterID {
			return fmt.Errorf("cannot add %d dead letters: an id has %d bytes: want 1 to %d", len(letters), n, maxLetterID)
		}
		rows[i] = encodeLetter(&letters[i])
	}
	var count int64
	err := l.index.writer.do(ctx, &change{apply: func(ctx context.Context, s session) (err error) {
		count, err = l.insert(ctx, s, rows)
		return err
	}})
	if err != nil {
		return l.index.failed(fmt.Sprintf("cannot add %d dead letters", len(letters)), err)
	}
	l.count.Store(count)
	return nil
}

// insert returns how many letters there are then.
func (l *Letters) insert(ctx context.Context, s session, letters []letterRow) (count int64, err error) {
	var added, bytes int64
	for some := range slices.Chunk(letters, lettersPerStatement) {
		args := make([]any, 0, 12*len(some))
		for i := range some {
			args = some[i].append(args)
		}
		err := s.rows(ctx, func(rows *sql.Rows) error {
			var n int64
			err := rows.Scan(&n)
			added++
			bytes += n
			return err
		}, `INSERT INTO dead_letters (`+letterColumns+`, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`+
			strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", len(some)-1)+
			` ON CONFLICT (id) DO NOTHING RETURNING bytes`, args...)
		if err != nil {
			return 0, err
		}
	}
	count, total, err := countLetters(ctx, s, added, bytes)
	config := &l.index.config
	if err == nil && added > 0 && (count > int64(config.MaxLetters) || total > config.MaxLetterBytes) {
		err = fmt.Errorf("%w: there are %d, of %d at most, and they take %d bytes, of %d at most: replay or remove some",
			ErrLettersFull, count-added, config.MaxLetters, total-bytes, config.MaxLetterBytes)
	}
	return count, err
}

// countLetters counts letters that were added, or removed, and says how many there are.
func countLetters(ctx context.Context, s session, added, bytes int64) (count, total int64, err error) {
	err = s.row(ctx, []any{&count, &total}, `UPDATE state SET letters = letters + ?, letter_bytes = letter_bytes + ?
		WHERE one = 1 RETURNING letters, letter_bytes`, added, bytes)
	return count, total, err
}

// Remove returns when the letters are gone for good. Ids that are not there are no
// error.
func (l *Letters) Remove(ctx context.Context, ids []string) error {
	ids = slices.Clone(ids)
	var count int64
	err := l.index.writer.do(ctx, &change{apply: func(ctx context.Context, s session) (err error) {
		var removed, bytes int64
		for some := range slices.Chunk(ids, idsPerQuery) {
			args := make([]any, len(some))
			for i := range some {
				args[i] = some[i]
			}
			err := s.rows(ctx, func(rows *sql.Rows) error {
				var n int64
				err := rows.Scan(&n)
				removed++
				bytes += n
				return err
			}, `DELETE FROM dead_letters WHERE id IN (?`+strings.Repeat(", ?", len(some)-1)+`) RETURNING bytes`, args...)
			if err != nil {
				return err
			}
		}
		count, _, err = countLetters(ctx, s, -removed, -bytes)
		return err
	}})
	if err != nil {
		return l.index.failed(fmt.Sprintf("cannot remove %d dead letters", len(ids)), err)
	}
	l.count.Store(count)
	return nil
}

// List returns up to limit letters in the order of their ids, after a text, which
// need not be an id: fewer when they take more than 16 MiB together, but at least
// one if there is one.
func (l *Letters) List(ctx context.Context, after string, limit int) ([]ingest.DeadLetter, error) {
	letters, err := l.list(ctx, l.index.database.reading(), after, limit)
	if err != nil {
		return nil, l.index.failed("cannot list dead letters", err)
	}
	return letters, nil
}

func (l *Letters) list(ctx context.Context, s session, after string, limit int) ([]ingest.DeadLetter, error) {
	if limit <= 0 || checkTexts([]any{after}) != nil { // What no id has has nothing after it worth a page.
		return nil, nil
	}
	last, total := "", int64(0)
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var id string
		var bytes int64
		err := rows.Scan(&id, &bytes)
		if total += bytes; last == "" || total <= lettersReadAtOnce {
			last = id
		}
		return err
	}, `SELECT id, bytes FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
	if err != nil || last == "" {
		return nil, err
	}
	var letters []ingest.DeadLetter
	err = s.rows(ctx, func(rows *sql.Rows) error {
		letter, err := scanLetter(rows)
		letters = append(letters, letter)
		return err
	}, `SELECT `+letterColumns+` FROM dead_letters WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, after, last, limit)
	return letters, err
}

const letterColumns = `id, sack, log_offset, accepted_at, rejected_at, project, metric, archive_policy, reason, ` +
	`measures, raw`

// A letterRow is a dead letter as the database has it.
type letterRow struct {
	letter                  ingest.DeadLetter // but for what follows
	acceptedAt, rejectedAt  any
	metric, measures, bytes any
}

func encodeLetter(letter *ingest.DeadLetter) letterRow {
	r := letterRow{letter: *letter, acceptedAt: timeArg(letter.AcceptedAt), rejectedAt: timeArg(letter.RejectedAt)}
	l := &r.letter
	for _, text := range []*string{&l.Project, &l.Policy, &l.Reason} {
		*text = strings.ReplaceAll(strings.ToValidUTF8(*text, "\ufffd"), "\x00", "\ufffd")
	}
	if l.Metric != (ingest.MetricID{}) {
		r.metric = slices.Clone(l.Metric[:])
	}
	if len(l.Measures) > 0 {
		r.measures = encodeMeasures(l.Measures)
	}
	l.Raw = slices.Clone(l.Raw) // ctx may end before it is written
	size := letterOverhead + len(l.ID) + len(l.Project) + len(l.Policy) + len(l.Reason) + measureSize*len(l.Measures) +
		len(l.Raw)
	r.bytes, l.Measures = int64(size), nil
	return r
}

func (r *letterRow) append(args []any) []any {
	l := &r.letter
	var raw any
	if len(l.Raw) > 0 {
		raw = l.Raw
	}
	return append(args, l.ID, int64(l.Sack), int64(l.Offset), r.acceptedAt, r.rejectedAt, l.Project, r.metric,
		l.Policy, l.Reason, r.measures, raw, r.bytes)
}

func scanLetter(rows *sql.Rows) (l ingest.DeadLetter, err error) {
	var accepted, rejected sql.NullInt64
	var metric, measures sql.RawBytes
	var sack int
	err = rows.Scan(&l.ID, &sack, &l.Offset, &accepted, &rejected, &l.Project, &metric, &l.Policy, &l.Reason, &measures,
		&l.Raw)
	if err != nil {
		return l, err
	}
	l.Sack, l.AcceptedAt, l.RejectedAt = ingest.Sack(sack), timeOf(accepted), timeOf(rejected)
	if metric != nil {
		if err := scanUUID((*[16]byte)(&l.Metric), metric); err != nil {
			return l, fmt.Errorf("dead letter %s: %w", l.ID, err)
		}
	}
	if l.Measures, err = decodeMeasures(measures); err != nil {
		return l, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	return l, nil
}

// timeArg is a time as the database has it: null where it is zero.
func timeArg(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func timeOf(ns sql.NullInt64) time.Time {
	if !ns.Valid {
		return time.Time{}
	}
	return time.Unix(0, ns.Int64).UTC()
}

const measureSize = 16

func encodeMeasures(measures []ingest.Measure) []byte {
	b := make([]byte, 0, measureSize*len(measures))
	for _, m := range measures {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.Time))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(m.Value))
	}
	return b
}

func decodeMeasures(b []byte) ([]ingest.Measure, error) {
	if len(b)%measureSize != 0 {
		return nil, fmt.Errorf("its measures take %d bytes, which is no multiple of %d", len(b), measureSize)
	}
	var measures []ingest.Measure
	for ; len(b) > 0; b = b[measureSize:] {
		measures = append(measures, ingest.Measure{
			Time: int64(binary.LittleEndian.Uint64(b)), Value: math.Float64frombits(binary.LittleEndian.Uint64(b[8:]))})
	}
	return measures, nil
}

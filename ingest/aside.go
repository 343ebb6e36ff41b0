package ingest

import (
	"context"
	"fmt"
	"time"
)

// putAside writes dead letters, again and again until it succeeds or ctx ends: the
// sack holds meanwhile, for what can be put nowhere must not be passed.
func (t *tenure) putAside(ctx context.Context, letters []DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	backoff := t.newBackoff()
	for {
		work, cancel := t.patience(ctx)
		err := t.letters.Add(work, letters)
		cancel()
		if err == nil {
			break
		}
		err = fmt.Errorf("cannot put aside %d dead letters of sack %d: %w", len(letters), t.sack, err)
		if err := t.hold(ctx, err, backoff); err != nil {
			return err
		}
	}
	t.counts.letters += int64(len(letters))
	t.log.Warn("put aside what could not be applied", "dead_letters", len(letters), "first", letters[0].ID, "reason",
		letters[0].Reason)
	return nil
}

// sort makes letters of rejects, but for measures of deleted metrics: those are
// counted, and their story ends there.
func (t *tenure) sort(list []Delivery, rejects []Reject) []DeadLetter {
	var letters []DeadLetter
	for _, r := range rejects {
		letter := t.rejected(list, r)
		if !r.Deleted {
			letters = append(letters, letter)
			continue
		}
		t.counts.deleted += int64(len(letter.Measures))
		t.progress.rejected(letter)
	}
	return letters
}

// unreadable makes the letter of a record whose bytes make no sense.
func (t *tenure) unreadable(d *Delivery) DeadLetter {
	return DeadLetter{
		ID: DeadLetterID(t.sack, d.Offset, 0), Sack: t.sack, Offset: d.Offset, RejectedAt: time.Now().UTC(),
		Reason: "record can't be decoded: " + d.Err.Error(), Raw: append([]byte(nil), d.Raw...),
	}
}

// futureEntry keeps the ids of letters for measures from the future apart from
// those of the same entry's refusal by the driver. It is above any entry's index.
const futureEntry = 1 << 20

// fromTheFuture takes measures out of a record that are too far ahead of its
// acceptance, whoever wrote it: one such measure would make everything true that
// follows late. Of a record that doesn't say when it was accepted nobody can say what
// it is ahead of.
func (t *tenure) fromTheFuture(d *Delivery) []DeadLetter {
	r := &d.Record
	if t.config.MaxFuture < 0 || r.Kind != RecordMeasures || r.AcceptedAt.IsZero() {
		return nil
	}
	limit := r.AcceptedAt.UnixNano() + int64(t.config.MaxFuture)
	var letters []DeadLetter
	for i := range r.Entries {
		e := &r.Entries[i]
		if !anyAfter(e.Measures, limit) { // Fast path.
			continue
		}
		letter := t.letter(d, i)
		letter.ID = DeadLetterID(t.sack, d.Offset, futureEntry+i)
		letter.Reason = fmt.Sprintf("timestamp is more than %s after the record was accepted", t.config.MaxFuture)
		kept := e.Measures[:0]
		for _, m := range e.Measures {
			if m.Time > limit {
				letter.Measures = append(letter.Measures, m)
			} else {
				kept = append(kept, m)
			}
		}
		e.Measures = kept
		letters = append(letters, letter)
	}
	return letters
}

// rejected makes the letter of an entry that the driver refused: of a record in list,
// or of one that is gone and that the driver has copied what matters of.
func (t *tenure) rejected(list []Delivery, r Reject) DeadLetter {
	if p := r.Part; p != nil {
		return DeadLetter{
			ID: DeadLetterID(t.sack, r.Offset, r.Entry), Sack: t.sack, Offset: r.Offset,
			AcceptedAt: p.AcceptedAt, RejectedAt: time.Now().UTC(), Project: p.Project, Metric: p.Metric, Policy: p.Policy,
			Reason: r.Reason, Measures: p.Measures,
		}
	}
	for i := range list {
		if list[i].Offset == r.Offset {
			letter := t.letter(&list[i], r.Entry)
			letter.Reason = r.Reason
			letter.Measures = append(letter.Measures, list[i].Record.Entries[r.Entry].Measures...)
			return letter
		}
	}
	panic(fmt.Sprintf("BUG: driver rejects a record at %d that it was not given", r.Offset))
}

// letter addresses a letter for one entry, without its reason and measures.
func (t *tenure) letter(d *Delivery, entry int) DeadLetter {
	e := &d.Record.Entries[entry]
	return DeadLetter{
		ID: DeadLetterID(t.sack, d.Offset, entry), Sack: t.sack, Offset: d.Offset,
		AcceptedAt: d.Record.AcceptedAt, RejectedAt: time.Now().UTC(),
		Project: d.Record.Project, Metric: e.Metric, Policy: e.Policy,
	}
}

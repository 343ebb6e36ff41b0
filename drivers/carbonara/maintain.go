package carbonara

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// chores is what Maintain remembers between its rounds.
type chores struct {
	collected time.Time // when orphans were looked for last; zero: not yet
	opened    time.Time
	purged    time.Time         // when deleted metrics were purged last
	aside     map[string]*aside // segments that could not be read, by name
	expiredAt int64             // the newest second at which expired segments were looked for last
}

// An aside is a segment that could not be read. It is left alone for a while, so
// that the others go on being merged.
type aside struct {
	failures int
	until    time.Time
}

// asideMost is how long a segment that can't be read is left alone at most.
const asideMost = 10 * time.Minute

// remainderLevel is the level of the raw run that a seal leaves: no merge by tiers
// touches it, the next seal rewrites it.
const remainderLevel = 100

// uncoveredRows is how many raw rows may gather that the state segment doesn't
// cover: whoever opens the sack has to scan them.
const uncoveredRows = 4 << 20

// A turn does one thing that is due, and says whether it did.
type turn func(ctx context.Context) (did bool, err error)

// Maintain does what is due: seals, merges until no tier is full, the rewriting of
// what has mostly expired, the collection of garbage. What fails does not keep the
// rest from being done, and small merges don't wait for what is large.
func (w *writer) Maintain(ctx context.Context) error {
	w.chores.Lock()
	defer w.chores.Unlock()
	if err := w.usable(ctx); err != nil {
		return err
	}
	if err := w.revalidate(ctx); err != nil {
		return err
	}
	w.readmit(w.current())
	failures, err := w.doTurns(InBackground(ctx))
	if err != nil {
		return err
	}
	if err := w.settle(ctx); err != nil { // what was put for a swap that may happen yet is no orphan
		return errors.Join(append(failures, err)...)
	}
	return errors.Join(append(failures, w.collect(ctx))...)
}

// doTurns does what is due until nothing is: first what is large, and small merges
// beside it as long as that takes, and after it.
func (w *writer) doTurns(ctx context.Context) (failures []error, err error) {
	small := []turn{w.dropExpired, w.mergeTier(segment.Raw, true), w.mergeTier(segment.Sealed, true)}
	large := []turn{w.sealIfDue, w.mergeTier(segment.Raw, false), w.mergeTier(segment.Sealed, false), w.rewriteStale,
		w.purge}
	for busy := true; busy; {
		l := &lane{turns: large}
		if w.driver.config.serial {
			l.run(ctx, w)
		} else {
			err = w.beside(ctx, l, small)
		}
		after := &lane{turns: small}
		if l.over == nil && err == nil {
			after.run(ctx, w)
		}
		if over := cmp.Or(err, l.over, after.over); over != nil {
			return nil, over
		}
		failures = append(append(failures, l.failures...), after.failures...)
		busy = after.did && len(failures) == 0
	}
	return failures, nil
}

// smallEvery is how often small merges are looked for while something large goes on.
const smallEvery = 250 * time.Millisecond

// beside does what is large, and small merges now and then as long as it goes on. It
// returns what has ended those.
func (w *writer) beside(ctx context.Context, large *lane, small []turn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		large.run(ctx, w)
	}()
	for {
		select {
		case <-done:
			return nil
		case <-time.After(smallEvery):
		}
		now := &lane{turns: small}
		if now.run(ctx, w); now.over != nil || len(now.failures) > 0 { // it will be tried, and told, afterwards
			<-done
			return nil
		}
	}
}

// A lane does turns, one after the other.
type lane struct {
	turns    []turn
	did      bool
	failures []error
	over     error // what ends the round
}

// run does what is due until nothing is, in turns, so that none waits for another
// that is always due.
func (l *lane) run(ctx context.Context, w *writer) {
	turns := slices.Clone(l.turns)
	for busy := true; busy; {
		busy = false
		for i, do := range turns {
			if do == nil {
				continue
			}
			// One that failed may have happened: the next must not start from before it.
			if err := w.settle(ctx); err != nil {
				l.over = errors.Join(append(l.failures, err)...)
				return
			}
			did, err := do(ctx)
			switch {
			case err == nil:
				busy = busy || did
				l.did = l.did || did
			case ctx.Err() != nil || errors.Is(err, ingest.ErrFenced) || errors.Is(err, ingest.ErrWentBack) ||
				errors.Is(err, ErrClosed):
				l.over = err
				return
			default:
				w.setAside(err)
				l.failures = append(l.failures, err)
				turns[i] = nil
			}
		}
	}
}

// take waits for one of the driver's places for work of a size, and returns what
// gives it back.
func (d *Driver) take(ctx context.Context, small bool) (giveBack func(), err error) {
	places := d.largeWork
	if small {
		places = d.smallWork
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reserve keeps others away from segments that are about to be replaced. The caller
// holds choosing.
func (w *writer) reserve(segments []entry) {
	for _, s := range segments {
		w.reserved[s.Name] = true
	}
}

func (w *writer) unreserve(segments []entry) {
	w.choosing.Lock()
	defer w.choosing.Unlock()
	for _, s := range segments {
		delete(w.reserved, s.Name)
	}
}

// revalidateEvery is how often the owner of a sack on a store that may go back looks
// at its manifest, idle or not.
const revalidateEvery = time.Minute

// revalidate looks at the manifest of a sack on a store that may go back, if that has
// not been done for a while, or a call of the store has failed since.
func (w *writer) revalidate(ctx context.Context) error {
	if !w.driver.store.Traits().MayGoBack {
		return nil
	}
	seen := w.seen.Load()
	if age := w.driver.config.Now().Sub(seen.at); age >= 0 && age < revalidateEvery &&
		seen.troubles == w.driver.troubles.Load() {
		return nil
	}
	return w.confirm(ctx)
}

// setAside notes which segment an error is about, if it is about one.
func (w *writer) setAside(err error) {
	e, ok := errors.AsType[*segmentError](err)
	if !ok {
		return
	}
	name := sackPrefix(w.sack) + e.name
	w.driver.files.forget([]string{name})
	if _, ok := errors.AsType[*storeError](err); !ok {
		w.driver.damaged.note(name, err, w.driver.config.Now())
	}
	w.choosing.Lock()
	defer w.choosing.Unlock()
	a := w.collectors.aside[e.name]
	if a == nil {
		a = new(aside)
		if w.collectors.aside == nil {
			w.collectors.aside = make(map[string]*aside)
		}
		w.collectors.aside[e.name] = a
	}
	a.until = w.driver.config.Now().Add(min(asideMost, time.Second<<min(a.failures, 20)))
	a.failures++
}

// readmit forgets what was noted of segments that are no longer there.
func (w *writer) readmit(m *manifest) {
	maps.DeleteFunc(w.collectors.aside, func(name string, _ *aside) bool {
		return !slices.ContainsFunc(m.Segments, func(s entry) bool { return s.Name == name })
	})
}

// isAside says whether any of the segments is to be left alone now. The caller holds
// choosing.
func (w *writer) isAside(segments []entry) bool {
	if slices.ContainsFunc(segments, func(s entry) bool { return w.reserved[s.Name] }) {
		return true
	}
	if len(w.collectors.aside) == 0 {
		return false
	}
	now := w.driver.config.Now()
	return slices.ContainsFunc(segments, func(s entry) bool {
		a := w.collectors.aside[s.Name]
		return a != nil && now.Before(a.until)
	})
}

// open opens a segment for a merge or a seal.
func (w *writer) open(ctx context.Context, s entry) (*segment.Reader, error) {
	f, err := w.driver.files.open(ctx, w.sack, &s)
	if err != nil {
		return nil, &segmentError{s.Name, err}
	}
	return f, nil
}

// sealIfDue seals when that is due.
func (w *writer) sealIfDue(ctx context.Context) (did bool, err error) {
	m := w.current()
	if due, err := w.sealIsDue(ctx, m); !due || err != nil {
		return false, err
	}
	giveBack, err := w.driver.take(ctx, false)
	if err != nil {
		return false, err
	}
	defer giveBack()
	w.choosing.Lock()
	m = w.current()
	all := append(m.of(segment.Raw), m.of(segment.State)...)
	if w.isAside(all) {
		w.choosing.Unlock()
		return false, nil
	}
	w.reserve(all)
	w.choosing.Unlock()
	defer w.unreserve(all)
	return true, w.sealNow(ctx, m)
}

// sealIsDue decides when raw measures are worth sealing: when so many rows have
// gathered since the last seal that reading what it left again pays, and enough of the
// metrics have moved past a horizon; or when it has been long.
func (w *writer) sealIsDue(ctx context.Context, m *manifest) (bool, error) {
	c := &w.driver.config
	rows := m.rawRows()
	gathered := rows - m.LastSeal.RawRows
	if gathered <= 0 {
		return false, nil
	}
	if m.uncovered() >= max(uncoveredRows, m.LastSeal.RawRows) {
		return true, nil
	}
	overdue := c.Now().Sub(m.LastSeal.At) >= c.SealEvery
	if !overdue && gathered < max(c.SealRows, m.LastSeal.RawRows) {
		return false, nil
	}
	ready, fresh, err := w.ready(ctx)
	switch {
	case ready == 0 || err != nil:
		return false, err
	case overdue:
		return true, nil
	case gathered >= 8*max(c.SealRows, m.LastSeal.RawRows):
		return true, nil
	case gathered >= 3*max(c.SealRows, m.LastSeal.RawRows):
		return 8*ready >= fresh, nil
	}
	return 2*ready >= fresh, nil
}

// ready counts the metrics with new measures, and those of them that have buckets
// to seal. It asks the index for the policies: no record may have named them yet.
func (w *writer) ready(ctx context.Context) (ready, fresh int, err error) {
	policies := w.policyNames()
	rules := make([]*policyRules, len(policies)) // nil: the policy is gone
	for i, name := range policies {
		p, err := w.policy(ctx, name)
		if err != nil {
			return 0, 0, err
		}
		if p != nil {
			rules[i] = new(policyRules)
			rules[i].set(p)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.table.metrics {
		s := &w.table.metrics[i]
		if !s.fresh {
			continue
		}
		fresh++
		if int(s.policy) < len(rules) && rules[s.policy] != nil && rules[s.policy].horizon(s.shown) > s.sealed {
			ready++
		}
	}
	return ready, fresh, nil
}

// policy looks up an archive policy; nil when it is gone.
func (w *writer) policy(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	p, err := w.driver.policies.Policy(ctx, name)
	switch {
	case errors.Is(err, ingest.ErrNoPolicy):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot look up archive policy %q: %w", name, err)
	}
	return p, nil
}

// smallMerge is how much a small merge reads, in bytes.
const smallMerge = 8 << 20

// mergeTier returns the turn that merges a full tier of runs of a kind, if that is
// small, or if it isn't.
func (w *writer) mergeTier(k segment.Kind, small bool) turn {
	return func(ctx context.Context) (did bool, err error) {
		w.choosing.Lock()
		merge, _ := w.fullTier(w.current().of(k), k == segment.Raw, small)
		w.choosing.Unlock()
		if merge == nil {
			return false, nil
		}
		giveBack, err := w.driver.take(ctx, small)
		if err != nil {
			return false, err
		}
		defer giveBack()
		w.choosing.Lock()
		merge, level := w.fullTier(w.current().of(k), k == segment.Raw, small)
		w.reserve(merge)
		w.choosing.Unlock()
		defer w.unreserve(merge)
		switch {
		case merge == nil:
			return false, nil
		case k == segment.Raw:
			return true, w.mergeRaw(ctx, merge, level)
		}
		return true, w.mergeSealed(ctx, merge, level)
	}
}

// rewriteStale rewrites a sealed segment that has mostly expired. One of a slot, which
// should have been dropped, is given the time of another slot for metrics that lag behind.
func (w *writer) rewriteStale(ctx context.Context) (did bool, err error) {
	w.choosing.Lock()
	m := w.current()
	newest := newestOf(m)
	var one []entry
	for _, s := range m.of(segment.Sealed) {
		if s.Stale != 0 && newest >= after(s.Stale, s.Slot) && !w.isAside([]entry{s}) {
			one = []entry{s}
			break
		}
	}
	w.reserve(one)
	w.choosing.Unlock()
	if one == nil {
		return false, nil
	}
	defer w.unreserve(one)
	giveBack, err := w.driver.take(ctx, false)
	if err != nil {
		return false, err
	}
	defer giveBack()
	level := one[0].Level
	if one[0].Slot != 0 {
		level = 0 // What is left over joins others like it.
	}
	return true, w.mergeSealed(ctx, one, level)
}

// fullTier finds segments to merge, which together are small or aren't: of the lowest
// such tier that has MergeWidth runs, all of them. Raw runs have to be neighbours in
// the log. It returns the level of the result. The caller holds choosing.
func (w *writer) fullTier(segments []entry, neighbours, small bool) (merge []entry, level int) {
	if w.alone {
		return nil, 0
	}
	runs := runsOf(segments)
	if !neighbours {
		runs = slices.DeleteFunc(runs, w.isAside)
		slices.SortStableFunc(runs, func(a, b []entry) int {
			return cmp.Or(compareSlots(a[0].slot(), b[0].slot()), cmp.Compare(a[0].Level, b[0].Level))
		})
	}
	var best [][]entry
	for i := 0; i < len(runs); {
		if w.isAside(runs[i]) {
			i++
			continue
		}
		j := i + 1
		for j < len(runs) && runs[j][0].Level == runs[i][0].Level && runs[j][0].slot() == runs[i][0].slot() &&
			!w.isAside(runs[j]) {
			j++
		}
		if j-i >= w.driver.config.MergeWidth && runs[i][0].Level < remainderLevel &&
			(bytesOf(slices.Concat(runs[i:j]...)) <= smallMerge) == small &&
			(best == nil || runs[i][0].Level < best[0][0].Level) {
			best = runs[i:j]
		}
		i = j
	}
	if best == nil && !neighbours {
		best = w.leftOver(runs, small)
	}
	if best == nil {
		return nil, 0
	}
	return slices.Concat(best...), topLevel(best) + 1
}

// leftOver finds runs, sorted by their slots, of a slot to which nothing is added any
// more, and which no tier will ever have enough of: they are worth one merge if that is
// not for the sake of little.
func (w *writer) leftOver(runs [][]entry, small bool) [][]entry {
	newest := newestOf(w.current())
	for i := 0; i < len(runs); {
		place := runs[i][0].slot()
		j := i + 1
		for j < len(runs) && runs[j][0].slot() == place {
			j++
		}
		group := runs[i:j]
		i = j
		if len(group) < 3 || !place.isOver(newest) {
			continue
		}
		all, largest := int64(0), int64(0)
		for _, run := range group {
			n := bytesOf(run)
			all, largest = all+n, max(largest, n)
		}
		if (all <= smallMerge) == small && 4*(all-largest) >= largest {
			return group
		}
	}
	return nil
}

// topLevel is the highest level of runs.
func topLevel(runs [][]entry) (level int) {
	for _, run := range runs {
		level = max(level, run[0].Level)
	}
	return level
}

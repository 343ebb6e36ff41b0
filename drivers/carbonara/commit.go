package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"millrace/ingest"
)

// An attempt is a swap of the manifest whose outcome is not known yet.
type attempt struct {
	manifest *manifest  // what it would make the stored one
	adds     []Addition // what that names for the first time
	done     func()     // what follows, with mu held, once it is known to have happened; may be nil
}

// commit makes a change visible: it swaps the manifest for a changed clone of the
// present one. When it returns nil, done has been called, with mu held. On ErrFenced the sack is
// somebody else's, on ErrWentBack the store isn't what it was, and on ErrMissing, which
// is certain, what the change names has to be put again. On another error the outcome
// is unknown: the next commit, or settle, finds it out, and calls done then if the
// swap did happen.
func (w *writer) commit(ctx context.Context, change func(m *manifest) error, done func()) error {
	w.committing.Lock()
	defer w.committing.Unlock()
	if err := w.settleLocked(ctx); err != nil {
		return err
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	m := w.manifest.clone()
	if err := change(m); err != nil {
		return err
	}
	w.dropCollected(m)
	if err := w.swap(ctx, m, done); !errors.Is(err, ErrChanged) {
		return err
	}
	// Somebody else has opened the sack, or the store has gone back; or this swap,
	// tried twice below us, has arrived.
	if err := w.settleLocked(ctx); err != nil {
		return err
	}
	if w.manifest != m {
		return fmt.Errorf("cannot swap %s: it was refused, for no reason that can be seen", manifestName(w.sack))
	}
	return nil
}

// swap tries to make m the stored manifest, in place of the one in memory.
func (w *writer) swap(ctx context.Context, m *manifest, done func()) error {
	m.Version, m.Swap = w.nextVersion(), newID()
	a := attempt{m, m.additions(w.sack, w.manifest), done}
	w.attempts = append(w.attempts, a)
	version, err := w.driver.store.Swap(ctx, manifestName(w.sack), w.version, m.encode(), a.adds)
	switch {
	case err == nil:
		w.adopt(m, version)
		return nil
	case errors.Is(err, ErrMissing):
		w.attempts = w.attempts[:len(w.attempts)-1]
		w.release(a.adds)
	}
	return fmt.Errorf("cannot swap %s: %w", manifestName(w.sack), err)
}

// settle finds out what became of swaps whose answers were lost, if there are any.
// When it returns nil, no earlier swap can happen any more.
func (w *writer) settle(ctx context.Context) error {
	w.committing.Lock()
	defer w.committing.Unlock()
	return w.settleLocked(ctx)
}

// settleTries bounds how often settle looks again because an idle swap was refused:
// once, when an open attempt has arrived in between.
const settleTries = 3

// settleLocked is settle. It isn't enough to see that an attempt has not happened:
// it may be on its way still, and arrive when the buffer that it speaks of has
// changed. So a swap that changes nothing takes its place.
func (w *writer) settleLocked(ctx context.Context) error {
	for range settleTries {
		if len(w.attempts) == 0 {
			return nil
		}
		if err := w.lookLocked(ctx, ""); err != nil || len(w.attempts) == 0 {
			return err
		}
		switch err := w.swap(ctx, w.manifest.clone(), nil); {
		case err == nil:
			return nil
		case !errors.Is(err, ErrChanged):
			return err
		}
	}
	return fmt.Errorf("cannot swap %s: it changes all the time", manifestName(w.sack))
}

// confirm looks whether the stored manifest is the one in memory. Nothing that the
// manifest no longer needs may be deleted before that: a store that has gone back
// needs it again.
func (w *writer) confirm(ctx context.Context) error {
	w.committing.Lock()
	defer w.committing.Unlock()
	if err := w.settleLocked(ctx); err != nil {
		return err
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	return w.lookLocked(ctx, w.version)
}

// lookLocked reads the manifest again, unless it has the version given. One that an
// attempt has made is adopted, and that it is still the one in memory is noted;
// anything else ends the tenure.
func (w *writer) lookLocked(ctx context.Context, unless Version) error {
	troubles := w.driver.troubles.Load()
	stored, version, err := readManifest(ctx, w.driver.store, w.sack, unless)
	switch {
	case errors.Is(err, ErrUnchanged):
	case errors.Is(err, ErrNotFound):
		return w.end(ingest.ErrWentBack, "there is no %s any more", manifestName(w.sack))
	case err != nil:
		return err
	case stored.Swap == w.manifest.Swap && stored.Tenure == w.manifest.Tenure:
		w.version = version
	default:
		i := slices.IndexFunc(w.attempts, func(a attempt) bool { return a.manifest.Swap == stored.Swap })
		if i < 0 {
			return w.lost(stored)
		}
		w.adopt(w.attempts[i].manifest, version)
	}
	w.seen.Store(&sighting{w.driver.config.Now(), troubles})
	return nil
}

// lost ends the tenure: the stored manifest is neither the one in memory nor what one
// of our attempts has made of it.
func (w *writer) lost(stored *manifest) error {
	name, mine := manifestName(w.sack), w.manifest
	switch {
	case stored.Deployment != mine.Deployment:
		return w.end(ingest.ErrWentBack, "%s is of another deployment, %s, ours is %s", name, stored.Deployment,
			mine.Deployment)
	case stored.Tenure == mine.Tenure || stored.Epoch < mine.Epoch:
		return w.end(ingest.ErrWentBack, "%s is at epoch %d and version %d, and we have seen epoch %d and version %d",
			name, stored.Epoch, stored.Version, mine.Epoch, mine.Version)
	}
	return w.end(ingest.ErrFenced, "%s is at epoch %d, ours is %d", name, stored.Epoch, mine.Epoch)
}

// nextVersion numbers a swap. Those that failed have used their numbers up.
func (w *writer) nextVersion() uint64 {
	w.tried++
	return w.tried
}

// adopt makes a manifest that is stored the present state. It ends the open
// attempts: one of them is what has happened, and the others can't happen any more.
func (w *writer) adopt(m *manifest, version Version) {
	attempts := w.attempts
	w.attempts, w.version = nil, version
	shown := w.driver.newView(w.sack, version, m)
	w.mu.Lock()
	w.manifest, w.shown = m, shown
	for _, a := range attempts {
		if a.manifest == m && a.done != nil {
			a.done()
		}
		for _, add := range a.adds {
			delete(w.unnamed, add.Name)
		}
	}
	w.mu.Unlock()
	w.seen.Store(&sighting{w.driver.config.Now(), w.driver.troubles.Load()})
}

// end gives the sack up: what is in memory is worth nothing.
func (w *writer) end(reason error, format string, args ...any) error {
	w.attempts = nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = reason
	w.table = newTable()
	w.buried, w.buriedCount = nil, 0
	w.leave()
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), reason)
}

// current is the manifest as it was last committed.
func (w *writer) current() *manifest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manifest
}

// claim keeps a segment that is about to be put from being collected as an orphan
// before a manifest names it.
func (w *writer) claim(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unnamed[sackPrefix(w.sack)+name] = true
}

// release ends the claims on segments: a manifest names them, or none ever will.
func (w *writer) release(adds []Addition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range adds {
		delete(w.unnamed, a.Name)
	}
}

// abandon ends the claims on segments that no open attempt names.
func (w *writer) abandon(claimed []Addition) {
	w.committing.Lock()
	defer w.committing.Unlock()
	for _, a := range w.attempts {
		claimed = slices.DeleteFunc(slices.Clone(claimed), func(c Addition) bool { return slices.Contains(a.adds, c) })
	}
	w.release(claimed)
}

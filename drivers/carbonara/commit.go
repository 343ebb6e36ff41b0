package carbonara

import (
	"context"
	"errors"
	"fmt"

	"millrace/ingest"
)

// An attempt is a swap of the manifest whose outcome is not known yet.
type attempt struct {
	version uint64 // of the manifest that it would make the stored one
	done    func() // what follows once it is known to have happened; may be nil
}

// commit makes a change visible: it swaps the manifest for a changed clone of the
// present one. When it returns nil, done has been called. On ErrFenced the sack is
// somebody else's. On another error the outcome is unknown: the next commit, or
// settle, finds it out, and calls done then if the swap did happen.
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
	m.Version = w.nextVersion()
	a := &attempt{m.Version, done}
	w.attempt = a
	version, err := w.driver.store.Swap(ctx, manifestName(w.sack), w.version, m.encode(), m.additions(w.sack, w.manifest))
	switch {
	case err == nil:
		w.adopt(m, version)
		return nil
	case !errors.Is(err, ErrChanged):
		return fmt.Errorf("cannot swap %s: %w", manifestName(w.sack), err)
	}
	// Somebody else has opened the sack; or this swap, tried twice below us, has arrived.
	if err := w.settleLocked(ctx); err != nil {
		return err
	}
	if w.manifest.Version != a.version {
		return fmt.Errorf("cannot swap %s: it was refused, for no reason that can be seen", manifestName(w.sack))
	}
	return nil
}

// settle finds out what became of a swap whose answer was lost, if there is one.
// When it returns nil, no earlier swap can happen any more.
func (w *writer) settle(ctx context.Context) error {
	w.committing.Lock()
	defer w.committing.Unlock()
	return w.settleLocked(ctx)
}

// settleTries bounds how often settle looks again because an idle swap was refused:
// once, when the open attempt has arrived in between.
const settleTries = 3

// settleLocked is settle. It isn't enough to see that the attempt has not happened:
// it may be on its way still, and arrive when the buffer that it speaks of has
// changed. So a swap that changes nothing takes its place.
func (w *writer) settleLocked(ctx context.Context) error {
	for range settleTries {
		if w.attempt == nil {
			return nil
		}
		m, version, err := readManifest(ctx, w.driver.store, w.sack)
		if err != nil {
			return err
		}
		switch {
		case m.Epoch != w.manifest.Epoch:
			w.fence()
			return fmt.Errorf("sack %d is at epoch %d, ours is %d: %w", w.sack, m.Epoch, w.manifest.Epoch, ingest.ErrFenced)
		case m.Version != w.manifest.Version: // ours: the attempt, or an idle swap after it
			w.adopt(m, version)
			return nil
		}
		idle := w.manifest.clone()
		idle.Version = w.nextVersion()
		version, err = w.driver.store.Swap(ctx, manifestName(w.sack), version, idle.encode(), nil)
		switch {
		case err == nil:
			w.adopt(idle, version)
		case !errors.Is(err, ErrChanged):
			return fmt.Errorf("cannot swap %s: %w", manifestName(w.sack), err)
		}
	}
	if w.attempt != nil {
		return fmt.Errorf("cannot swap %s: it changes all the time", manifestName(w.sack))
	}
	return nil
}

// nextVersion numbers a swap. Those that failed have used their numbers up.
func (w *writer) nextVersion() uint64 {
	w.attempts++
	return w.attempts
}

// adopt makes a manifest that is stored the present state. It ends the open
// attempt, whether it is the one that happened or can't happen any more.
func (w *writer) adopt(m *manifest, version Version) {
	a := w.attempt
	w.attempt, w.version = nil, version
	w.driver.views[w.sack].replace(w.manifest, m)
	w.mu.Lock()
	w.manifest = m
	w.mu.Unlock()
	if a != nil && a.version == m.Version && a.done != nil {
		a.done()
	}
}

// fence gives up: somebody else owns the sack, and what is in memory is worth nothing.
func (w *writer) fence() {
	w.attempt = nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced = true
	w.table = newTable()
	w.buried, w.buriedCount = nil, 0
	w.driver.views[w.sack].replace(w.manifest, nil)
}

// current is the manifest as it was last committed.
func (w *writer) current() *manifest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manifest
}

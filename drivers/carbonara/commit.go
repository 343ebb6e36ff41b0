package carbonara

import (
	"context"
	"errors"
	"fmt"

	"millrace/ingest"
)

// An attempt is a swap of the manifest that was tried.
type attempt struct {
	manifest *manifest
	done     func() // what follows once it is known to have happened
}

// commit makes a change visible: it swaps the manifest for a changed clone of the
// present one. When it returns nil, done has been called. On ErrFenced the sack is
// somebody else's. On another error the outcome is unknown: the next commit, or
// settle, finds it out, and calls done then if the swap did happen.
func (w *writer) commit(ctx context.Context, change func(m *manifest), done func()) error {
	w.committing.Lock()
	defer w.committing.Unlock()
	if _, err := w.settleLocked(ctx); err != nil {
		return err
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	m := w.manifest.clone()
	change(m)
	w.dropCollected(m)
	w.attempts++
	m.Version = w.attempts
	return w.swap(ctx, &attempt{m, done})
}

// swap tries one swap and knows its outcome, or leaves it open.
func (w *writer) swap(ctx context.Context, a *attempt) error {
	name := manifestName(w.sack)
	w.open = append(w.open, a)
	w.unsettled = true
	version, err := w.driver.store.Swap(ctx, name, w.version, a.manifest.encode())
	if err == nil {
		w.adopt(a, version)
		return nil
	}
	if !errors.Is(err, ErrChanged) {
		return fmt.Errorf("cannot swap %s: %w", name, err)
	}
	// Somebody else has opened the sack; or an earlier swap of ours, whose answer was
	// lost, or this one, tried twice below us, has arrived.
	adopted, err := w.settleLocked(ctx)
	if err != nil || adopted == a {
		return err
	}
	return fmt.Errorf("cannot swap %s: an earlier swap of ours has arrived late", name)
}

// settle finds out what became of a swap whose answer was lost, if there is one.
func (w *writer) settle(ctx context.Context) error {
	w.committing.Lock()
	defer w.committing.Unlock()
	_, err := w.settleLocked(ctx)
	return err
}

// settleLocked is settle, and returns the attempt that turned out to have happened.
// Every attempt since the last adopted one stays a candidate: all of them name the
// same old version, so that one of them at most can happen, however late.
func (w *writer) settleLocked(ctx context.Context) (*attempt, error) {
	if !w.unsettled {
		return nil, nil
	}
	m, version, err := readManifest(ctx, w.driver.store, w.sack)
	if err != nil {
		return nil, err
	}
	if m.Epoch == w.manifest.Epoch {
		if m.Version == w.manifest.Version {
			w.version = version
			w.unsettled = false
			return nil, nil
		}
		for _, a := range w.open {
			if m.Version == a.manifest.Version {
				w.adopt(a, version)
				return a, nil
			}
		}
	}
	w.fence()
	return nil, fmt.Errorf("sack %d is at epoch %d, ours is %d: %w", w.sack, m.Epoch, w.manifest.Epoch, ingest.ErrFenced)
}

// adopt makes a swap that has happened the present state.
func (w *writer) adopt(a *attempt, version Version) {
	w.open, w.unsettled = nil, false
	w.version = version
	w.mu.Lock()
	w.manifest = a.manifest
	w.mu.Unlock()
	w.driver.views[w.sack].publish(a.manifest)
	if a.done != nil {
		a.done()
	}
}

// fence gives up: somebody else owns the sack, and what is in memory is worth nothing.
func (w *writer) fence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fenced = true
	w.open, w.unsettled = nil, false
	w.table = newTable()
	w.buried = nil
	w.driver.views[w.sack].owned.CompareAndSwap(w.manifest, nil)
}

// current is the manifest as it was last committed.
func (w *writer) current() *manifest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manifest
}

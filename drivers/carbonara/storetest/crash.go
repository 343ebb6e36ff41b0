package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"millrace/drivers/carbonara"
)

// Crashes ends the process at calls in the life of a sack, one after another: at every
// step-th, before the call is done and after. Open gives a store that is empty, and
// then the same once more for the process that comes next.
func Crashes(t *testing.T, step int, open func(t *testing.T) func() carbonara.Store) {
	tried := 0
	for at := 0; ; at += step {
		lived := false
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, done %t", at, done), func(t *testing.T) {
				next := open(t)
				dying := &mortal{Store: next(), left: at, done: done}
				confirmed := Life(t.Context(), dying)
				_ = dying.Store.Close()
				lived = !dying.dead
				after := next()
				defer func() { _ = after.Close() }()
				Afterlife(t, after, confirmed)
			})
		}
		if t.Failed() {
			return
		}
		if lived {
			t.Logf("suite: the life of a sack was ended at %d calls, before each and after", tried)
			return
		}
		tried++
	}
}

// A mortal store is one whose process dies at a call: it, and all that come later, fail.
type mortal struct {
	carbonara.Store
	done bool // the call at which it dies is done all the same

	mu   sync.Mutex
	left int
	dead bool
}

var errDead = errors.New("the process has died")

func (m *mortal) call(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock() // one at a time, so that a number means the same call in every life
	if m.dead {
		return errDead
	}
	if m.left--; m.left >= 0 {
		return do()
	}
	m.dead = true
	if m.done {
		_ = do()
	}
	return errDead
}

// Put is a call.
func (m *mortal) Put(ctx context.Context, name string, data []byte) error {
	return m.call(func() error { return m.Store.Put(ctx, name, data) })
}

// Read is none that a crash makes a difference to, but for those that come later.
func (m *mortal) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		return carbonara.Contents{}, errDead
	}
	return m.Store.Read(ctx, name, unless, ranges)
}

// Swap is a call.
func (m *mortal) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (version carbonara.Version, err error) {
	err = m.call(func() (err error) { version, err = m.Store.Swap(ctx, name, old, data, adds); return err })
	return version, err
}

// Delete is a call.
func (m *mortal) Delete(ctx context.Context, names []string) error {
	return m.call(func() error { return m.Store.Delete(ctx, names) })
}

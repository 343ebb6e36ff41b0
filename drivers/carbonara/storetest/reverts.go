package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"millrace/drivers/carbonara"
)

// Reverts has a store that may go back lose what was put, just before the manifest that names it
// is swapped: at every step-th such swap in the life of a sack. Open gives an empty store, the
// same once more for the process that comes next, and a function that notes its state and gives
// another to bring that back.
func Reverts(t *testing.T, step int, open func(t *testing.T) (next func() carbonara.Store, mark func() (back func()))) {
	for at := 0; ; at += step {
		reverted := false
		t.Run(fmt.Sprintf("swap %d", at), func(t *testing.T) {
			next, mark := open(t)
			fickle := &fickleStore{Store: next(), at: at, mark: mark}
			confirmed := Life(t.Context(), fickle)
			_ = fickle.Store.Close()
			reverted = fickle.reverted
			if !reverted && confirmed != crashLog()[len(crashLog())-1].Offset+1 {
				t.Errorf("the undisturbed life ended at %d", confirmed)
			}
			after := next()
			defer func() { _ = after.Close() }()
			Afterlife(t, after, confirmed)
		})
		if t.Failed() {
			return
		}
		if !reverted {
			t.Logf("suite: the store went back between put and swap, at every %d. of %d swaps of a sack's life", step, at)
			return
		}
	}
}

// A fickleStore loses what was put since the last swap, once.
type fickleStore struct {
	carbonara.Store
	mark func() (back func())

	mu       sync.Mutex
	at       int // so many swaps with additions go well before
	back     func()
	reverted bool
}

// Put notes the state before the first object of the swap that is to be disturbed.
func (f *fickleStore) Put(ctx context.Context, name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == 0 && f.back == nil {
		f.back = f.mark()
	}
	return f.Store.Put(ctx, name, data)
}

// Swap goes back first, if it is time.
func (f *fickleStore) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (carbonara.Version, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(adds) > 0 {
		if f.at == 0 && f.back != nil && !f.reverted {
			f.back()
			f.reverted = true
		}
		f.at--
	}
	return f.Store.Swap(ctx, name, old, data, adds)
}

package diskfault

import (
	"fmt"
	"math/bits"
	"path"
	"slices"
	"strings"
)

// A Kind is a set of operations.
type Kind uint16

// The kinds of operations. Those up to SyncDir are mutating: they are numbered, and
// a crash comes with one of them.
const (
	Write Kind = 1 << iota
	Sync
	Truncate // also by opening
	Create
	Rename
	Remove
	Mkdir
	SyncDir
	Open // an existing file
	Read
	List

	mutating = Open - 1
)

// String names the operations of the set.
func (k Kind) String() string {
	names := [...]string{"write", "sync", "truncate", "create", "rename", "remove", "mkdir", "syncdir", "open", "read",
		"list"}
	var s []string
	for ; k != 0; k &= k - 1 {
		s = append(s, names[bits.TrailingZeros16(uint16(k))])
	}
	return strings.Join(s, "|")
}

// An Op is one operation.
type Op struct {
	N    int // its number; 0 for those that don't mutate
	Kind Kind
	Path string // relative to the root; of a rename, the new name
}

// String says "7: rename sack/1/manifest.json".
func (o Op) String() string { return fmt.Sprintf("%d: %s %s", o.N, o.Kind, o.Path) }

// A Fault is something that goes wrong. The first fault that fits an operation
// decides; its fields must not be changed once it is injected.
type Fault struct {
	On   Kind             // the operations it is about
	Path string           // those whose path, or its last element, matches it as in path.Match; "": all
	When func(op Op) bool // and for which this says so, if set. It must not use the FS.
	Skip int              // so many pass unharmed
	Many int              // then so many are hit; 0: all
	Err  error            // what they return. The operation is not done.
	Half bool             // a write does half of it
	Flip bool             // instead of failing, a read returns one bit wrong
	Call func(op Op)      // runs before the operation goes on, or fails; it may block and use the FS
	hits int
}

// Inject adds a fault and returns a function that takes it away again.
func (f *FS) Inject(fault Fault) (undo func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	injected := &fault
	f.faults = append(f.faults, injected)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults = slices.DeleteFunc(f.faults, func(g *Fault) bool { return g == injected })
	}
}

// Errors that say more than what the caller gets to see.
type (
	shortWrite struct{ error }
	flippedBit struct{ error }
)

// fault returns the error that an operation meets. It holds the lock, and lets go
// of it while a fault's Call runs.
func (f *FS) fault(op Op) error {
	i := slices.IndexFunc(f.faults, func(g *Fault) bool { return g.fits(op) })
	if i < 0 {
		return nil
	}
	g := f.faults[i]
	if g.Call != nil {
		f.mu.Unlock()
		g.Call(op)
		f.mu.Lock()
		if f.crashed {
			return ErrCrashed
		}
	}
	switch {
	case g.Flip && op.Kind == Read:
		return flippedBit{ErrCrashed}
	case g.Half && op.Kind == Write && g.Err != nil:
		return shortWrite{g.Err}
	}
	return g.Err
}

// fits counts the operations that are its business.
func (g *Fault) fits(op Op) bool {
	if g.On&op.Kind == 0 || !matches(g.Path, op.Path) || g.When != nil && !g.When(op) {
		return false
	}
	g.hits++
	return g.hits > g.Skip && (g.Many == 0 || g.hits <= g.Skip+g.Many)
}

func matches(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	whole, err := path.Match(clean(pattern), name)
	if err != nil {
		panic("BUG: bad pattern of a fault: " + pattern)
	}
	base, _ := path.Match(pattern, path.Base(name))
	return whole || base
}

package storetest

import (
	"context"
	"path"
	"slices"
	"sync"

	"millrace/drivers/carbonara"
)

// A Verb is a set of a store's methods.
type Verb uint8

// The methods.
const (
	Put Verb = 1 << iota
	Read
	Swap
	List
	Delete
)

// A Fault is something that goes wrong. The first one that fits a call decides.
type Fault struct {
	On Verb // the methods it is about
	// objects whose name, or its last element, matches it as in path.Match; "": all. Of List the prefix, of Delete any of
	// the names
	Name string
	Skip int   // so many calls pass unharmed
	Many int   // then so many are hit; 0: all
	Err  error // what they return; nil: they go on
	Done bool  // they are done all the same: only the answer is lost
	// runs before the call, and may block; its error is as Err with Done unset
	Call func(ctx context.Context, name string) error
	hits int
}

// A Faulty store does what another store does, as long as no fault is injected.
type Faulty struct {
	carbonara.Store

	mu     sync.Mutex
	faults []*Fault
	calls  map[Verb]int
}

// NewFaulty returns a store that can be made to fail.
func NewFaulty(s carbonara.Store) *Faulty { return &Faulty{Store: s, calls: map[Verb]int{}} }

// Inject adds a fault and returns a function that takes it away again.
func (f *Faulty) Inject(fault Fault) (undo func()) {
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

// Calls says how many calls of the methods there have been, failed ones included.
func (f *Faulty) Calls(verbs Verb) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for verb, calls := range f.calls {
		if verb&verbs != 0 {
			n += calls
		}
	}
	return n
}

// do makes a call, or doesn't, or hides that it has.
func (f *Faulty) do(ctx context.Context, verb Verb, names []string, call func() error) error {
	fault := f.fault(verb, names)
	if fault == nil {
		return call()
	}
	if fault.Call != nil {
		name := ""
		if len(names) > 0 {
			name = names[0]
		}
		if err := fault.Call(ctx, name); err != nil {
			return err
		}
	}
	if fault.Err == nil || fault.Done {
		if err := call(); err != nil {
			return err
		}
	}
	return fault.Err
}

func (f *Faulty) fault(verb Verb, names []string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[verb]++
	i := slices.IndexFunc(f.faults, func(g *Fault) bool { return g.fits(verb, names) })
	if i < 0 {
		return nil
	}
	return f.faults[i]
}

// fits counts the calls that are its business.
func (g *Fault) fits(verb Verb, names []string) bool {
	if g.On&verb == 0 || g.Name != "" && !slices.ContainsFunc(names, g.matches) {
		return false
	}
	g.hits++
	return g.hits > g.Skip && (g.Many == 0 || g.hits <= g.Skip+g.Many)
}

func (g *Fault) matches(name string) bool {
	whole, err := path.Match(g.Name, name)
	if err != nil {
		panic("BUG: bad pattern of a fault: " + g.Name)
	}
	last, _ := path.Match(g.Name, path.Base(name))
	return whole || last
}

// Put puts an object.
func (f *Faulty) Put(ctx context.Context, name string, data []byte) error {
	return f.do(ctx, Put, []string{name}, func() error { return f.Store.Put(ctx, name, data) })
}

// Read reads an object. Where the answer is lost there are no contents.
func (f *Faulty) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	var c carbonara.Contents
	err := f.do(ctx, Read, []string{name}, func() (err error) {
		c, err = f.Store.Read(ctx, name, unless, ranges)
		return err
	})
	if err != nil {
		return carbonara.Contents{}, err
	}
	return c, nil
}

// Swap swaps an object. Where the answer is lost there is no version.
func (f *Faulty) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (carbonara.Version, error) {
	var version carbonara.Version
	err := f.do(ctx, Swap, []string{name}, func() (err error) {
		version, err = f.Store.Swap(ctx, name, old, data, adds)
		return err
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// List lists objects.
func (f *Faulty) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	var objects []carbonara.Object
	err := f.do(ctx, List, []string{prefix}, func() (err error) {
		objects, err = f.Store.List(ctx, prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	return objects, nil
}

// Delete deletes objects.
func (f *Faulty) Delete(ctx context.Context, names []string) error {
	return f.do(ctx, Delete, names, func() error { return f.Store.Delete(ctx, names) })
}

package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/ingest"
)

// A Damage is an object that could not be read although the store has given it.
type Damage = ingest.Damage

// damages are those that were met since the driver was made, and have not been read
// since, nor have gone.
type damages struct {
	mu   sync.Mutex
	list map[string]*Damage
}

// maxDamages bounds how many are told apart.
const maxDamages = 1000

func (d *damages) note(name string, err error, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list == nil {
		d.list = make(map[string]*Damage)
	}
	if known := d.list[name]; known != nil {
		known.Err, known.Last = err, now
	} else if len(d.list) < maxDamages {
		d.list[name] = &Damage{Name: name, Err: err, First: now, Last: now}
	}
}

// forget is for objects that have been replaced, deleted, or read after all.
func (d *damages) forget(names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		delete(d.list, name)
	}
}

func (d *damages) all() []Damage {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Damage, 0, len(d.list))
	for _, known := range d.list {
		list = append(list, *known)
	}
	slices.SortFunc(list, func(a, b Damage) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Damages lists the objects that this process has found damaged, by name.
func (d *Driver) Damages() []Damage { return d.damaged.all() }

// A storeError is the store's, and says nothing about the object.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// A damagedError says that an object is damaged.
type damagedError struct {
	name string
	err  error // names the object
}

func (e *damagedError) Error() string   { return e.err.Error() }
func (e *damagedError) Unwrap() []error { return []error{e.err, ingest.ErrCorrupted} }

// judgeError says of an error in reading a segment whether the segment is to blame.
func judgeError(ctx context.Context, sack ingest.Sack, seg *entry, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, errEnough) {
		return err
	}
	if _, ok := errors.AsType[*storeError](err); ok {
		return err
	}
	return &damagedError{sackPrefix(sack) + seg.Name, err}
}

// met decides what a reader does about an error: try again, because a segment has gone
// with a newer manifest, or because damaged bytes may have been damaged on the way only;
// or give up.
func (d *Driver) met(sack ingest.Sack, err error, last bool) (again bool, verdict error) {
	if damaged, ok := errors.AsType[*damagedError](err); ok {
		d.files.forget([]string{damaged.name})
		if last {
			d.damaged.note(damaged.name, damaged.err, d.config.Now())
		}
		return !last, err
	}
	if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	d.views[sack].expire()
	if last {
		err = fmt.Errorf("a segment is missing: %w: %w", ingest.ErrCorrupted, err)
		d.damaged.note(sackPrefix(sack), err, d.config.Now())
	}
	return !last, err
}

package carbonara

import (
	"context"
	"errors"
	"time"

	"millrace/drivers/carbonara/segment"
)

// A Store keeps bytes under names and decides races over one name by a
// compare-and-swap. It knows nothing of measures. Names are paths of ASCII letters,
// digits, '-', '_' and '.', separated by '/': "sack/3/manifest.json". Objects that
// are Put never change; objects that are Swapped are never Put. All methods may be
// called concurrently; none of them retries.
type Store interface {
	// Put stores an object under a new name and returns when it is durable. On an
	// error it may or may not be there, whole; a part of it is never visible. The
	// store does not keep data. What IsBackground can wait for room.
	Put(ctx context.Context, name string, data []byte) error

	// Read reads ranges of an object, each whole or cut at the object's end, or all
	// of it when ranges is empty; several ranges at once, if need be. ErrNotFound when
	// there is no such object, and ErrUnchanged, without any data, when its version is
	// still unless (the empty version: it is read in any case).
	Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error)

	// Swap replaces an object by data if its version is still old (none: if it does
	// not exist) and returns the new version when it is durable. Data is not what the
	// object has ever been before: whoever swaps puts something into it that makes it
	// unique. Adds are the objects that data names for the first time: a store that
	// may go back looks, in the same step, whether they are there and of that size, and
	// if not says ErrMissing. ErrMissing and ErrChanged say for certain that nothing was
	// written; after any other error the outcome is unknown, and Read tells, or may
	// tell later.
	Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version, error)

	// List returns the objects whose names start with prefix, which ends in '/', in
	// the order of their names. What was durable before the call is in it.
	List(ctx context.Context, prefix string) ([]Object, error)

	// Delete removes objects, at most Traits.DeleteBatch of them; names that are not
	// there are no error. On an error some may have gone.
	Delete(ctx context.Context, names []string) error

	// Traits says what kind of store it is. The answer never changes.
	Traits() Traits

	// Close releases the store. A second Close does nothing.
	Close() error
}

// A Mender is a store that keeps a list of its objects beside them, which can be lost where
// they are not.
type Mender interface {
	// Mend makes the list good again, and returns the names of the objects that it lacked.
	Mend(ctx context.Context) (names []string, err error)
}

type background struct{}

// InBackground marks what is put with the context as housekeeping's, which can be done
// later as well: it gets none of the room that a store keeps for flushes.
func InBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, background{}, true)
}

// IsBackground says whether the context is one of InBackground.
func IsBackground(ctx context.Context) bool { return ctx.Value(background{}) != nil }

// Traits is what those who use a store have to know of it.
type Traits struct {
	MaxObject   int64 // how large an object may be, in bytes
	DeleteBatch int   // how many names one Delete takes
	// MayGoBack says that the store may lose the last of what it has acknowledged, as
	// one that fails over to a copy which lags behind does. Whoever owns a sack then
	// looks at its manifest once a minute, and before the log forgets anything. (Any
	// store may be put back by its operator, from a snapshot: that is found out at
	// the next swap or deletion.)
	MayGoBack bool
	// Exclusive says that no other process can use the store while this one does.
	Exclusive bool
	// FlushInterval is how long measures may wait in memory for the next flush, when
	// nobody waits for them; NudgeInterval the least time between two flushes of a sack
	// that somebody waits for. They weigh what a request costs against how soon other
	// processes see what was applied.
	FlushInterval, NudgeInterval time.Duration
}

// A Version identifies one state of a swapped object: two states that differ in a
// byte never have the same version, not even when the store has gone back in between.
// (It may be a hash of the bytes.) The empty version is that of an object which does
// not exist.
type Version string

// An Addition is an object that a swap makes visible.
type Addition struct {
	Name string
	Size int64
}

// A Range is Len bytes from Off, or the last Len bytes of the object when Off is negative.
type Range = segment.Range

// Contents is what Read returns: one slice per range, or one for the whole.
type Contents struct {
	Data    [][]byte
	Size    int64   // of the whole object
	Version Version // of a swapped object; may be empty for one that was Put
}

// An Object is an entry of a listing.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
}

// Errors of a Store.
var (
	ErrNotFound  = errors.New("object does not exist")
	ErrUnchanged = errors.New("object has not changed")
	ErrChanged   = errors.New("object has been changed by somebody else")
	ErrMissing   = errors.New("an object that was put is no longer there")
)

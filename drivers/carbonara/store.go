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
	// store does not keep data.
	Put(ctx context.Context, name string, data []byte) error

	// Read reads ranges of an object, each whole or cut at the object's end, or all
	// of it when ranges is empty. ErrNotFound when there is no such object.
	Read(ctx context.Context, name string, ranges []Range) (Contents, error)

	// Swap replaces an object by data if its version is still old (none: if it does
	// not exist) and returns the new version when it is durable. ErrChanged says for
	// certain that nothing was written; after any other error the outcome is unknown,
	// and Read tells. A version is never used twice for one name.
	Swap(ctx context.Context, name string, old Version, data []byte) (Version, error)

	// List returns the objects whose names start with prefix, which ends in '/', in
	// the order of their names. What was durable before the call is in it.
	List(ctx context.Context, prefix string) ([]Object, error)

	// Delete removes objects; names that are not there are no error.
	Delete(ctx context.Context, names []string) error

	// MaxObject is how large an object may be, in bytes.
	MaxObject() int64

	// Close releases the store. A second Close does nothing.
	Close() error
}

// A Version identifies one state of a swapped object. The empty version is that
// of an object which does not exist.
type Version string

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
	ErrNotFound = errors.New("object does not exist")
	ErrChanged  = errors.New("object has been changed by somebody else")
)

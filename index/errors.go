package index

import (
	"errors"
	"strconv"

	"millrace/ingest"
)

// What can be wrong with a request. An ObjectError wraps one of them.
var (
	ErrNotFound = errors.New("does not exist")
	ErrExists   = errors.New("already exists")
	ErrInUse    = errors.New("is still in use")
	ErrChanged  = errors.New("has been changed meanwhile")
)

// ErrClosed says that the index has been closed.
var ErrClosed = errors.New("index is closed")

// ErrUnavailable says that the database can't be asked now: it can't be reached, is
// full or busy, or takes too long. The same again may work later.
var ErrUnavailable = errors.New("index is unavailable")

// The kinds of objects that an ObjectError names.
const (
	KindPolicy       = "Archive policy"
	KindRule         = "Archive policy rule"
	KindMetric       = "Metric"
	KindNamed        = "Named metric"
	KindResource     = "Resource"
	KindResourceType = "Resource type"
)

// An ObjectError says what is wrong with one object. Its text is what the v1 API
// says: "Archive policy large already exists". Err is ErrNotFound, ErrExists,
// ErrInUse or ErrChanged. That an archive policy does not exist is ingest.ErrNoPolicy as well.
type ObjectError struct {
	Kind string // KindPolicy…
	Name string
	Err  error
}

func (e *ObjectError) Error() string { return e.Kind + " " + e.Name + " " + e.Err.Error() }

// Unwrap returns Err.
func (e *ObjectError) Unwrap() error { return e.Err }

// Is makes a missing archive policy ingest.ErrNoPolicy.
func (e *ObjectError) Is(target error) bool {
	return target == ingest.ErrNoPolicy && e.Kind == KindPolicy && e.Err == ErrNotFound
}

// An InvalidError is a request that makes no sense to the index; the text is what
// the v1 API says.
type InvalidError struct{ Text string }

func (e *InvalidError) Error() string { return e.Text }

// quote shows the beginning of a text that an error is about.
func quote(text string) string {
	const shown = 64
	if len(text) <= shown {
		return strconv.QuoteToASCII(text)
	}
	return strconv.QuoteToASCII(text[:shown]) + "…"
}

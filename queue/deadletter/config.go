package deadletter

import (
	"errors"
	"fmt"
)

// Config tunes Letters. The zero value of a field means its default.
type Config struct {
	// MaxBytes is how much the letters may take; 1 GiB. The files of removed letters
	// add as much again before they are rewritten, and a rewrite takes once more.
	MaxBytes int64
	// MaxLetters is how many there may be; 1 Mi. It bounds the memory: about 100
	// bytes each.
	MaxLetters int
	// MinGarbage is how many bytes must be of no use, beside half of all there are,
	// for the files to be rewritten; 1 MiB.
	MinGarbage int64

	// SkipMissing goes on without what is missing or damaged instead of refusing to:
	// Letters.Skipped lists it, and damaged files are kept as *.damaged. It is
	// an operator's decision, for one start.
	SkipMissing bool
}

// ErrFull says that there is no room for more letters: none is dropped, and
// somebody has to replay or remove some.
var ErrFull = errors.New("dead letters are full")

const (
	// maxSegments is how many files there may be before they are made one.
	maxSegments = 16
	// minFree is what Add leaves of the disk, so that letters can still be removed.
	minFree = 1 << 20
	// maxID bounds the length of an id.
	maxID = 1 << 10
	// maxKept bounds the buffer that is kept from one call to the next.
	maxKept = 1 << 20
)

func (c Config) withDefaults() (Config, error) {
	if c.MaxBytes < 0 || c.MaxLetters < 0 || c.MinGarbage < 0 {
		return c, fmt.Errorf("negative bound in %+v", c)
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.MaxLetters == 0 {
		c.MaxLetters = 1 << 20
	}
	if c.MinGarbage == 0 {
		c.MinGarbage = 1 << 20
	}
	return c, nil
}

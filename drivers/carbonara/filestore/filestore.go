// Package filestore keeps the objects of a carbonara.Store as plain files of a
// folder: "sack/3/manifest.json" is that file. One process owns the folder, by a
// lock that the kernel lets go when the process ends.
//
// An object is written to a file in ~tmp, flushed, renamed to its name, and the
// folder of that name is flushed. So a name shows the old bytes or the new ones,
// and what was acknowledged survives a power failure. Files that a dead process
// left in ~tmp are removed at the next Open.
//
// # Versions
//
// The version of a swapped object is neither its bytes, which may come back, nor
// its inode, modification time and size, which come back on a coarse clock or a
// quick file system. Since every swap goes through the process that holds the
// lock, it is a random word chosen at Open and a count of the changes since then:
// no two are equal, whatever the clock does, and the files hold nothing but what was
// stored. After a restart an object has a new version, and somebody who still has
// an older one is told ErrChanged, as he must be: the owner of the folder has
// changed.
package filestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// The names in the store's folder that are not objects': no name has a '~'.
const (
	temporaries = "~tmp"
	lockName    = "~lock"
)

var errClosed = errors.New("the file store is closed")

// A Store is a carbonara.Store in a folder. An object cannot have the name of a
// folder of others: not both "a" and "a/b".
type Store struct {
	fs     disk.FS
	dir    string
	config Config
	lock   io.Closer
	word   string        // begins every version
	temps  atomic.Uint64 // names given to temporaries
	states atomic.Uint64 // versions given out

	using  sync.RWMutex // held for reading by every operation, for writing by Close
	closed bool

	mu      sync.RWMutex
	swapped map[string]*slot // of the names that have been swapped since Open

	folders folders
}

var _ carbonara.Store = (*Store)(nil)

// Open opens the store in a folder, which it makes if need be. The error is
// disk.ErrLocked when another process has it open.
func Open(fsys disk.FS, dir string, config Config) (*Store, error) {
	dir = filepath.Clean(dir)
	if config.Background == nil {
		config.Background = fsys
	}
	s := &Store{
		fs:      fsys,
		dir:     dir,
		config:  config.withDefaults(),
		word:    rand.Text(),
		swapped: map[string]*slot{},
		folders: folders{fs: fsys, root: dir, settled: map[string]bool{}},
	}
	if err := disk.MakeDir(fsys, filepath.Join(s.dir, temporaries)); err != nil {
		return nil, fmt.Errorf("cannot open file store %s: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(s.dir, lockName))
	if errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("cannot open file store %s: another Millrace has it open (%s): %w", dir,
			filepath.Join(s.dir, lockName), err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open file store %s: %w", dir, err)
	}
	s.lock = lock
	if err := s.removeTemporaries(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open file store %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

func (s *Store) removeTemporaries() error {
	entries, err := s.fs.ReadDir(filepath.Join(s.dir, temporaries))
	for _, e := range entries {
		if err := s.fs.Remove(filepath.Join(s.dir, temporaries, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// Traits: requests cost next to nothing, and as long as the lock is held nobody else
// changes the folder, nor brings it back to an earlier state.
func (s *Store) Traits() carbonara.Traits {
	return carbonara.Traits{MaxObject: s.config.MaxObject, DeleteBatch: 1000, Exclusive: true,
		FlushInterval: 10 * time.Second}
}

// Close waits for the operations under way and lets the folder go.
func (s *Store) Close() error {
	s.using.Lock()
	defer s.using.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.lock.Close()
}

// use begins an operation; done ends it if there is no error.
func (s *Store) use(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.using.RLock()
	if s.closed {
		s.using.RUnlock()
		return errClosed
	}
	return nil
}

func (s *Store) done() { s.using.RUnlock() }

// path is where an object is.
func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// newVersion returns a version that no state of any object has had.
func (s *Store) newVersion() carbonara.Version {
	return carbonara.Version(s.word + "-" + strconv.FormatUint(s.states.Add(1), 10))
}

// firstVersion is that of every object that has not changed since Open.
func (s *Store) firstVersion() carbonara.Version { return carbonara.Version(s.word + "-0") }

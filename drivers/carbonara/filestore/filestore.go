// Package filestore keeps Carbonara's objects as files of a folder, each whole and
// durable or not there at all.
//
// One process owns the folder, by an exclusive lock. An object is written to a file
// in tmp/, synced, renamed into place, and the folder synced: after a crash it is the
// old one or the new one. What a crash leaves in tmp/ goes at the next Open.
//
// Versions of swapped objects are counted in memory, behind a random prefix that
// every Open draws anew: as nobody else can change the files, no two states of one
// name have the same version, and the files stay what was put into them.
package filestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// Config tunes a Store. The zero value of a field means its default.
type Config struct {
	MaxObject int64 // bytes; 64 MiB
}

// A Store is a folder. It implements [carbonara.Store].
type Store struct {
	fs        disk.FS
	dir       string
	config    Config
	lock      io.Closer
	prefix    string // of versions
	temporary atomic.Uint64

	mu       sync.Mutex
	closed   bool
	folders  map[string]bool // known to exist, durably
	versions map[string]*version
}

var _ carbonara.Store = (*Store)(nil)

// A version counts the changes of one swapped object. Its lock is held while the
// object changes, and while it is read together with its version.
type version struct {
	mu sync.RWMutex
	n  uint64
}

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("file store is closed")

const (
	temporaryDir = "tmp"
	lockName     = "lock"
)

// Open opens the store in a folder, making it when there is none. It fails with
// disk.ErrLocked while another process has it open.
func Open(fsys disk.FS, dir string, config Config) (*Store, error) {
	config.MaxObject = cmp.Or(config.MaxObject, 64<<20)
	var nonce [8]byte
	rand.Read(nonce[:])
	s := &Store{
		fs: fsys, dir: dir, config: config, prefix: hex.EncodeToString(nonce[:]) + ".",
		folders: make(map[string]bool), versions: make(map[string]*version),
	}
	if err := s.open(); err != nil {
		if s.lock != nil {
			s.lock.Close()
		}
		return nil, fmt.Errorf("cannot open the file store in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.makeFolder(s.dir); err != nil {
		return err
	}
	var err error
	if s.lock, err = s.fs.Lock(filepath.Join(s.dir, lockName)); err != nil {
		return fmt.Errorf("cannot lock it: %w", err)
	}
	tmp := filepath.Join(s.dir, temporaryDir)
	if err := s.makeFolder(tmp); err != nil {
		return err
	}
	left, err := s.fs.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := s.fs.Remove(filepath.Join(tmp, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// makeFolder makes a folder and those above it, durably.
func (s *Store) makeFolder(name string) error {
	s.mu.Lock()
	known := s.folders[name]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := s.fs.MkdirAll(name, 0o700); err != nil {
		return err
	}
	// Which of them are new is not known: every one's entry is made durable, once.
	for at := name; ; {
		parent := filepath.Dir(at)
		if parent == at {
			break
		}
		if err := s.fs.SyncDir(parent); err != nil {
			return err
		}
		if at == s.dir {
			break
		}
		at = parent
	}
	s.mu.Lock()
	s.folders[name] = true
	s.mu.Unlock()
	return nil
}

// path returns the file of an object.
func (s *Store) path(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, outside) {
			return "", fmt.Errorf("%q is not an object's name", name)
		}
	}
	if top, _, _ := strings.Cut(name, "/"); top == temporaryDir || top == lockName {
		return "", fmt.Errorf("%q is not an object's name: the store uses it", name)
	}
	return filepath.Join(s.dir, filepath.FromSlash(name)), nil
}

// outside says whether a rune is outside of the alphabet of names.
func outside(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// usable returns why a call can't be served.
func (s *Store) usable(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return ctx.Err()
}

// Put stores an object under a new name; see carbonara.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return s.replace(name, data)
}

// replace writes a file beside its place and moves it there.
func (s *Store) replace(name string, data []byte) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if int64(len(data)) > s.config.MaxObject {
		return fmt.Errorf("cannot store %s: %d bytes are more than %d", name, len(data), s.config.MaxObject)
	}
	folder := filepath.Dir(path)
	if err := s.makeFolder(folder); err != nil {
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	temporary := filepath.Join(s.dir, temporaryDir, strconv.FormatUint(s.temporary.Add(1), 10))
	if err := s.write(temporary, data); err != nil {
		s.fs.Remove(temporary) // of what could not be synced nothing may be trusted
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	if err := s.fs.Rename(temporary, path); err != nil {
		s.fs.Remove(temporary)
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	if err := s.fs.SyncDir(folder); err != nil {
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	return nil
}

func (s *Store) write(path string, data []byte) error {
	f, err := s.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := f.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// versionOf returns the counter of a name.
func (s *Store) versionOf(name string) *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.versions[name]
	if v == nil {
		v = new(version)
		s.versions[name] = v
	}
	return v
}

func (s *Store) format(n uint64) carbonara.Version {
	return carbonara.Version(s.prefix + strconv.FormatUint(n, 10))
}

// Swap replaces an object if its version is still old; see carbonara.Store.
func (s *Store) Swap(ctx context.Context, name string, old carbonara.Version, data []byte) (carbonara.Version, error) {
	if err := s.usable(ctx); err != nil {
		return "", err
	}
	path, err := s.path(name)
	if err != nil {
		return "", err
	}
	v := s.versionOf(name)
	v.mu.Lock()
	defer v.mu.Unlock()
	now := s.format(v.n)
	f, err := s.fs.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		now = ""
	case err != nil:
		return "", fmt.Errorf("cannot swap %s: %w", name, err)
	default:
		f.Close()
	}
	if now != old {
		return "", carbonara.ErrChanged
	}
	v.n++ // also if it fails: what is there then is not known to be the old state
	if err := s.replace(name, data); err != nil {
		return "", err
	}
	return s.format(v.n), nil
}

// Read reads ranges of an object, or all of it; see carbonara.Store.
func (s *Store) Read(ctx context.Context, name string, ranges []carbonara.Range) (carbonara.Contents, error) {
	if err := s.usable(ctx); err != nil {
		return carbonara.Contents{}, err
	}
	path, err := s.path(name)
	if err != nil {
		return carbonara.Contents{}, err
	}
	var c carbonara.Contents
	if len(ranges) == 0 { // a swapped object is read whole, together with its version
		v := s.versionOf(name)
		v.mu.RLock()
		defer v.mu.RUnlock()
		c.Version = s.format(v.n)
	}
	f, err := s.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return carbonara.Contents{}, carbonara.ErrNotFound
	}
	if err != nil {
		return carbonara.Contents{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer f.Close()
	if c.Size, err = f.Size(); err != nil {
		return carbonara.Contents{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if len(ranges) == 0 {
		ranges = []carbonara.Range{{Off: 0, Len: c.Size}}
	}
	c.Data = make([][]byte, len(ranges))
	for i, r := range ranges {
		if r.Off < 0 {
			r.Off = max(0, c.Size-r.Len)
		}
		begin := min(r.Off, c.Size)
		c.Data[i] = make([]byte, min(r.Len, c.Size-begin))
		if n, err := f.ReadAt(c.Data[i], begin); n < len(c.Data[i]) {
			return carbonara.Contents{}, fmt.Errorf("cannot read %s: %w", name, err)
		}
	}
	return c, nil
}

// List returns the objects below a prefix; see carbonara.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	folder, err := s.path(strings.TrimSuffix(prefix, "/"))
	if err != nil {
		return nil, err
	}
	var list []carbonara.Object
	if err := s.walk(ctx, folder, prefix, &list); err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", prefix, err)
	}
	slices.SortFunc(list, func(a, b carbonara.Object) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (s *Store) walk(ctx context.Context, folder, prefix string, list *[]carbonara.Object) error {
	entries, err := s.fs.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.IsDir() {
			if err := s.walk(ctx, filepath.Join(folder, e.Name()), prefix+e.Name()+"/", list); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		*list = append(*list, carbonara.Object{Name: prefix + e.Name(), Size: info.Size(), Modified: info.ModTime()})
	}
	return nil
}

// Delete removes objects; see carbonara.Store.
func (s *Store) Delete(ctx context.Context, names []string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	folders := make(map[string]bool)
	for _, name := range names {
		path, err := s.path(name)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err = s.fs.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot delete %s: %w", name, err)
		}
		folders[filepath.Dir(path)] = true
	}
	for folder := range folders {
		if err := s.fs.SyncDir(folder); err != nil {
			return fmt.Errorf("cannot delete %d objects: %w", len(names), err)
		}
	}
	return nil
}

// MaxObject is how large an object may be, in bytes.
func (s *Store) MaxObject() int64 { return s.config.MaxObject }

// Close lets the folder go. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.lock.Close()
}

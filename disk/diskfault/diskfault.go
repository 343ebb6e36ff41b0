// Package diskfault is a file system in memory that forgets what was not made
// durable. It is for the tests of everything that must survive a crash.
//
// It keeps apart what a program sees and what the device has for certain. Bytes
// get from the one to the other by File.Sync, names by FS.SyncDir of their
// folder, and by nothing else. [FS.Crash] cuts the power and returns one of the
// disks that a machine could find afterwards; a [Mode] says which. [FS.CrashAt]
// cuts it at a numbered operation, and [Explore] does so at every operation of a
// script and in every mode. [FS.Inject] makes single operations fail.
package diskfault

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"millrace/disk"
)

// ErrCrashed is what every operation returns from the crash on.
var ErrCrashed = errors.New("the machine has crashed")

// An FS is a disk.FS in memory. Absolute and relative names mean the same; the
// root exists. The methods may be called concurrently.
type FS struct {
	mu      sync.Mutex
	root    *inode
	inodes  uint64   // numbers given out
	pending []rename // what no SyncDir has made durable yet, in order
	locks   map[*inode]bool
	faults  []*Fault
	free    int64
	ops     int // numbers given out
	crashAt int // 0: never
	crashed bool
	trace   []Op // when crashAt is set
}

var _ disk.FS = (*FS)(nil)

// New returns an empty file system with a lot of free space.
func New() *FS {
	f := &FS{locks: map[*inode]bool{}, free: math.MaxInt64 / 4}
	f.root = f.newFolder()
	return f
}

// CrashAt makes the n-th mutating operation (1 is the first) the last: it and
// everything after it fail with ErrCrashed. Of what the n-th did itself as much
// may be on the disk as of anything else that was not synced.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = n
}

// Ops is the number of the latest mutating operation.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Crashed says whether the crash has come.
func (f *FS) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.crashed
}

// Trace lists the mutating operations since CrashAt was called.
func (f *FS) Trace() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}

// begin takes the lock, which the caller lets go, and says whether the operation
// may go ahead.
func (f *FS) begin(kind Kind, name string) error {
	f.mu.Lock()
	if f.crashed {
		return ErrCrashed
	}
	op := Op{Kind: kind, Path: name}
	if kind&mutating != 0 {
		f.ops++
		op.N = f.ops
		if f.crashAt > 0 {
			f.trace = append(f.trace, op)
		}
		if f.ops == f.crashAt {
			f.crashed = true // and the operation is under way; end tells the caller
			return nil
		}
	}
	return f.fault(op)
}

func (f *FS) end() error {
	if f.crashed {
		return ErrCrashed
	}
	return nil
}

// Open opens a file for reading.
func (f *FS) Open(name string) (disk.File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens or creates a file. It is a mutating operation when it creates
// or truncates.
func (f *FS) OpenFile(name string, flag int, _ os.FileMode) (disk.File, error) {
	name = clean(name)
	kind := Open
	f.mu.Lock()
	n, err := f.walk(name)
	f.mu.Unlock()
	switch {
	case err != nil && flag&os.O_CREATE != 0:
		kind = Create
	case err == nil && flag&os.O_TRUNC != 0 && !n.isDir:
		kind = Truncate
	}
	err = f.begin(kind, name)
	defer f.mu.Unlock()
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if n, err = f.openInode(name, flag); err != nil {
		return nil, pathError("open", name, err)
	}
	if err := f.end(); err != nil {
		return nil, pathError("open", name, err)
	}
	return &file{fs: f, name: name, inode: n, flag: flag}, nil
}

func (f *FS) openInode(name string, flag int) (*inode, error) {
	n, err := f.walk(name)
	switch {
	case errors.Is(err, syscall.ENOENT) && flag&os.O_CREATE != 0:
		return f.create(name)
	case err != nil:
		return nil, err
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case n.isDir:
		return nil, syscall.EISDIR
	}
	if flag&os.O_TRUNC != 0 {
		f.free += n.truncate(0)
	}
	return n, nil
}

// Rename renames a file or a folder.
func (f *FS) Rename(from, to string) error {
	from, to = clean(from), clean(to)
	err := f.begin(Rename, to)
	defer f.mu.Unlock()
	if err == nil {
		err = f.rename(from, to)
	}
	if err == nil {
		err = f.end()
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// Remove removes a file or an empty folder.
func (f *FS) Remove(name string) error {
	return f.mutate(Remove, name, f.remove)
}

// MkdirAll makes a folder, and those above it. It is one mutating operation per
// folder made.
func (f *FS) MkdirAll(name string, _ os.FileMode) error {
	name = clean(name)
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		at := name[:i]
		f.mu.Lock()
		n, err := f.walk(at)
		f.mu.Unlock()
		if err == nil && n.isDir {
			continue
		}
		if err := f.mutate(Mkdir, at, f.mkdir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end()
}

// ReadDir lists a folder.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	name = clean(name)
	err := f.begin(List, name)
	defer f.mu.Unlock()
	if err == nil {
		var entries []fs.DirEntry
		if entries, err = f.list(name); err == nil {
			return entries, nil
		}
	}
	return nil, pathError("readdir", name, err)
}

// SyncDir makes the names of a folder durable, as they are.
func (f *FS) SyncDir(name string) error {
	return f.mutate(SyncDir, name, func(name string) error {
		n, err := f.walk(name)
		if err == nil && !f.crashed {
			f.syncDir(n)
		}
		return err
	})
}

// Free reports the space that is left: see SetFree.
func (f *FS) Free(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.free, f.end()
}

// SetFree sets the free space. Writes take from it by the byte; one that does not
// fit is cut short and fails with ENOSPC. Removing and truncating give back.
func (f *FS) SetFree(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = bytes
}

// Lock takes an exclusive lock on a file, creating it if need be. A crash and a
// Restart let it go.
func (f *FS) Lock(name string) (io.Closer, error) {
	if _, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.walk(clean(name))
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	if f.locks[n] {
		return nil, disk.ErrLocked
	}
	f.locks[n] = true
	return &lock{fs: f, inode: n}, nil
}

type lock struct {
	fs    *FS
	inode *inode
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if !l.fs.locks[l.inode] {
		return os.ErrClosed
	}
	delete(l.fs.locks, l.inode)
	return nil
}

// mutate does one operation on one name.
func (f *FS) mutate(kind Kind, name string, do func(name string) error) error {
	name = clean(name)
	err := f.begin(kind, name)
	defer f.mu.Unlock()
	if err == nil {
		err = do(name)
	}
	if err == nil {
		err = f.end()
	}
	return pathError(kind.String(), name, err)
}

// clean returns the name relative to the root, which is "".
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(name)), "/")
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// Package disk is the little that Millrace asks of a file system, so that
// everything which must survive a crash (the log, the file store, the dead
// letters) can be run on one that fails on command (package diskfault).
//
// Durability is explicit: bytes count after File.Sync, names count after
// FS.SyncDir. Nothing here retries or logs.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// An FS is a file system. The methods mean what the functions of package os of
// the same names mean, and may be called concurrently.
type FS interface {
	Open(name string) (File, error)                                 // for reading
	OpenFile(name string, flag int, perm os.FileMode) (File, error) //
	Rename(from, to string) error                                   // durable after SyncDir of the folder
	Remove(name string) error                                       // likewise
	MkdirAll(name string, perm os.FileMode) error                   // likewise, of every parent made
	ReadDir(name string) ([]fs.DirEntry, error)                     // sorted by name
	SyncDir(name string) error                                      // makes the folder's names durable
	Free(name string) (bytes int64, err error)                      // what an unprivileged writer may still use
	Lock(name string) (io.Closer, error)                            // exclusive among processes; ErrLocked
}

// A File is an open file.
type File interface {
	io.Writer // appends at the file's own position, which starts at 0
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // fdatasync: data and length
	Truncate(size int64) error
	Size() (int64, error)
}

// ErrLocked says that another process holds a lock.
var ErrLocked = errors.New("locked by another process")

// MakeDir makes a folder and those above it, and makes them durable, also where
// an earlier process made them and died.
func MakeDir(fsys FS, name string) error {
	if err := fsys.MkdirAll(name, 0o750); err != nil {
		return err
	}
	for at := filepath.Clean(name); filepath.Dir(at) != at; {
		at = filepath.Dir(at)
		err := fsys.SyncDir(at)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) {
			return nil // not ours to read, so not made by us; or not a device's
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OS is the operating system's file system.
type OS struct{}

// Open opens a file for reading.
func (OS) Open(name string) (File, error) { return OS{}.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens or creates a file.
func (OS) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename renames a file.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// MkdirAll makes a folder, and those above it.
func (OS) MkdirAll(name string, perm os.FileMode) error { return os.MkdirAll(name, perm) }

// ReadDir lists a folder.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// SyncDir flushes a folder's entries to the device.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Free says how many bytes the file system of a folder can still take.
func (OS) Free(name string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(name, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: name, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Lock takes an exclusive lock on a file, creating it if need be. The kernel
// lets it go when the process ends, however it ends.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Clean(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

type osFile struct{ *os.File }

func (f osFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			if err != nil {
				return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
			}
			return nil
		}
	}
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

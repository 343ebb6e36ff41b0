package disk

import (
	"os"
	"path/filepath"
	"syscall"
)

// Rescue is the disk for what must be written although it is full: what fails for want of
// room is given some of the reserve, and tried again.
func (r *Reserve) Rescue() FS { return rescueFS{r.fs, r} }

type rescueFS struct {
	FS
	reserve *Reserve
}

// again does something until it is not for want of room that it fails.
func (f rescueFS) again(do func() error) error {
	for {
		err := do()
		if !isFull(err) || !f.reserve.give(least) {
			return err
		}
	}
}

func (f rescueFS) Open(name string) (File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

func (f rescueFS) OpenFile(name string, flag int, perm os.FileMode) (file File, err error) {
	err = f.again(func() (err error) {
		file, err = f.FS.OpenFile(name, flag, perm)
		return err
	})
	if err != nil || flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return file, err
	}
	return rescueFile{file, f.reserve}, nil
}

func (f rescueFS) Rename(from, to string) error {
	return f.again(func() error { return f.FS.Rename(from, to) })
}

func (f rescueFS) MkdirAll(name string, perm os.FileMode) error {
	return f.again(func() error { return f.FS.MkdirAll(name, perm) })
}

func (f rescueFS) SyncDir(name string) error {
	return f.again(func() error { return f.FS.SyncDir(name) })
}

type rescueFile struct {
	File
	reserve *Reserve
}

func (f rescueFile) Write(b []byte) (n int, err error) {
	return f.write(b, func(rest []byte, _ int) (int, error) { return f.File.Write(rest) })
}

func (f rescueFile) WriteAt(b []byte, off int64) (n int, err error) {
	return f.write(b, func(rest []byte, done int) (int, error) { return f.File.WriteAt(rest, off+int64(done)) })
}

// write goes on behind what a full disk has taken of b.
func (f rescueFile) write(b []byte, some func(rest []byte, done int) (int, error)) (n int, err error) {
	for {
		took, err := some(b[n:], n)
		n += took
		if !isFull(err) || !f.reserve.give(int64(len(b)-n)) {
			return n, err
		}
	}
}

// Sync that fails for want of room is not repeated: what it was to write may be gone. The
// next try has room.
func (f rescueFile) Sync() error {
	err := f.File.Sync()
	if isFull(err) {
		f.reserve.give(least)
	}
	return err
}

// Guard is the disk for everything that has to leave the reserve alone: what is missing
// of it counts as taken.
func (r *Reserve) Guard() FS { return guardFS{r.fs, r} }

type guardFS struct {
	FS
	reserve *Reserve
}

// Free is what others have left, without what the reserve is to have back.
func (f guardFS) Free(name string) (int64, error) {
	free, err := f.FS.Free(name)
	return max(0, free-f.reserve.missing()), err
}

func (f guardFS) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return file, err
	}
	return guardFile{file, f, name}, nil
}

type guardFile struct {
	File
	fs   guardFS
	name string
}

func (f guardFile) Write(b []byte) (int, error) {
	if err := f.admit(len(b)); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f guardFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.admit(len(b)); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

// admit refuses to write into room that was given up.
func (f guardFile) admit(bytes int) error {
	missing := f.fs.reserve.missing()
	if missing == 0 {
		return nil
	}
	free, err := f.fs.FS.Free(filepath.Dir(f.name))
	if err == nil && free < missing+int64(bytes) {
		return &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return nil
}

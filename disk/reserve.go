package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Reserve is room on a disk that a file holds, so that there is some to give up when
// the disk is full: what must be written in order to need less room (a flush, before the
// log can be trimmed) is written through Rescue, and everything else through Guard, which
// leaves alone what was given up until Fill has taken it back. The last of it, the floor,
// is out of Rescue's reach: MakeRoom alone gives it up, to what can't work at all without
// room, such as the start of a database. The methods may be called concurrently. It is
// durable in so far as the file system's allocations are.
type Reserve struct {
	fs    FS
	path  string
	size  int64 // wanted
	floor int64 // of size

	mu   sync.Mutex
	held int64 // of it
}

const (
	// margin is what Fill leaves to others, once the floor is there: what grows beside the
	// reserve and can't ask for its room, such as a database.
	margin = 1 << 20
	// least is what is given up at once: making a name takes room that nobody states.
	least = 256 << 10
)

// NewReserve returns the reserve that a file is to hold, or holds already, of size bytes,
// of which floor are for MakeRoom only. It takes nothing: Fill does.
func NewReserve(fsys FS, path string, size, floor int64) (*Reserve, error) {
	r := &Reserve{fs: fsys, path: path, size: size, floor: min(floor, size)}
	file, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the disk's reserve: %w", err)
	}
	r.held, err = file.Size()
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("cannot open the disk's reserve: %w", err)
	}
	if r.held > size { // an earlier one was larger
		if err := r.shrink(size); err != nil {
			return nil, fmt.Errorf("cannot make the disk's reserve smaller: %w", err)
		}
	}
	return r, nil
}

// Held says how many bytes the reserve has, of how many.
func (r *Reserve) Held() (held, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held, r.size
}

// Fill takes back what the disk has room for, and says how much is held then.
func (r *Reserve) Fill() (held int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held >= r.size {
		return r.held, nil
	}
	free, err := r.freeBeside()
	if err != nil {
		return r.held, err
	}
	more := max(free-margin, min(r.floor-r.held, free))
	if more = min(r.size-r.held, more); more >= min(least, r.size-r.held) {
		err = r.grow(r.held + more)
	}
	if isFull(err) { // somebody was quicker
		err = nil
	}
	return r.held, err
}

// MakeRoom gives up as much as it takes for the disk to have that much room, or
// everything, and says how much room there is.
func (r *Reserve) MakeRoom(bytes int64) (free int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	free, err = r.freeBeside()
	if err != nil || free >= bytes || r.held == 0 {
		return free, err
	}
	if err := r.shrink(max(0, r.held-(bytes-free))); err != nil {
		return free, err
	}
	return r.freeBeside()
}

// Run fills the reserve whenever there is room, until ctx ends; it tells report when what
// is held has changed, and at the beginning that something is missing.
func (r *Reserve) Run(ctx context.Context, every time.Duration, report func(held, size int64, err error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := r.size
	failing := false
	for {
		held, err := r.Fill()
		if held != last || (err != nil) != failing {
			report(held, r.size, err)
		}
		last, failing = held, err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// give gives up at least so much of what is above the floor, and says whether there was
// anything to give.
func (r *Reserve) give(bytes int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held > r.floor && r.shrink(max(r.floor, r.held-max(bytes, least))) == nil
}

func (r *Reserve) freeBeside() (int64, error) { return r.fs.Free(filepath.Dir(r.path)) }

// missing is what was given up, or was never had.
func (r *Reserve) missing() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size - r.held
}

// shrink makes the file that long. A file system that can't do that on a full disk, such
// as one that copies on write, has the whole file removed. The caller holds mu.
func (r *Reserve) shrink(size int64) error {
	file, err := r.fs.OpenFile(r.path, os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(file.Truncate(size), file.Close())
	}
	if err == nil {
		r.held = size
		return nil
	}
	if removed := r.fs.Remove(r.path); removed != nil {
		return errors.Join(err, removed)
	}
	r.held = 0
	return nil
}

// An allocator is a File that takes room without writing.
type allocator interface{ Allocate(size int64) error }

// grow makes the file that long, all of it taken from the disk. The caller holds mu.
func (r *Reserve) grow(size int64) error {
	file, err := r.fs.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the disk's reserve: %w", err)
	}
	a, ok := file.(allocator)
	if ok {
		err = a.Allocate(size)
	}
	if !ok || errors.Is(err, errors.ErrUnsupported) {
		err = r.scribble(file, size)
	}
	if err == nil {
		err = file.Sync()
	}
	if is, sizeErr := file.Size(); sizeErr == nil { // of a failure, too, something may be left
		r.held = min(is, size)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("cannot fill the disk's reserve: %w", err)
	}
	return nil
}

// scribble takes room by writing what can't be compressed.
func (r *Reserve) scribble(file File, size int64) error {
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	for at := r.held; at < size; at += int64(len(noise)) {
		if _, err := file.WriteAt(noise[:min(int64(len(noise)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// isFull says whether an error is for want of room.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Allocate makes the file that long, and takes the room for all of it.
func (f osFile) Allocate(size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EOPNOTSUPP, unix.ENOSYS:
			return errors.ErrUnsupported
		default:
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

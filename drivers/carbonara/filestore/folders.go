package filestore

import (
	"path/filepath"
	"sync"

	"millrace/disk"
)

// folders knows which folders show nothing that a power failure could take back.
// Those that were never flushed since Open are not among them: a process that was killed
// may have renamed a file and not got to flushing its folder.
type folders struct {
	fs   disk.FS
	root string // those above it are durable

	mu      sync.RWMutex
	settled map[string]bool
	failed  uint64 // flushes that failed
}

// make makes a folder, if it isn't known to be there.
func (f *folders) make(dir string) error {
	if f.isSettled(dir) {
		return nil
	}
	return f.fs.MkdirAll(dir, 0o750)
}

// sync makes durable what has been done to the names of a folder, and the folder.
func (f *folders) sync(dir string) error {
	f.mu.RLock()
	settled, failed := f.settled[dir], f.failed
	f.mu.RUnlock()
	err := f.fs.SyncDir(dir)
	for at := dir; err == nil && !settled && at != f.root; { // it may be new, and so may those above it
		at = filepath.Dir(at)
		err = f.fs.SyncDir(at)
	}
	if err != nil {
		f.forget(dir)
		return err
	}
	if !settled {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.failed == failed { // else it may be this folder's flush, of something later
			f.settled[dir] = true
		}
	}
	return nil
}

// settle is for those who look at a folder: what they are shown must not go away in a
// power failure, or an owner who reads his manifest to learn whether a swap has
// happened would learn wrong.
func (f *folders) settle(dir string) error {
	if f.isSettled(dir) {
		return nil
	}
	return f.sync(dir)
}

func (f *folders) isSettled(dir string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.settled[dir]
}

// forget is for a folder that is not as it was thought to be.
func (f *folders) forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed++
	delete(f.settled, dir)
}

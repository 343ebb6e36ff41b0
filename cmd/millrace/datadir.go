package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"millrace/disk"
)

// dataLock is the file in the data directory that its user holds a lock on.
const dataLock = "millrace.lock"

// takeDataDir makes the data directory, for nobody but its owner, and takes it into
// use: no other process may, until it is closed.
func takeDataDir(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data directory: %w", err)
	}
	return lockDataDir(dir)
}

// lockDataDir takes a data directory into use that there is already.
func lockDataDir(dir string) (io.Closer, error) {
	lock, err := disk.OS{}.Lock(filepath.Join(dir, dataLock))
	switch {
	case errors.Is(err, disk.ErrLocked):
		return nil, fmt.Errorf("the data directory %s is in use by another millrace process: one at a time can use it", dir)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no data directory %s", dir)
	case err != nil:
		return nil, fmt.Errorf("cannot lock the data directory: %w", err)
	}
	return lock, nil
}

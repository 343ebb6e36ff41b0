package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// A slot is what is known of a name that has been swapped.
type slot struct {
	swapping sync.Mutex // one swap of the name at a time

	mu      sync.RWMutex // held while the file and the version change, and while a reader takes both
	version carbonara.Version
}

// Put stores an object.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.use(ctx); err != nil {
		return fmt.Errorf("cannot put %s: %w", name, err)
	}
	defer s.done()
	room := s.fs
	if carbonara.IsBackground(ctx) {
		room = s.config.Background
	}
	err := s.replace(room, name, data, s.fs.Rename)
	if err != nil {
		return fmt.Errorf("cannot put %s: %w", name, err)
	}
	return nil
}

// Swap replaces an object if its version is still old. What it adds has been durable
// since it was put.
func (s *Store) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	_ []carbonara.Addition) (carbonara.Version, error) {
	if err := s.use(ctx); err != nil {
		return "", fmt.Errorf("cannot swap %s: %w", name, err)
	}
	defer s.done()
	version, err := s.swap(name, old, data)
	if err != nil {
		return "", fmt.Errorf("cannot swap %s: %w", name, err)
	}
	return version, nil
}

func (s *Store) swap(name string, old carbonara.Version, data []byte) (carbonara.Version, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	slot, err := s.slot(name)
	if err != nil {
		return "", err
	}
	slot.swapping.Lock()
	defer slot.swapping.Unlock()
	if slot.version != old {
		return "", carbonara.ErrChanged
	}
	version := s.newVersion()
	err = s.replace(s.fs, name, data, func(from, to string) error {
		slot.mu.Lock()
		defer slot.mu.Unlock()
		// Whether the rename succeeds or not: from here on the old version may be gone.
		slot.version = version
		return s.fs.Rename(from, to)
	})
	return version, err
}

// slot returns the slot of a name that is about to be swapped.
func (s *Store) slot(name string) (*slot, error) {
	if slot := s.find(name); slot != nil {
		return slot, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot := s.swapped[name]; slot != nil {
		return slot, nil
	}
	f, err := s.fs.Open(s.path(name))
	slot := &slot{version: s.firstVersion()}
	switch {
	case isMissing(err):
		slot.version = ""
	case err != nil:
		return nil, err
	default:
		f.Close()
	}
	s.swapped[name] = slot
	return slot, nil
}

func (s *Store) find(name string) *slot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.swapped[name]
}

// replace writes data to a temporary, of which room has the bytes, makes it durable, and
// has it renamed.
func (s *Store) replace(room disk.FS, name string, data []byte, rename func(from, to string) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	if int64(len(data)) > s.config.MaxObject {
		return fmt.Errorf("%d bytes are more than an object may have, %d", len(data), s.config.MaxObject)
	}
	path := s.path(name)
	dir := filepath.Dir(path)
	if err := s.folders.make(dir); err != nil {
		return err
	}
	temp := filepath.Join(s.dir, temporaries, strconv.FormatUint(s.temps.Add(1), 10))
	if err := write(room, temp, data); err != nil {
		return errors.Join(err, s.removeIfThere(temp))
	}
	if err := rename(temp, path); err != nil {
		s.folders.forget(dir) // it may be gone, or the file may have got there all the same
		return errors.Join(err, s.removeIfThere(temp))
	}
	return s.folders.sync(dir)
}

// write writes a new file and makes its bytes durable. A file whose Sync failed
// is worth nothing, even if a second Sync succeeds.
func write(room disk.FS, path string, data []byte) error {
	f, err := room.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (s *Store) removeIfThere(path string) error {
	if err := s.fs.Remove(path); !isMissing(err) {
		return err
	}
	return nil
}

// Delete removes objects, and returns when they are gone for good.
func (s *Store) Delete(ctx context.Context, names []string) error {
	if err := s.use(ctx); err != nil {
		return fmt.Errorf("cannot delete %d objects: %w", len(names), err)
	}
	defer s.done()
	dirs := map[string]bool{}
	var errs []error
	for _, name := range names {
		removed, err := s.remove(name)
		if removed {
			dirs[filepath.Dir(s.path(name))] = true
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot delete %s: %w", name, err))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := s.folders.sync(dir); err != nil {
			errs = append(errs, fmt.Errorf("cannot delete objects of %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) remove(name string) (removed bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	if slot := s.find(name); slot != nil {
		slot.swapping.Lock()
		defer slot.swapping.Unlock()
		slot.mu.Lock()
		defer slot.mu.Unlock()
		defer func() {
			if err == nil {
				slot.version = ""
			}
		}()
	}
	err = s.fs.Remove(s.path(name))
	if isMissing(err) {
		return false, nil
	}
	return err == nil, err
}

// isMissing says that there is no such file, or a folder in its place.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR)
}

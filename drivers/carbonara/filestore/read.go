package filestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// Read reads ranges of an object, or all of it, unless its version is still the one given.
func (s *Store) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	if err := s.use(ctx); err != nil {
		return carbonara.Contents{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer s.done()
	c, err := s.read(name, unless, ranges)
	if err != nil {
		return carbonara.Contents{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return c, nil
}

func (s *Store) read(name string, unless carbonara.Version, ranges []carbonara.Range) (c carbonara.Contents,
	err error) {
	if err := checkName(name); err != nil {
		return c, err
	}
	f, version, err := s.open(name)
	if isMissing(err) {
		return c, carbonara.ErrNotFound
	}
	if err != nil {
		return c, err
	}
	defer f.Close()
	if err := s.folders.settle(filepath.Dir(s.path(name))); err != nil {
		return c, err
	}
	if unless != "" && version == unless {
		return c, carbonara.ErrUnchanged
	}
	c.Version = version
	if c.Size, err = f.Size(); err != nil {
		return c, err
	}
	if len(ranges) == 0 {
		ranges = []carbonara.Range{{Off: 0, Len: c.Size}}
	}
	c.Data = make([][]byte, len(ranges))
	for i, r := range ranges {
		c.Data[i], err = readRange(f, c.Size, r)
		if errors.Is(err, syscall.EISDIR) {
			err = carbonara.ErrNotFound
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// open opens the file of an object as it was at one version.
func (s *Store) open(name string) (disk.File, carbonara.Version, error) {
	slot := s.find(name)
	if slot == nil {
		f, err := s.fs.Open(s.path(name))
		if slot = s.find(name); slot == nil { // so nobody has swapped it so far
			return f, s.firstVersion(), err
		}
		if err == nil {
			f.Close()
		}
	}
	slot.mu.RLock()
	defer slot.mu.RUnlock()
	f, err := s.fs.Open(s.path(name))
	return f, slot.version, err
}

func readRange(f disk.File, size int64, r carbonara.Range) ([]byte, error) {
	if r.Len < 0 {
		return nil, fmt.Errorf("a range of %d bytes", r.Len)
	}
	if r.Off < 0 {
		r.Off = max(0, size-r.Len)
	}
	b := make([]byte, max(0, min(r.Len, size-r.Off)))
	if len(b) == 0 {
		return b, nil
	}
	switch n, err := f.ReadAt(b, r.Off); {
	case n == len(b):
		return b, nil
	case err == io.EOF: // an object does not shrink
		return nil, io.ErrUnexpectedEOF
	default:
		return nil, err
	}
}

// List returns the objects below a prefix. Files that could not be objects are
// passed over.
func (s *Store) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	if err := s.use(ctx); err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", prefix, err)
	}
	defer s.done()
	above, slash := strings.CutSuffix(prefix, "/")
	if prefix != "" {
		if !slash {
			return nil, fmt.Errorf("cannot list %s: the prefix doesn't end in a slash", prefix)
		}
		if err := checkName(above); err != nil {
			return nil, fmt.Errorf("cannot list %s: %w", prefix, err)
		}
	}
	objects, err := s.walk(ctx, nil, prefix)
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", prefix, err)
	}
	slices.SortFunc(objects, func(a, b carbonara.Object) int { return cmp.Compare(a.Name, b.Name) })
	return objects, nil
}

// walk appends the objects below a prefix, those of a folder before those of the
// folders in it.
func (s *Store) walk(ctx context.Context, objects []carbonara.Object, prefix string) ([]carbonara.Object, error) {
	if err := ctx.Err(); err != nil {
		return objects, err
	}
	entries, err := s.fs.ReadDir(s.path(prefix))
	if isMissing(err) {
		return objects, nil
	}
	for _, e := range entries {
		if !isName(e.Name()) {
			continue
		}
		if e.IsDir() {
			if objects, err = s.walk(ctx, objects, prefix+e.Name()+"/"); err != nil {
				return objects, err
			}
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return objects, err
		}
		objects = append(objects, carbonara.Object{Name: prefix + e.Name(), Size: info.Size(), Modified: info.ModTime()})
	}
	return objects, err
}

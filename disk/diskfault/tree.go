package diskfault

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// An inode is a file or a folder, whatever its names are.
type inode struct {
	id       uint64
	isDir    bool
	modified time.Time

	// Of a file: what a program sees, what the device has, and the changes that
	// make the one of the other. A failed Sync loses the first lost of them: they
	// may be on the device, but no later Sync puts them there.
	current, durable content
	pending          []change
	lost             int

	// Of a folder.
	names, durableNames map[string]*inode
}

// A change is a write of data at off, or a truncation to off.
type change struct {
	off      int64
	data     []byte
	truncate bool
}

func (c *content) apply(ch change) {
	if ch.truncate {
		c.truncate(ch.off)
	} else {
		c.writeAt(ch.data, ch.off)
	}
}

// A rename is a change of names that the disk shows as a whole or not at all:
// a rename proper has two links, everything else one.
type rename []link

// A link makes a name of a folder stand for an inode, or for nothing.
type link struct {
	dir  *inode
	name string
	to   *inode
}

func (f *FS) newInode(isDir bool) *inode {
	f.inodes++
	return &inode{id: f.inodes, isDir: isDir, modified: time.Now()}
}

func (f *FS) newFolder() *inode {
	n := f.newInode(true)
	n.names, n.durableNames = map[string]*inode{}, map[string]*inode{}
	return n
}

// walk finds what a clean name stands for.
func (f *FS) walk(name string) (*inode, error) {
	n := f.root
	for part := range strings.SplitSeq(name, "/") {
		if part == "" {
			continue
		}
		if !n.isDir {
			return nil, syscall.ENOTDIR
		}
		if n = n.names[part]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

func (f *FS) parent(name string) (dir *inode, base string, err error) {
	if name == "" {
		return nil, "", syscall.EBUSY
	}
	above, base := path.Split(name)
	dir, err = f.walk(above)
	if err == nil && !dir.isDir {
		err = syscall.ENOTDIR
	}
	return dir, base, err
}

// link changes names, for what is seen now and for the next SyncDir.
func (f *FS) link(r rename) {
	for _, l := range r {
		if l.to == nil {
			delete(l.dir.names, l.name)
		} else {
			l.dir.names[l.name] = l.to
		}
		l.dir.modified = time.Now()
	}
	f.pending = append(f.pending, r)
}

func (f *FS) create(name string) (*inode, error) {
	dir, base, err := f.parent(name)
	if err != nil {
		return nil, err
	}
	n := f.newInode(false)
	f.link(rename{{dir, base, n}})
	return n, nil
}

func (f *FS) mkdir(name string) error {
	dir, base, err := f.parent(name)
	if err != nil {
		return err
	}
	if n := dir.names[base]; n != nil {
		if n.isDir {
			return syscall.EEXIST
		}
		return syscall.ENOTDIR
	}
	f.link(rename{{dir, base, f.newFolder()}})
	return nil
}

func (f *FS) remove(name string) error {
	dir, base, err := f.parent(name)
	if err != nil {
		return err
	}
	n := dir.names[base]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n.isDir && len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	f.free += n.current.charged()
	f.link(rename{{dir, base, nil}})
	return nil
}

func (f *FS) rename(from, to string) error {
	fromDir, fromBase, err := f.parent(from)
	if err != nil {
		return err
	}
	toDir, toBase, err := f.parent(to)
	if err != nil {
		return err
	}
	n, old := fromDir.names[fromBase], toDir.names[toBase]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n == old:
		return nil
	case n.isDir && strings.HasPrefix(to, from+"/"):
		return syscall.EINVAL
	case old == nil:
	case old.isDir && !n.isDir:
		return syscall.EEXIST // as os.Rename has it
	case n.isDir && !old.isDir:
		return syscall.ENOTDIR
	case len(old.names) > 0:
		return syscall.ENOTEMPTY
	default:
		f.free += old.current.charged()
	}
	f.link(rename{{fromDir, fromBase, nil}, {toDir, toBase, n}})
	return nil
}

func (f *FS) list(name string) ([]fs.DirEntry, error) {
	n, err := f.walk(name)
	if err != nil {
		return nil, err
	}
	if !n.isDir {
		return nil, syscall.ENOTDIR
	}
	entries := make([]fs.DirEntry, 0, len(n.names))
	for _, base := range slices.Sorted(maps.Keys(n.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(n.names[base].info(base)))
	}
	return entries, nil
}

// syncDir makes the names of dir durable. A file that has moved to another folder
// may still have its old name, too, until that folder is synced; but when the
// old name is gone for good the new one is there for good.
func (f *FS) syncDir(dir *inode) {
	var rest []rename
	for _, r := range f.pending {
		whole := len(r) == 2 && r[0].dir == dir
		var later rename
		for _, l := range r {
			if l.dir != dir && !whole {
				later = append(later, l)
				continue
			}
			set(l.dir.durableNames, l)
			rest = without(rest, l)
		}
		if later != nil {
			rest = append(rest, later)
		}
	}
	f.pending = rest
}

func set(names map[string]*inode, l link) {
	if l.to == nil {
		delete(names, l.name)
	} else {
		names[l.name] = l.to
	}
}

// without drops what a durable link has overtaken.
func without(pending []rename, l link) []rename {
	for i, r := range pending {
		pending[i] = slices.DeleteFunc(slices.Clone(r), func(e link) bool { return e.dir == l.dir && e.name == l.name })
	}
	return slices.DeleteFunc(pending, func(r rename) bool { return len(r) == 0 })
}

// info describes an inode as it is now.
func (n *inode) info(name string) fs.FileInfo {
	return info{name: name, size: n.current.size, dir: n.isDir, modified: n.modified}
}

type info struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

package diskfault

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/disk"
)

// TestLikeTheOS runs one script on both file systems and compares what it saw.
func TestLikeTheOS(t *testing.T) {
	saw := func(fs disk.FS, dir string) (lines []string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		did := func(what string, err error) {
			for _, e := range []error{syscall.ENOENT, syscall.EEXIST, syscall.ENOTEMPTY, syscall.EISDIR, syscall.ENOTDIR,
				syscall.EBADF, syscall.EINVAL, os.ErrClosed, disk.ErrLocked, io.EOF} {
				if errors.Is(err, e) {
					lines = append(lines, what+": "+e.Error())
					return
				}
			}
			if err != nil {
				what += ": " + err.Error()
			}
			lines = append(lines, what)
		}
		list := func(name string) {
			entries, err := fs.ReadDir(at(name))
			did("list "+name, err)
			for _, e := range entries {
				if e.IsDir() {
					lines = append(lines, e.Name()+"/")
					continue
				}
				f, err := fs.Open(at(name + "/" + e.Name()))
				did(e.Name(), err)
				size, err := f.Size()
				did("size", err)
				b := make([]byte, size+1)
				n, err := f.ReadAt(b, 0)
				did(string(b[:n]), err)
				did("close", f.Close())
			}
		}

		did("mkdir", fs.MkdirAll(at("a/b"), 0o700))
		did("mkdir again", fs.MkdirAll(at("a/b"), 0o700))
		_, err := fs.Open(at("a/none"))
		did("open", err)
		_, err = fs.OpenFile(at("none/x"), os.O_CREATE|os.O_RDWR, 0o600)
		did("create without a folder", err)
		f, err := fs.OpenFile(at("a/x"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		did("create", err)
		_, err = fs.OpenFile(at("a/x"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		did("create again", err)
		_, err = f.Write([]byte("hello, "))
		did("write", err)
		_, err = f.Write([]byte("world"))
		did("write", err)
		_, err = f.WriteAt([]byte("J"), 0)
		did("write at", err)
		_, err = f.WriteAt([]byte("far"), 20)
		did("write behind the end", err)
		list("a")
		did("truncate", f.Truncate(5))
		_, err = f.Write([]byte("!"))
		did("write behind the end", err)
		did("sync", f.Sync())
		did("close", f.Close())
		did("close again", f.Close())
		_, err = f.Write([]byte("late"))
		did("write when closed", err)
		list("a")
		f, _ = fs.Open(at("a/x"))
		_, err = f.Write([]byte("x"))
		did("write to a file open for reading", err)
		did("rename", fs.Rename(at("a/x"), at("a/b/y")))
		did("rename nothing", fs.Rename(at("a/x"), at("a/b/y")))
		did("remove a full folder", fs.Remove(at("a/b")))
		did("remove", fs.Remove(at("a/b/y")))
		did("remove again", fs.Remove(at("a/b/y")))
		b := make([]byte, 4)
		_, err = f.ReadAt(b, 0)
		did("read the removed file "+string(b), err)
		_, err = f.ReadAt(b, 100)
		did("read behind the end", err)
		f, _ = fs.OpenFile(at("a/z"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		f.Write([]byte("one"))
		f.Close()
		f, _ = fs.OpenFile(at("a/z"), os.O_WRONLY|os.O_APPEND, 0o600)
		_, err = f.Write([]byte("two"))
		did("append", err)
		_, err = f.ReadAt(b, 0)
		did("read what is open for writing", err)
		list("a")
		_, err = fs.OpenFile(at("a/z"), os.O_TRUNC|os.O_WRONLY, 0o600)
		did("truncate by opening", err)
		list("a")
		_, err = fs.Open(at("a/z/deep"))
		did("open below a file", err)
		did("mkdir below a file", fs.MkdirAll(at("a/z/deep"), 0o700))
		_, err = fs.ReadDir(at("none"))
		did("list nothing", err)
		did("move a folder", fs.Rename(at("a/b"), at("c")))
		did("move a file onto a folder", fs.Rename(at("a/z"), at("c")))
		did("move a folder onto a file", fs.Rename(at("c"), at("a/z")))
		list("")
		l, err := fs.Lock(at("lock"))
		did("lock", err)
		_, err = fs.Lock(at("lock"))
		did("lock again", err)
		did("unlock", l.Close())
		_, err = fs.Lock(at("lock"))
		did("lock", err)
		did("syncdir", fs.SyncDir(at("a")))
		did("syncdir nothing", fs.SyncDir(at("none")))
		return lines
	}
	if diff := cmp.Diff(saw(disk.OS{}, t.TempDir()), saw(New(), "/")); diff != "" {
		t.Errorf("the operating system (-) and diskfault (+) differ:\n%s", diff)
	}
}

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/drivers/carbonara"
)

// Housekeeping has the disk that it was given, and nothing else has.
func TestBackground(t *testing.T) {
	fs := diskfault.New()
	fs.SetFree(10 << 20)
	reserve, err := disk.NewReserve(fs, "reserve", 4<<20, 0)
	if err == nil {
		_, err = reserve.Fill()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, reserve.Rescue(), "store", Config{Background: reserve.Guard()})
	fs.SetFree(0)
	object := make([]byte, 1<<20)
	background := carbonara.InBackground(t.Context())
	for _, name := range []string{"sack/1/a", "sack/1/b"} {
		if err := s.Put(t.Context(), name, object); err != nil {
			t.Errorf("a flush on a full disk: %v", err)
		}
		if err := s.Put(background, name+"-sealed", object); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("housekeeping on a full disk: %v", err)
		}
	}
	if _, err := s.Swap(background, manifest, "", []byte("what has expired is gone"), nil); err != nil {
		t.Errorf("a manifest, which may name less: %v", err)
	}
	if held, _ := reserve.Held(); held >= 2<<20+1 || held == 0 {
		t.Errorf("%d bytes are held after two flushes of 1 MiB", held)
	}
	fs.SetFree(10 << 20)
	if err := s.Put(background, "sack/1/sealed", object); err != nil {
		t.Errorf("housekeeping with room: %v", err)
	}
}

// TestSickDisk: whatever goes wrong before the rename, the old object stays, nothing
// is left behind, and the old version is still good for another try.
func TestSickDisk(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(fs *diskfault.FS) (undo func())
		want  error
	}{
		{"no space", func(fs *diskfault.FS) func() { fs.SetFree(3); return func() { fs.SetFree(1 << 20) } }, syscall.ENOSPC},
		{"no inode", inject(diskfault.Fault{On: diskfault.Create, Path: "*", Err: syscall.ENOSPC}), syscall.ENOSPC},
		{"a write fails", inject(diskfault.Fault{On: diskfault.Write, Err: syscall.EIO}), syscall.EIO},
		{"a write does half", inject(diskfault.Fault{On: diskfault.Write, Half: true, Err: syscall.EIO}), syscall.EIO},
		{"a sync fails", inject(diskfault.Fault{On: diskfault.Sync, Err: syscall.EIO}), syscall.EIO},
		{"a sync fails once", inject(diskfault.Fault{On: diskfault.Sync, Many: 1, Err: syscall.EIO}), syscall.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := diskfault.New()
			s := open(t, fs, "store", Config{})
			version, err := s.Swap(t.Context(), manifest, "", []byte("old"), nil)
			if err != nil {
				t.Fatal(err)
			}
			undo := test.fault(fs)
			if _, err := s.Swap(t.Context(), manifest, version, []byte("new, and longer"), nil); !errors.Is(err, test.want) ||
				!strings.Contains(err.Error(), manifest) {
				t.Errorf("Swap: %v", err)
			}
			expect(t, s, manifest, "old")
			undo()
			if left, _ := fs.ReadDir("store/" + temporaries); len(left) > 0 {
				t.Errorf("%d temporaries are left", len(left))
			}
			if _, err := s.Swap(t.Context(), manifest, version, []byte("new, and longer"), nil); err != nil {
				t.Errorf("Swap on the healthy disk: %v", err)
			}
			expect(t, open(t, fs.Crash(diskfault.Mode{}), "store", Config{}), manifest, "new, and longer")
		})
	}
}

// TestRenameFails: whether a rename that failed has happened is not known, so the old
// version is no longer good: somebody has to read first.
func TestRenameFails(t *testing.T) {
	fs := diskfault.New()
	s := open(t, fs, "store", Config{})
	old, err := s.Swap(t.Context(), manifest, "", []byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	undo := fs.Inject(diskfault.Fault{On: diskfault.Rename, Err: syscall.EIO})
	if _, err := s.Swap(t.Context(), manifest, old, []byte("new"), nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("Swap: %v", err)
	}
	undo()
	if _, err := s.Swap(t.Context(), manifest, old, []byte("other"), nil); !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap from the version of before the failure: %v; want ErrChanged", err)
	}
	c, err := s.Read(t.Context(), manifest, old, nil)
	if err != nil || c.Version == old {
		t.Fatalf("Read unless that version: version %q, %v", c.Version, err)
	}
	if _, err := s.Swap(t.Context(), manifest, c.Version, []byte("other"), nil); err != nil {
		t.Errorf("Swap from the version that Read told: %v", err)
	}
}

func inject(fault diskfault.Fault) func(fs *diskfault.FS) func() {
	return func(fs *diskfault.FS) func() { return fs.Inject(fault) }
}

func expect(t *testing.T, s *Store, name, want string) {
	t.Helper()
	c, err := s.Read(t.Context(), name, "", nil)
	if err != nil || string(c.Data[0]) != want {
		t.Errorf("%s is %q, %v; want %q", name, c.Data, err, want)
	}
}

// TestUnsettled: while it is not known whether a swap is durable, Read doesn't tell.
func TestUnsettled(t *testing.T) {
	fs := diskfault.New()
	s := open(t, fs, "store", Config{})
	version, err := s.Swap(t.Context(), manifest, "", []byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	undo := fs.Inject(diskfault.Fault{On: diskfault.SyncDir, Path: "store/sack/3", Err: syscall.EIO})
	if _, err := s.Swap(t.Context(), manifest, version, []byte("new"), nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("Swap: %v", err)
	}
	if _, err := s.Read(t.Context(), manifest, "", nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("Read: %v", err)
	}
	undo()
	expect(t, s, manifest, "new")
	expect(t, open(t, fs.Crash(diskfault.Mode{}), "store", Config{}), manifest, "new")
}

func TestReadErrors(t *testing.T) {
	fs := diskfault.New()
	s := open(t, fs, "store", Config{})
	if err := s.Put(t.Context(), "x", []byte("text")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), "x", "", []carbonara.Range{{Off: 0, Len: -1}}); err == nil {
		t.Error("a range of negative length: no error")
	}
	undo := fs.Inject(diskfault.Fault{On: diskfault.Read, Err: syscall.EIO})
	if _, err := s.Read(t.Context(), "x", "", nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("Read: %v", err)
	}
	undo()
	fs.Inject(diskfault.Fault{On: diskfault.List | diskfault.Remove, Err: syscall.EIO})
	if _, err := s.List(t.Context(), ""); !errors.Is(err, syscall.EIO) {
		t.Errorf("List: %v", err)
	}
	if err := s.Delete(t.Context(), []string{"x"}); !errors.Is(err, syscall.EIO) {
		t.Errorf("Delete: %v", err)
	}
}

func TestLocked(t *testing.T) {
	for name, fs := range map[string]disk.FS{"disk": disk.OS{}, "memory": diskfault.New()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := open(t, fs, dir, Config{})
			_, err := Open(fs, dir, Config{})
			if !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), dir) {
				t.Errorf("a second Open: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			open(t, fs, dir, Config{})
		})
	}
}

// TestCloseWaits: the lock is held as long as an operation is under way.
func TestCloseWaits(t *testing.T) {
	fs := diskfault.New()
	s := open(t, fs, "store", Config{})
	syncing, proceed := make(chan struct{}), make(chan struct{})
	fs.Inject(diskfault.Fault{On: diskfault.Sync, Many: 1, Call: func(diskfault.Op) { close(syncing); <-proceed }})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Put(t.Context(), "x", []byte("text")); err != nil {
			t.Errorf("Put: %v", err)
		}
	})
	<-syncing
	wg.Go(func() { s.Close() })
	if _, err := Open(fs, "store", Config{}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("Open during a Put: %v", err)
	}
	close(proceed)
	wg.Wait()
	expect(t, open(t, fs, "store", Config{}), "x", "text")
}

// TestPutsAreConcurrent: each of several Puts and Swaps is in its Sync while the others
// are.
func TestPutsAreConcurrent(t *testing.T) {
	const many = 4
	fs := diskfault.New()
	s := open(t, fs, "store", Config{})
	var meet sync.WaitGroup
	meet.Add(many)
	fs.Inject(diskfault.Fault{On: diskfault.Sync, Call: func(diskfault.Op) { meet.Done(); meet.Wait() }})
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			name := "sack/" + string(rune('0'+i)) + "/x"
			var err error
			if i%2 == 0 {
				err = s.Put(t.Context(), name, nil)
			} else {
				_, err = s.Swap(t.Context(), name, "", nil, nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestReadDuringDelete: a reader gets all of an object or ErrNotFound.
func TestReadDuringDelete(t *testing.T) {
	s := open(t, disk.OS{}, t.TempDir(), Config{})
	text := strings.Repeat("text", 50_000)
	for range 20 {
		if err := s.Put(t.Context(), "sack/1/x", []byte(text)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					c, err := s.Read(t.Context(), "sack/1/x", "", nil)
					if errors.Is(err, carbonara.ErrNotFound) {
						return
					}
					if err != nil || string(c.Data[0]) != text {
						t.Errorf("Read: %d bytes, %v", c.Size, err)
						return
					}
				}
			})
		}
		if err := s.Delete(t.Context(), []string{"sack/1/x"}); err != nil {
			t.Errorf("Delete: %v", err)
		}
		wg.Wait()
	}
}

// TestFiles: the files are what was stored, under the names of the objects, and what
// else lies in the folder is let alone.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, temporaries), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{temporaries + "/17", "manifest.json~", "#notes#"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, disk.OS{}, dir, Config{})
	if _, err := os.Stat(filepath.Join(dir, temporaries, "17")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a temporary that a dead process left: %v", err)
	}
	if _, err := s.Swap(t.Context(), manifest, "", []byte(`{"epoch":1}`), nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "sack", "3", "manifest.json")); string(got) != `{"epoch":1}` {
		t.Errorf("the file is %q, %v", got, err)
	}
	list, err := s.List(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Name != manifest {
		t.Errorf("List: %v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "#notes#")); err != nil {
		t.Errorf("a foreign file: %v", err)
	}
}

// TestReopen: versions of another Open are stale, whoever had them.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, disk.OS{}, dir, Config{})
	old, err := s.Swap(t.Context(), manifest, "", []byte("same"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, disk.OS{}, dir, Config{})
	if _, err := s.Swap(t.Context(), manifest, old, []byte("other"), nil); !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap from a version of the last process: %v", err)
	}
	c, err := s.Read(t.Context(), manifest, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(t.Context(), manifest, c.Version, []byte("other"), nil); err != nil {
		t.Errorf("Swap from the version that Read returned: %v", err)
	}
}

// TestFolderGone: an operator has removed the folder of a sack that was deleted.
func TestFolderGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, disk.OS{}, dir, Config{})
	if err := s.Put(t.Context(), "sack/1/x", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "sack")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "sack/1/y", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the first Put: %v", err)
	}
	if err := s.Put(t.Context(), "sack/1/y", nil); err != nil {
		t.Errorf("the second Put: %v", err)
	}
}

func TestNames(t *testing.T) {
	fs := diskfault.New()
	s := open(t, fs, "data/store", Config{})
	before := fs.Ops()
	for _, name := range []string{
		"", "/", "/x", "x/", "a//b", ".", "..", "../x", "a/../b", "a/./b", "~lock", "~tmp/1", "a b", "a\\b", "a\x00b", "é",
		"a:b", strings.Repeat("x", 256),
	} {
		bad := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, errName) {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
		bad("Put", s.Put(t.Context(), name, nil))
		bad("Delete", s.Delete(t.Context(), []string{name}))
		_, err := s.Swap(t.Context(), name, "", nil, nil)
		bad("Swap", err)
		_, err = s.Read(t.Context(), name, "", nil)
		bad("Read", err)
		if name != "" {
			_, err = s.List(t.Context(), name+"/")
			bad("List", err)
		}
	}
	if _, err := s.List(t.Context(), "sack/1"); err == nil {
		t.Error("List of a prefix without a slash: no error")
	}
	if fs.Ops() != before {
		t.Error("bad names have reached the disk")
	}
}

func TestOpenFails(t *testing.T) {
	for _, on := range []diskfault.Kind{diskfault.Mkdir, diskfault.Create, diskfault.SyncDir, diskfault.List} {
		fs := diskfault.New()
		undo := fs.Inject(diskfault.Fault{On: on, Err: syscall.EIO})
		if _, err := Open(fs, "data/store", Config{}); !errors.Is(err, syscall.EIO) ||
			!strings.Contains(err.Error(), "data/store") {
			t.Errorf("%s fails: %v", on, err)
		}
		undo()
		open(t, fs, "data/store", Config{})
	}
}

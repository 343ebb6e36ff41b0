package diskfault

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/disk"
)

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fs disk.FS, name, text string) disk.File {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	_, err = f.Write([]byte(text))
	must(t, err)
	return f
}

// shown lists all files as "path=content", sorted.
func shown(t *testing.T, f disk.FS) string {
	t.Helper()
	var all []string
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := f.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			name := strings.TrimPrefix(dir+"/"+e.Name(), "/")
			if e.IsDir() {
				all = append(all, name+"/")
				walk(name)
				continue
			}
			all = append(all, name+"="+string(contentOf(t, f, name)))
		}
	}
	walk("")
	return strings.Join(all, " ")
}

func contentOf(t *testing.T, f disk.FS, name string) []byte {
	t.Helper()
	h, err := f.Open(name)
	must(t, err)
	defer h.Close()
	size, err := h.Size()
	must(t, err)
	b := make([]byte, size)
	_, err = h.ReadAt(b, 0)
	must(t, err)
	return b
}

// TestWhatIsDurable: bytes are after Sync, names after SyncDir, each alone.
func TestWhatIsDurable(t *testing.T) {
	for _, test := range []struct {
		name                                      string
		script                                    func(f *FS)
		nothing, everything, onlyNames, onlyBytes string
	}{{
		name:    "a file that was only written",
		script:  func(f *FS) { create(t, f, "x", "abc") },
		nothing: "", everything: "x=abc", onlyNames: "x=", onlyBytes: "",
	}, {
		name:    "a file that was synced under no durable name",
		script:  func(f *FS) { create(t, f, "x", "abc").Sync() },
		nothing: "", everything: "x=abc", onlyNames: "x=abc", onlyBytes: "",
	}, {
		name:    "a file whose name alone is durable",
		script:  func(f *FS) { create(t, f, "x", "abc"); f.SyncDir("/") },
		nothing: "x=", everything: "x=abc", onlyNames: "x=", onlyBytes: "x=abc",
	}, {
		name: "a folder that is not durable hides what is durable in it",
		script: func(f *FS) {
			f.MkdirAll("a/b", 0o700)
			create(t, f, "a/b/x", "abc").Sync()
			f.SyncDir("a/b")
			f.SyncDir("a")
		},
		nothing: "", everything: "a/ a/b/ a/b/x=abc", onlyNames: "a/ a/b/ a/b/x=abc", onlyBytes: "",
	}, {
		name: "a replacement",
		script: func(f *FS) {
			create(t, f, "x", "old").Sync()
			f.SyncDir("")
			create(t, f, "t", "new").Sync()
			f.Rename("t", "x")
		},
		nothing: "x=old", everything: "x=new", onlyNames: "x=new", onlyBytes: "x=old",
	}, {
		name: "a replacement without sync",
		script: func(f *FS) {
			create(t, f, "x", "old").Sync()
			f.SyncDir("")
			create(t, f, "t", "new")
			f.Rename("t", "x")
			f.SyncDir("")
		},
		nothing: "x=", everything: "x=new", onlyNames: "x=", onlyBytes: "x=new",
	}, {
		name: "a file moved to a folder that is synced, from one that is not",
		script: func(f *FS) {
			f.MkdirAll("a", 0o700)
			f.MkdirAll("b", 0o700)
			create(t, f, "a/x", "abc").Sync()
			f.SyncDir("")
			f.SyncDir("a")
			f.Rename("a/x", "b/y")
			f.SyncDir("b")
		},
		nothing: "a/ a/x=abc b/ b/y=abc", everything: "a/ b/ b/y=abc", onlyNames: "a/ b/ b/y=abc",
		onlyBytes: "a/ a/x=abc b/ b/y=abc",
	}, {
		name: "a file moved out of a folder that is synced, to one that is not",
		script: func(f *FS) {
			f.MkdirAll("a", 0o700)
			f.MkdirAll("b", 0o700)
			create(t, f, "a/x", "abc").Sync()
			f.SyncDir("")
			f.Rename("a/x", "b/y")
			f.SyncDir("a")
		},
		nothing: "a/ b/ b/y=abc", everything: "a/ b/ b/y=abc", onlyNames: "a/ b/ b/y=abc", onlyBytes: "a/ b/ b/y=abc",
	}, {
		name: "a removal",
		script: func(f *FS) {
			create(t, f, "x", "abc").Sync()
			f.SyncDir("")
			f.Remove("x")
		},
		nothing: "x=abc", everything: "", onlyNames: "", onlyBytes: "x=abc",
	}, {
		name: "a truncation",
		script: func(f *FS) {
			h := create(t, f, "x", "abc")
			h.Sync()
			f.SyncDir("")
			h.Truncate(1)
		},
		nothing: "x=abc", everything: "x=a", onlyNames: "x=abc", onlyBytes: "x=a",
	}} {
		t.Run(test.name, func(t *testing.T) {
			f := New()
			test.script(f)
			check := func(mode Mode, want string) {
				t.Helper()
				after := f.Crash(mode)
				if got := shown(t, after); got != want {
					t.Errorf("%s: %q, want %q", mode, got, want)
				}
				if got := shown(t, after.Crash(Mode{})); got != want {
					t.Errorf("%s, and nothing after a second crash: %q, want %q", mode, got, want)
				}
			}
			check(Mode{Bytes: Nothing, Names: Nothing}, test.nothing)
			check(Mode{Bytes: Everything, Names: Everything}, test.everything)
			check(Mode{Bytes: Nothing, Names: Everything}, test.onlyNames)
			check(Mode{Bytes: Everything, Names: Nothing}, test.onlyBytes)
		})
	}
}

// TestLuck sees that every mode of chance shows all that it can, and nothing else.
func TestLuck(t *testing.T) {
	const base, more = "ABCDEFGH", "abcdefgh"
	f := New()
	h := create(t, f, "x", base)
	must(t, h.Sync())
	must(t, f.SyncDir(""))
	h.Write([]byte(more))
	create(t, f, "y", "")
	create(t, f, "z", "")
	f.Rename("z", "w")

	lengths, names := map[int]bool{}, map[string]bool{}
	noise := false
	for seed := range uint64(300) {
		got := string(contentOf(t, f.Crash(Mode{Bytes: Some, Seed: seed}), "x"))
		if !strings.HasPrefix(base+more, got) || len(got) < len(base) {
			t.Fatalf("a prefix is %q", got)
		}
		lengths[len(got)] = true

		got = string(contentOf(t, f.Crash(Mode{Bytes: Garbage, Seed: seed}), "x"))
		if len(got) != len(base+more) || got[:len(base)] != base {
			t.Fatalf("garbage is %q", got)
		}
		noise = noise || got != base+more

		entries, _ := f.Crash(Mode{Names: Some, Seed: seed}).ReadDir("")
		all := ""
		for _, e := range entries {
			all += e.Name()
		}
		names[all] = true
	}
	if len(lengths) != len(more)+1 {
		t.Errorf("lengths of prefixes: %v", lengths)
	}
	if !noise {
		t.Error("no noise in 300 tries")
	}
	want := map[string]bool{"x": true, "xy": true, "xz": true, "wx": true, "xyz": true, "wxy": true}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestHoles(t *testing.T) {
	f := New()
	h := create(t, f, "x", strings.Repeat("o", 2*pageSize))
	must(t, h.Sync())
	must(t, f.SyncDir(""))
	h.WriteAt(bytes.Repeat([]byte("n"), 2*pageSize), pageSize) // half over the old
	seen := map[string]bool{}
	for seed := range uint64(50) {
		got := contentOf(t, f.Crash(Mode{Bytes: Holes, Seed: seed}), "x")
		if len(got) != 3*pageSize {
			t.Fatalf("%d bytes", len(got))
		}
		sketch := ""
		for i := range 3 {
			page := got[i*pageSize:][:pageSize]
			if !bytes.Equal(page, bytes.Repeat(page[:1], pageSize)) {
				t.Fatal("a page is torn")
			}
			sketch += string(rune(max('0', page[0])))
		}
		seen[sketch] = true
	}
	want := map[string]bool{"oo0": true, "on0": true, "oon": true, "onn": true}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

func TestCrashAt(t *testing.T) {
	f := New()
	f.CrashAt(3)
	h := create(t, f, "x", "one") // 1 and 2
	_, err := h.Write([]byte("two"))
	if n, err2 := h.Write(nil); !errors.Is(err, ErrCrashed) || !errors.Is(err2, ErrCrashed) || n != 0 {
		t.Errorf("the third operation: %v; after it: %v", err, err2)
	}
	for what, err := range map[string]error{
		"sync": h.Sync(), "syncdir": f.SyncDir(""), "rename": f.Rename("x", "y"), "remove": f.Remove("x"),
		"mkdir":    f.MkdirAll("d", 0o700),
		"truncate": h.Truncate(0), "read": second(h.ReadAt(make([]byte, 1), 0)), "list": second(f.ReadDir("")),
		"open": second(f.Open("x")),
		"lock": second(f.Lock("l")), "size": second(h.Size()), "free": second(f.Free("")),
	} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("%s after the crash: %v", what, err)
		}
	}
	if got := shown(t, f.Crash(Mode{Bytes: Everything, Names: Everything})); got != "x=onetwo" {
		t.Errorf("%q, and the third operation may have been done", got)
	}
	want := []Op{{1, Create, "x"}, {2, Write, "x"}, {3, Write, "x"}}
	if diff := cmp.Diff(want, f.Trace()); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func second[A any](_ A, err error) error { return err }

// TestRestart: a process that dies leaves what it has written to the machine, which
// may die as well.
func TestRestart(t *testing.T) {
	f := New()
	h := create(t, f, "x", "abc")
	if _, err := f.Lock("lock"); err != nil {
		t.Fatal(err)
	}
	next := f.Restart()
	if err := h.Sync(); !errors.Is(err, ErrCrashed) {
		t.Errorf("the dead process can sync: %v", err)
	}
	if _, err := next.Lock("lock"); err != nil {
		t.Errorf("the lock of a dead process: %v", err)
	}
	if got := shown(t, next); got != "lock= x=abc" {
		t.Errorf("after the restart: %q", got)
	}
	if got := shown(t, next.Crash(Mode{})); got != "" {
		t.Errorf("a restart made durable: %q", got)
	}
}

// TestFailedSync: after it the bytes are readable, a second Sync succeeds, and they
// are gone.
func TestFailedSync(t *testing.T) {
	f := New()
	h := create(t, f, "x", "abc")
	must(t, h.Sync())
	must(t, f.SyncDir(""))
	f.Inject(Fault{On: Sync, Path: "x", Many: 1, Err: syscall.EIO})
	h.Write([]byte("def"))
	if err := h.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	if got := shown(t, f.Restart().Crash(Mode{Bytes: Everything})); got != "x=abcdef" {
		t.Errorf("the device may have them: %q", got)
	}

	f = f.Restart()
	h, _ = f.OpenFile("x", os.O_RDWR, 0)
	h.WriteAt([]byte("ghi"), 6)
	must(t, h.Sync())
	if got := shown(t, f); got != "x=abcdefghi" {
		t.Errorf("what can be read: %q", got)
	}
	if got := shown(t, f.Crash(Mode{Bytes: Everything})); got != "x=abc\x00\x00\x00ghi" {
		t.Errorf("what is on the device: %q", got)
	}
}

func TestInject(t *testing.T) {
	f := New()
	h := create(t, f, "dir-x", "abc")
	undo := f.Inject(Fault{On: Read, Path: "dir-*", Flip: true})
	b := make([]byte, 3)
	if n, err := h.ReadAt(b, 0); n != 3 || err != nil || string(b) != "acc" {
		t.Errorf("a flipped bit: %q, %v", b, err)
	}
	undo()
	if h.ReadAt(b, 0); string(b) != "abc" {
		t.Errorf("after undo: %q", b)
	}

	f.Inject(Fault{On: Write | Rename, Skip: 1, Many: 2, Half: true, Err: syscall.EIO})
	for i, want := range []struct {
		n   int
		err error
	}{{4, nil}, {2, syscall.EIO}, {2, syscall.EIO}, {4, nil}} {
		if n, err := h.Write([]byte("1234")); n != want.n || !errors.Is(err, want.err) {
			t.Errorf("write %d: %d, %v; want %d, %v", i, n, err, want.n, want.err)
		}
	}
	if got := shown(t, f); got != "dir-x=abc123412121234" {
		t.Errorf("after half writes: %q", got)
	}

	must(t, f.MkdirAll("a", 0o700))
	called := 0
	f.Inject(Fault{On: Remove, Path: "a/*", When: func(op Op) bool { return op.N > 0 }, Err: syscall.EROFS,
		Call: func(Op) { called++; f.Ops() }})
	create(t, f, "a/x", "").Close()
	if err := f.Remove("a/x"); !errors.Is(err, syscall.EROFS) || called != 1 {
		t.Errorf("remove: %v, and %d calls", err, called)
	}
	must(t, f.Remove("dir-x"))
}

func TestFullDisk(t *testing.T) {
	f := New()
	f.SetFree(2*pageSize + 10)
	h := create(t, f, "x", "")
	if n, err := h.Write(make([]byte, 3*pageSize)); n != 2*pageSize+10 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %d, %v", n, err)
	}
	if n, err := h.WriteAt([]byte("over the old"), 100); n != 12 || err != nil {
		t.Errorf("write over the old: %d, %v", n, err)
	}
	if n, err := h.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %d, %v", n, err)
	}
	must(t, h.Truncate(pageSize+5))
	if free, _ := f.Free("/"); free != pageSize+5 {
		t.Errorf("%d free after truncation", free)
	}
	must(t, f.Remove("x"))
	if free, _ := f.Free("/"); free != 2*pageSize+10 {
		t.Errorf("%d free after removal", free)
	}
}

// TestExplore explores a program with an error in it that only a crash shows, and
// the same program without.
func TestExplore(t *testing.T) {
	replace := func(sync bool) func(fs *FS) int {
		return func(fs *FS) (acked int) {
			for i := 1; i <= 3; i++ {
				h, err := fs.OpenFile("tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
				if err != nil {
					return acked
				}
				_, err = h.Write([]byte{'0' + byte(i)})
				if sync {
					err = errors.Join(err, h.Sync())
				}
				if errors.Join(err, fs.Rename("tmp", "x"), fs.SyncDir("")) != nil {
					return acked
				}
				acked = i
			}
			return acked
		}
	}
	wrong := func(fsys *FS, acked int) bool {
		h, err := fsys.Open("x")
		if errors.Is(err, fs.ErrNotExist) {
			return acked > 0
		}
		b := make([]byte, 2)
		n, _ := h.ReadAt(b, 0)
		return n != 1 || int(b[0]-'0') != acked && int(b[0]-'0') != acked+1
	}
	Explore(t, replace(true), func(t *testing.T, fs *FS, acked int) {
		if wrong(fs, acked) {
			t.Errorf("%d acknowledged, and the disk has %q", acked, shown(t, fs))
		}
	})
	found := 0
	Explore(t, replace(false), func(t *testing.T, fs *FS, acked int) {
		if wrong(fs, acked) {
			found++
		}
	})
	if found == 0 {
		t.Error("nobody noticed that Sync is missing")
	}
}

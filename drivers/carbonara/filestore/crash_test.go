package filestore

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"millrace/disk/diskfault"
	"millrace/drivers/carbonara"
)

// A ledger is what a client of the store knows of each object: what was acknowledged,
// and what was tried since. An empty text is no object.
type ledger map[string]*struct {
	acked string
	tried []string
}

func (l ledger) try(name, text string, do func() error) error {
	if l[name] == nil {
		l[name] = new(struct {
			acked string
			tried []string
		})
	}
	o := l[name]
	o.tried = append(o.tried, text)
	err := do()
	if err == nil {
		o.acked, o.tried = text, nil
	}
	return err
}

// errStop ends a script: it has crashed.
var errStop = errors.New("stop")

const manifest = "sack/3/manifest.json"

// work makes every sort of change, some of them in folders that are new, until one
// fails.
func work(t *testing.T, fs *diskfault.FS) ledger {
	l := ledger{}
	s, err := Open(fs, "data/store", Config{})
	if err != nil {
		return l
	}
	defer s.Close()
	put := func(name, text string) error {
		return l.try(name, text, func() error { return s.Put(t.Context(), name, []byte(text)) })
	}
	remove := func(name string) error {
		return l.try(name, "", func() error { return s.Delete(t.Context(), []string{name}) })
	}
	var version carbonara.Version
	swap := func(text string) error {
		return l.try(manifest, text, func() (err error) {
			version, err = s.Swap(t.Context(), manifest, version, []byte(text), nil)
			return err
		})
	}
	for _, step := range []func() error{
		func() error { return put("layout.json", "layout") },
		func() error { return swap("the first manifest") },
		func() error { return put("sack/3/1.parquet", "segment one") },
		func() error { return swap("the second, which is longer") },
		func() error { return put("sack/10/1.parquet", "another sack") },
		func() error { return swap("three") },
		func() error { return remove("sack/3/1.parquet") },
		func() error { return swap("the first manifest") },
	} {
		if step() != nil {
			break
		}
	}
	return l
}

// check holds a store to what was acknowledged, and returns what it shows.
func (l ledger) check(t *testing.T, s *Store) map[string]string {
	t.Helper()
	shown := map[string]string{}
	objects, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		c, err := s.Read(t.Context(), o.Name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if o.Size != c.Size {
			t.Errorf("%s is listed with %d bytes and has %d", o.Name, o.Size, c.Size)
		}
		shown[o.Name] = string(c.Data[0])
		if l[o.Name] == nil {
			t.Errorf("nobody has stored %s", o.Name)
		}
	}
	for name, o := range l {
		if got := shown[name]; got != o.acked && !slices.Contains(o.tried, got) {
			t.Errorf("%s is %q; %q was acknowledged, and %q tried since", name, got, o.acked, o.tried)
		}
	}
	return shown
}

func TestCrash(t *testing.T) {
	diskfault.Explore(t, func(fs *diskfault.FS) ledger { return work(t, fs) },
		func(t *testing.T, fs *diskfault.FS, l ledger) {
			s := open(t, fs, "data/store", Config{})
			l.check(t, s)
			if left, _ := fs.ReadDir("data/store/" + temporaries); len(left) > 0 {
				t.Errorf("%d temporaries are left", len(left))
			}
			var version carbonara.Version
			if c, err := s.Read(t.Context(), manifest, "", nil); err == nil {
				version = c.Version
			}
			if _, err := s.Swap(t.Context(), manifest, version, []byte("after the crash"), nil); err != nil {
				t.Errorf("Swap after the crash: %v", err)
			}
		})
}

// TestKillThenPowerFailure: a process dies anywhere, the next one looks at the objects,
// and then the power fails. What it has seen must not have gone: an owner who has read
// in the manifest that his measures are there lets go of them.
func TestKillThenPowerFailure(t *testing.T) {
	for n, finished := 1, false; !finished; n++ {
		t.Run(fmt.Sprintf("killed at %d", n), func(t *testing.T) {
			fs := diskfault.New()
			fs.CrashAt(n)
			l := work(t, fs)
			finished = !fs.Crashed()
			fs = fs.Restart()
			seen := l.check(t, open(t, fs, "data/store", Config{}))
			for _, mode := range diskfault.Modes(uint64(n)) {
				s := open(t, fs.Crash(mode), "data/store", Config{})
				for name, text := range seen {
					c, err := s.Read(t.Context(), name, "", nil)
					if err != nil || string(c.Data[0]) != text {
						t.Errorf("%s: %s was %q, and is gone: %v", mode, name, text, err)
					}
				}
			}
		})
	}
}

// TestFailThenPowerFailure makes each operation fail in turn, tries the change again as
// Carbonara does, by looking first, and cuts the power.
func TestFailThenPowerFailure(t *testing.T) {
	for n, finished := 1, false; !finished; n++ {
		t.Run(fmt.Sprintf("operation %d fails", n), func(t *testing.T) {
			fs := diskfault.New()
			s := open(t, fs, "store", Config{})
			version, err := s.Swap(t.Context(), manifest, "", []byte("old"), nil)
			if err != nil {
				t.Fatal(err)
			}
			start := fs.Ops()
			fs.Inject(diskfault.Fault{On: everything, When: func(op diskfault.Op) bool { return op.N == start+n },
				Err: errStop})
			_, err = s.Swap(t.Context(), manifest, version, []byte("new"), nil)
			finished = fs.Ops() < start+n
			if err != nil && !errors.Is(err, errStop) {
				t.Fatalf("Swap: %v", err)
			}
			c, readErr := s.Read(t.Context(), manifest, "", nil)
			if readErr != nil {
				t.Fatalf("Read: %v", readErr)
			}
			if err == nil && string(c.Data[0]) != "new" {
				t.Errorf("acknowledged, and %q is there", c.Data[0])
			}
			for _, mode := range diskfault.Modes(uint64(n)) {
				after := open(t, fs.Crash(mode), "store", Config{})
				now, err := after.Read(t.Context(), manifest, "", nil)
				if err != nil || string(now.Data[0]) != string(c.Data[0]) {
					t.Errorf("%s: Read told %q, and after the power failure it is %q, %v", mode, c.Data[0], now.Data, err)
				}
			}
		})
	}
}

const everything = diskfault.Write | diskfault.Sync | diskfault.Truncate | diskfault.Create | diskfault.Rename | diskfault.Remove | diskfault.Mkdir | diskfault.SyncDir

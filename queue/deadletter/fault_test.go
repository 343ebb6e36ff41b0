package deadletter

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"millrace/disk/diskfault"
)

// TestSickDisk: whatever fails, nothing is called done that isn't, what was stays,
// and when the disk is well again so are the letters, in a new file.
func TestSickDisk(t *testing.T) {
	for name, fault := range map[string]diskfault.Fault{
		"write":               {On: diskfault.Write, Err: errIO},
		"half a write":        {On: diskfault.Write, Err: errIO, Half: true},
		"no space":            {On: diskfault.Write, Err: syscall.ENOSPC, Half: true},
		"sync":                {On: diskfault.Sync, Err: errIO},
		"one sync":            {On: diskfault.Sync, Err: errIO, Many: 1},
		"sync, then the next": {On: diskfault.Sync | diskfault.SyncDir, Err: errIO, Many: 2},
		"reading back":        {On: diskfault.Sync | diskfault.Read, Err: errIO},
		"creating":            {On: diskfault.Sync | diskfault.Create, Err: errIO},
		"rename":              {On: diskfault.Sync | diskfault.Rename, Err: errIO, Skip: 1},
		"names":               {On: diskfault.Write | diskfault.SyncDir, Err: errIO},
		"everything":          {On: ^diskfault.Kind(0), Err: errIO},
	} {
		t.Run(name, func(t *testing.T) { testSickDisk(t, fault) })
	}
}

func testSickDisk(t *testing.T, fault diskfault.Fault) {
	fsys := diskfault.New()
	k := known{}
	l := mustOpen(t, fsys, "data/dead", crashConfig)
	for round := range 2 * maxSegments { // until new files are not begun, but made one
		n := 10 * round
		if err := k.add(l, n+1, n+2); err != nil {
			t.Fatal(err)
		}
		undo := fsys.Inject(fault)
		failed := 0
		for try := range 4 {
			if k.add(l, n+3+try) != nil {
				failed++
			}
		}
		if k.remove(l, n+1) != nil {
			failed++
		}
		undo()
		if failed == 0 {
			t.Error("the fault does not show")
		}
		k.checkLetters(t, l)
		if err := k.remove(l, n+5); err != nil {
			t.Errorf("round %d: Remove on a healed disk returned %v", round, err)
		}
		if err := k.add(l, n+3); err != nil {
			t.Errorf("round %d: Add on a healed disk returned %v", round, err)
		}
	}
	if n := len(l.segments); n > maxSegments+1 {
		t.Errorf("there are %d files", n)
	}
	for _, mode := range diskfault.Modes(7) {
		k.check(t, fsys.Crash(mode))
	}
}

// TestNothingIsDoneOnAFileInDoubt: a letter that nobody has been told is there may
// come back with the next crash, so to remove it is work.
func TestNothingIsDoneOnAFileInDoubt(t *testing.T) {
	for _, mode := range diskfault.Modes(3) {
		t.Run(mode.String(), func(t *testing.T) {
			fsys := diskfault.New()
			k := known{}
			l := mustOpen(t, fsys, "data/dead", crashConfig)
			if err := k.add(l, 1); err != nil {
				t.Fatal(err)
			}
			undo := fsys.Inject(diskfault.Fault{On: diskfault.Sync, Err: errIO})
			if err := k.add(l, 2); !errors.Is(err, errIO) {
				t.Errorf("Add returned %v, want the disk's error", err)
			}
			if err := k.remove(l, 2); !errors.Is(err, errIO) {
				t.Errorf("Remove of a letter in doubt returned %v, want the disk's error", err)
			}
			if err := k.add(l, 1); !errors.Is(err, errIO) {
				t.Errorf("Add of a letter that is there returned %v, want the disk's error", err)
			}
			undo()
			if err := k.remove(l, 2); err != nil {
				t.Fatal(err)
			}
			k.check(t, fsys.Crash(mode))
		})
	}
}

// TestHealingReadsBack: a disk that has lost what it acknowledged is not gone on with.
func TestHealingReadsBack(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "data/dead", Config{})
	mustAdd(t, l, 1)
	fsys.Inject(diskfault.Fault{On: diskfault.Sync, Err: errIO, Many: 1})
	undo := fsys.Inject(diskfault.Fault{On: diskfault.Read, Flip: true})
	if err := l.Add(t.Context(), letters(2)); !errors.Is(err, errIO) {
		t.Errorf("Add returned %v, want the disk's error", err)
	}
	err := l.Add(t.Context(), letters(2))
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.File != "data/dead/"+firstFile || !errors.Is(err, errIO) {
		t.Errorf("Add returned %v, want a DamageError and what began it", err)
	}
	undo()
	mustAdd(t, l, 2)
	checkThere(t, l, 1, 2)
}

// TestFailedRewrite: the removal before it is done, and the old files are what they were.
func TestFailedRewrite(t *testing.T) {
	for _, fault := range []diskfault.Fault{
		{On: diskfault.Write, Path: "*.new", Err: syscall.ENOSPC, Half: true},
		{On: diskfault.Sync, Path: "*.new", Err: errIO},
		{On: diskfault.Rename, Err: errIO},
		{On: diskfault.SyncDir, Err: errIO},
		{On: diskfault.Remove, Err: errIO},
		{On: diskfault.Read, Err: errIO, Flip: true},
	} {
		for i, mode := range diskfault.Modes(11) {
			t.Run(fmt.Sprintf("%s fails/%s", fault.On, mode), func(t *testing.T) {
				fsys := diskfault.New()
				k := known{}
				l := mustOpen(t, fsys, "data/dead", Config{MinGarbage: 100})
				k.add(l, 1, 2, 3, 19, 15)
				undo := fsys.Inject(fault)
				for _, n := range []int{15, 2, 1} {
					if err := k.remove(l, n); err != nil && fault.On&(diskfault.SyncDir|diskfault.Rename) == 0 {
						t.Errorf("Remove returned %v", err)
					}
				}
				undo()
				if i%2 == 0 { // else the crash comes before anything is healed
					if err := k.add(l, 4); err != nil {
						t.Error(err)
					}
				}
				k.checkLetters(t, l)
				k.check(t, fsys.Crash(mode))
			})
		}
	}
}

// TestFullDisk: adding stops while there is still room to remove.
func TestFullDisk(t *testing.T) {
	fsys := diskfault.New()
	fsys.SetFree(minFree + 20_000)
	l := mustOpen(t, fsys, "data/dead", Config{MinGarbage: 1 << 10})
	var there []int
	var err error
	for n := 1; err == nil && n < 10_000; n++ {
		if err = l.Add(t.Context(), letters(n)); err == nil {
			there = append(there, n)
		}
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "disk of data/dead") {
		t.Errorf("Add on a full disk returned %v, want ErrFull and the reason", err)
	}
	checkThere(t, l, there...)
	for _, n := range there {
		mustRemove(t, l, n)
	}
	mustAdd(t, l, there...)
	checkThere(t, l, there...)
}

// TestNoSpaceAtAll: even where the disk lies about its room nothing is lost.
func TestNoSpaceAtAll(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "data/dead", Config{})
	k := known{}
	if err := k.add(l, 1, 2); err != nil {
		t.Fatal(err)
	}
	full := func() {
		free, _ := fsys.Free("")
		fsys.SetFree(20)
		t.Cleanup(func() { fsys.SetFree(free) })
	}
	full()
	for range 3 {
		if err := k.remove(l, 1); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Remove returned %v, want ENOSPC", err)
		}
		if err := k.add(l, 3); err == nil {
			t.Error("Add succeeded")
		}
	}
	k.checkLetters(t, l)
	fsys.SetFree(10 << 20)
	if err := k.remove(l, 1); err != nil {
		t.Error(err)
	}
	if err := k.add(l, 3); err != nil {
		t.Error(err)
	}
	for _, mode := range diskfault.Modes(1) {
		k.check(t, fsys.Crash(mode))
	}
}

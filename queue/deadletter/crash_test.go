package deadletter

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/disk/diskfault"
)

// known is what a caller knows about letters by their numbers: true that one is
// there, false that it is not, and nothing after a call that failed.
type known map[int]bool

var crashConfig = Config{MinGarbage: 1500}

func (k known) add(l *Letters, numbers ...int) error {
	err := l.Add(context.Background(), letters(numbers...))
	k.note(numbers, true, err)
	return err
}

func (k known) remove(l *Letters, numbers ...int) error {
	err := l.Remove(context.Background(), ids(numbers...))
	k.note(numbers, false, err)
	return err
}

func (k known) note(numbers []int, there bool, err error) {
	for _, n := range numbers {
		switch was, ok := k[n]; {
		case err == nil:
			k[n] = there
		case ok && was != there:
			delete(k, n)
		}
	}
}

// check opens what is left and holds it to what is known; then it uses it.
func (k known) check(t *testing.T, fsys *diskfault.FS) {
	t.Helper()
	l := mustOpen(t, fsys, "data/dead", crashConfig)
	k.checkLetters(t, l)
	after := known{}
	for n, there := range k {
		after[n] = there
	}
	for _, err := range []error{after.add(l, 1000, 1, 1001), after.remove(l, 2, 1000, 3), after.add(l, 3, 1002)} {
		if err != nil {
			t.Fatalf("after the crash: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, fsys, "data/dead", crashConfig)
	after.checkLetters(t, l)
	l.Close()
}

func (k known) checkLetters(t *testing.T, l *Letters) {
	t.Helper()
	got := everything(t, l)
	for n, there := range k {
		if _, found := got[idOf(n)]; found != there {
			t.Errorf("letter %d: is there: %t, want %t", n, found, there)
		}
	}
	for _, letter := range got {
		if want := numbered(int(letter.Offset)); !same(&want, &letter) {
			t.Errorf("letter %s is not whole (-want +got):\n%s", letter.ID, cmp.Diff(want, letter, bits))
		}
	}
}

// useAll does everything that writes: two starts, groups of one letter and of more,
// within a page and across pages, removals, a rewrite.
func (k known) useAll(fsys *diskfault.FS, first int) {
	for start := range 2 {
		l, err := Open(fsys, "data/dead", crashConfig)
		if err != nil {
			return
		}
		n := first + 20*start
		k.add(l, n+1)
		k.add(l, n+2, n+19, n+15, n+3)
		k.remove(l, n+2, n+15)
		k.add(l, n+2, n+4, n+6)
		k.remove(l, n+1, n+2, n+3, first+4, n+19)
		k.add(l, n+5)
		l.Close()
	}
}

// TestCrashAnywhere cuts the power at every operation that changes the disk.
func TestCrashAnywhere(t *testing.T) {
	diskfault.Explore(t, func(fsys *diskfault.FS) known {
		k := known{}
		k.useAll(fsys, 0)
		return k
	}, func(t *testing.T, fsys *diskfault.FS, k known) { k.check(t, fsys) })
}

// TestCrashWhileRecovering: a crash of the restart after a crash. Every place of
// either is tried, and every mode, but not each with each.
func TestCrashWhileRecovering(t *testing.T) {
	for first := 7; first < 58; first++ {
		t.Run(fmt.Sprint("first crash at ", first), func(t *testing.T) {
			for i, mode := range diskfault.Modes(uint64(first)) {
				for second := 1 + (first+i)%6; second < 32; second += 6 {
					fsys := diskfault.New()
					fsys.CrashAt(first)
					k := known{}
					k.useAll(fsys, 0)
					fsys = fsys.Crash(mode)
					fsys.CrashAt(second)
					k.useAll(fsys, 40)
					modes := diskfault.Modes(uint64(second))
					again := modes[(second/6+i)%len(modes)]
					k.check(t, fsys.Crash(again))
					if t.Failed() {
						t.Fatalf("first %s, then at %d %s", mode, second, again)
					}
				}
			}
		})
	}
}

var errIO = errors.New("input/output error")

// TestKilled: what a process that is killed leaves in the operating system's memory
// looks durable and may not be. What the next one shows, and calls done because it
// is there, survives a power cut.
func TestKilled(t *testing.T) {
	for _, failing := range []diskfault.Kind{0, diskfault.Sync, diskfault.SyncDir, diskfault.Rename} {
		for _, mode := range diskfault.Modes(1) {
			t.Run(fmt.Sprintf("%s fails/%s", failing, mode), func(t *testing.T) {
				fsys := diskfault.New()
				k := known{}
				l := mustOpen(t, fsys, "data/dead", Config{MinGarbage: 1})
				for _, err := range []error{k.add(l, 1, 15, 2), k.add(l, 3, 4)} {
					if err != nil {
						t.Fatal(err)
					}
				}
				undo := fsys.Inject(diskfault.Fault{On: failing, Err: errIO})
				if err := k.add(l, 6, 7); failing == diskfault.Sync && err == nil {
					t.Fatal("Add on a sick disk succeeded")
				}
				k.remove(l, 15, 1) // and the rewrite that follows, or fails
				undo()
				fsys = fsys.Restart()
				l.Close()
				l = mustOpen(t, fsys, "data/dead", crashConfig)
				for id, letter := range everything(t, l) {
					k[int(letter.Offset)] = true
					if err := k.add(l, int(letter.Offset)); err != nil {
						t.Fatalf("Add of %s, which is there, returned %v", id, err)
					}
				}
				if err := k.add(l, 8); err != nil {
					t.Fatal(err)
				}
				k.check(t, fsys.Crash(mode))
			})
		}
	}
}

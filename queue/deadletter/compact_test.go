package deadletter

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/disk"
	"millrace/disk/diskfault"
)

// TestRewriting: the files stay in proportion to what is in them.
func TestRewriting(t *testing.T) {
	fsys := diskfault.New()
	config := Config{MinGarbage: 2000}
	l := mustOpen(t, fsys, "dead", config)
	for n := range 200 {
		mustAdd(t, l, n)
		if n >= 10 {
			mustRemove(t, l, n-10)
		}
		if used := usedBytes(t, fsys); used > 2*l.bytes+config.MinGarbage+10_000 {
			t.Fatalf("after %d letters the files have %d bytes, and the letters %d", n, used, l.bytes)
		}
	}
	checkThere(t, l, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199)
	l.Close()
	l = mustOpen(t, fsys, "dead", config)
	checkThere(t, l, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199)
	for range 2 * maxSegments { // every start ends a file
		mustAdd(t, l, 1)
		mustRemove(t, l, 1)
		l.Close()
		l = mustOpen(t, fsys, "dead", config)
	}
	if files := listFiles(t, fsys, "dead"); len(files) > maxSegments+1 {
		t.Errorf("there are the files %v", files)
	}
	checkThere(t, l, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199)
	for range 3 { // starts alone leave nothing behind
		before := listFiles(t, fsys, "dead")
		l.Close()
		l = mustOpen(t, fsys, "dead", config)
		l.Close()
		l = mustOpen(t, fsys, "dead", config)
		if diff := cmp.Diff(before, listFiles(t, fsys, "dead")); diff != "" {
			t.Errorf("files differ after two starts:\n%s", diff)
		}
	}
}

func listFiles(t testing.TB, fsys disk.FS, dir string) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func usedBytes(t testing.TB, fsys disk.FS) (n int64) {
	t.Helper()
	for _, data := range imageOf(t, fsys) {
		n += int64(len(data))
	}
	return n
}

// TestRewritingIsNotTriedAllTheTime: one that fails is tried again when there is
// more garbage, not with every removal.
func TestRewritingIsNotTriedAllTheTime(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "dead", Config{MinGarbage: 10_000})
	for n := range 100 {
		mustAdd(t, l, n)
	}
	tries := 0
	undo := fsys.Inject(diskfault.Fault{On: diskfault.Create, Err: syscall.ENOSPC, Call: func(diskfault.Op) { tries++ }})
	for n := range 90 {
		mustRemove(t, l, n)
	}
	undo()
	if tries < 1 || tries > 10 {
		t.Errorf("90 removals tried to rewrite %d times", tries)
	}
	checkThere(t, l, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99)
}

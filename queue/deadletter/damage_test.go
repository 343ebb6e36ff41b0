package deadletter

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
)

const firstFile, secondFile, thirdFile = "0000000000000001.letters", "0000000000000002.letters", "0000000000000003.letters"

// killed adds groups of letters, and kills the process: the file is not settled. It
// returns the first byte of every group.
func killed(t *testing.T, groups ...[]int) (files image, starts []int) {
	t.Helper()
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "dead", Config{})
	for _, g := range groups {
		starts = append(starts, int(l.newest().size))
		mustAdd(t, l, g...)
	}
	return imageOf(t, fsys.Restart()), starts
}

// TestTornEnd cuts the last group at every byte, with nothing, zeros or noise in the
// place of what is missing: everything before it is there.
func TestTornEnd(t *testing.T) {
	files, starts := killed(t, []int{1, 2}, []int{3}, []int{4, 6, 7})
	whole, last := files[firstFile], starts[2]
	for what, rest := range map[string]func(n int) []byte{
		"nothing": func(int) []byte { return nil },
		"zeros":   func(n int) []byte { return make([]byte, n) },
		"noise":   func(n int) []byte { return slices.Repeat([]byte{0xa7, 3, 0, 0x11}, n/4+1)[:n] },
	} {
		t.Run(what, func(t *testing.T) {
			for cut := last; cut < len(whole); cut++ {
				fsys := files.with(t, firstFile, append(slices.Clone(whole[:cut]), rest(len(whole)-cut)...))
				k := known{1: true, 2: true, 3: true}
				k.checkLetters(t, mustOpen(t, fsys, "dead", Config{}))
			}
		})
	}
}

// wantDamage opens an image that is damaged.
func wantDamage(t *testing.T, fsys disk.FS, file string) {
	t.Helper()
	l, err := Open(fsys, "dead", Config{})
	damage, ok := errors.AsType[*DamageError](err)
	switch {
	case err == nil:
		l.Close()
		t.Errorf("Open of damaged file %s succeeded", file)
	case !ok || !strings.HasSuffix(damage.File, file) || !strings.Contains(err.Error(), "skip_missing"):
		t.Errorf("Open of damaged file %s returned %v, want a DamageError", file, err)
	}
}

func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 0x10
	return data
}

// TestFlippedBytes: damage is an alarm wherever it is. It looks like a torn end in
// the last group of a file that was being written, and nowhere else.
func TestFlippedBytes(t *testing.T) {
	files, starts := killed(t, []int{1, 2}, []int{3}, []int{4, 6})
	for at := range starts[2] {
		wantDamage(t, files.with(t, firstFile, flipped(files[firstFile], at)), firstFile)
	}
	for at := starts[2]; at < len(files[firstFile]); at++ {
		k := known{1: true, 2: true, 3: true}
		k.checkLetters(t, mustOpen(t, files.with(t, firstFile, flipped(files[firstFile], at)), "dead", Config{}))
	}

	fsys := files.with(t, "", nil)
	mustOpen(t, fsys, "dead", Config{}).Close()
	files = imageOf(t, fsys)
	for name, data := range files {
		end := len(data)
		if name == firstFile {
			end = starts[2] // the last group has gone to the second file
		}
		for at := range end {
			wantDamage(t, files.with(t, name, flipped(data, at)), name)
		}
		for cut := range end {
			wantDamage(t, files.with(t, name, data[:cut:cut]), name)
		}
	}
	if len(files) != 2 {
		t.Errorf("there are the files %v", slices.Sorted(maps.Keys(files)))
	}
	wantDamage(t, files.with(t, firstFile, nil), firstFile)
}

// TestOddFiles: what is not ours stays, drafts go, and a file under the name of
// another is damage.
func TestOddFiles(t *testing.T) {
	files, _ := killed(t, []int{1, 2})
	files["notes.txt"] = []byte("call Ann")
	files[secondFile+newSuffix] = []byte("a draft")
	fsys := files.with(t, "", nil)
	l := mustOpen(t, fsys, "dead", Config{})
	checkThere(t, l, 1, 2)
	l.Close()
	now := imageOf(t, fsys)
	if _, there := now[secondFile+newSuffix]; there || now["notes.txt"] == nil {
		t.Errorf("there are the files %v", slices.Sorted(maps.Keys(now)))
	}
	now[thirdFile] = now[firstFile]
	wantDamage(t, now.with(t, "", nil), thirdFile)
}

// TestSkipMissing: an operator gets everything that is sound, once and for all, and
// keeps what isn't.
func TestSkipMissing(t *testing.T) {
	fsys := diskfault.New()
	for _, group := range [][]int{{1, 2}, {3, 4, 6}, {7, 8}} {
		l := mustOpen(t, fsys, "dead", Config{})
		mustAdd(t, l, group[0])
		mustAdd(t, l, group[1:]...)
		l.Close()
	}
	mustOpen(t, fsys, "dead", Config{}).Close()
	files := imageOf(t, fsys) // 1; 2, 3; 4, 6, 7; 8: a start copies the last group
	if len(files) != 4 {
		t.Fatalf("there are the files %v", slices.Sorted(maps.Keys(files)))
	}
	const last = "0000000000000004.letters"
	f := func(name string, data []byte, want ...int) {
		t.Helper()
		fsys := files.with(t, name, data)
		wantDamage(t, fsys, name)
		l := mustOpen(t, fsys, "dead", Config{SkipMissing: true})
		skipped := l.Skipped()
		if other := slices.ContainsFunc(skipped, func(d *DamageError) bool { return d.File != "dead/"+name }); other || len(skipped) == 0 {
			t.Errorf("skipped: %v, want something of %s and nothing else", skipped, name)
		}
		checkThere(t, l, want...)
		mustAdd(t, l, 9)
		l.Close()
		l = mustOpen(t, fsys, "dead", Config{})
		if len(l.Skipped()) > 0 {
			t.Errorf("skipped again: %v", l.Skipped())
		}
		checkThere(t, l, append(want, 9)...)
		if kept := imageOf(t, fsys)[name+damagedSuffix]; data != nil && !slices.Equal(kept, data) {
			t.Error("the damaged file is not kept")
		}
	}
	f(firstFile, flipped(files[firstFile], 20), 2, 3, 4, 6, 7, 8)
	f(firstFile, nil, 2, 3, 4, 6, 7, 8)
	f(secondFile, flipped(files[secondFile], fileHeaderLen+40), 1, 3, 4, 6, 7, 8)
	f(secondFile, files[secondFile][:fileHeaderLen+16], 1, 4, 6, 7, 8)
	f(thirdFile, nil, 1, 2, 3, 4, 6, 8) // the group that was copied is still in the file before
	f(thirdFile, []byte{}, 1, 2, 3, 4, 6, 8)
	f(last, flipped(files[last], 3), 1, 2, 3, 4, 6, 7, 8)
	f(last, files[last][:len(files[last])-8], 1, 2, 3, 4, 6, 7)
}

// TestDamageWhileOpen: a letter that can't be read is no letter, and not copied either.
func TestDamageWhileOpen(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "dead", Config{MinGarbage: 1})
	mustAdd(t, l, 1, 2, 3, 19)
	undo := fsys.Inject(diskfault.Fault{On: diskfault.Read, Flip: true})
	_, err := l.List(t.Context(), "", 10)
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.File != "dead/"+firstFile {
		t.Errorf("List returned %v, want a DamageError", err)
	}
	mustRemove(t, l, 19, 2, 3)
	undo()
	if l.newest().header.number != 1 {
		t.Error("the file was rewritten from damaged letters")
	}
	checkThere(t, l, 1)
}

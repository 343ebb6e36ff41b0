package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/ingest"
)

// bits compares floats as what they are made of.
var bits = cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })

// same is cmp.Equal, much faster.
func same(a, b *ingest.DeadLetter) bool {
	return bytes.Equal(appendLetter(nil, a), appendLetter(nil, b))
}

func idOf(n int) string { return ingest.DeadLetterID(ingest.Sack(n%3), ingest.Offset(n), n%2) }

// numbered makes a letter that follows from its number; those of larger numbers
// that are divisible by 5 take more than a page of the disk.
func numbered(n int) ingest.DeadLetter {
	l := ingest.DeadLetter{
		ID: idOf(n), Sack: ingest.Sack(n % 3), Offset: ingest.Offset(n), RejectedAt: time.Unix(int64(n), 5).UTC(),
		Project: "p", Policy: "low", Reason: fmt.Sprint("reason ", n),
	}
	if n%5 == 0 {
		l.Raw = slices.Repeat([]byte{byte(n), 0xff}, 200*(n%20)+1)
		return l
	}
	l.AcceptedAt, l.Metric = time.Unix(int64(n), 4).UTC(), ingest.MetricID{15: byte(n)}
	for i := range n % 4 {
		l.Measures = append(l.Measures, ingest.Measure{Time: int64(n - i), Value: float64(n) / 3})
	}
	return l
}

func letters(numbers ...int) (list []ingest.DeadLetter) {
	for _, n := range numbers {
		list = append(list, numbered(n))
	}
	return list
}

func ids(numbers ...int) (list []string) {
	for _, n := range numbers {
		list = append(list, idOf(n))
	}
	return list
}

func mustOpen(t testing.TB, fsys disk.FS, dir string, config Config) *Letters {
	t.Helper()
	l, err := Open(fsys, dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAdd(t testing.TB, l *Letters, numbers ...int) {
	t.Helper()
	if err := l.Add(t.Context(), letters(numbers...)); err != nil {
		t.Fatal(err)
	}
}

func mustRemove(t testing.TB, l *Letters, numbers ...int) {
	t.Helper()
	if err := l.Remove(t.Context(), ids(numbers...)); err != nil {
		t.Fatal(err)
	}
}

// everything lists all letters by their ids, in pages.
func everything(t testing.TB, l *Letters) map[string]ingest.DeadLetter {
	t.Helper()
	all := map[string]ingest.DeadLetter{}
	for after := ""; ; {
		page, err := l.List(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, letter := range page {
			if letter.ID <= after {
				t.Fatalf("%s is listed after %s", letter.ID, after)
			}
			after = letter.ID
			all[after] = letter
		}
		if len(page) < 3 {
			break
		}
	}
	if l.Count() != len(all) {
		t.Errorf("Count is %d, and %d letters are listed", l.Count(), len(all))
	}
	return all
}

// checkThere holds the letters to be those, and no others.
func checkThere(t testing.TB, l *Letters, numbers ...int) {
	t.Helper()
	want := map[string]ingest.DeadLetter{}
	for _, n := range numbers {
		want[idOf(n)] = numbered(n)
	}
	if diff := cmp.Diff(want, everything(t, l), bits); diff != "" {
		t.Fatalf("letters differ (-want +got):\n%s", diff)
	}
}

// disks are where the tests of the contract run.
func disks(t *testing.T, test func(t *testing.T, fsys disk.FS, dir string)) {
	t.Run("real disk", func(t *testing.T) { test(t, disk.OS{}, filepath.Join(t.TempDir(), "a", "dead")) })
	t.Run("in memory", func(t *testing.T) { test(t, diskfault.New(), "a/dead") })
}

func TestLetters(t *testing.T) {
	disks(t, func(t *testing.T, fsys disk.FS, dir string) {
		l := mustOpen(t, fsys, dir, Config{})
		checkThere(t, l)
		mustAdd(t, l)
		mustAdd(t, l, 7, 3, 10, 3) // 3 twice
		other := numbered(7)
		other.Reason = "another"
		if err := l.Add(t.Context(), []ingest.DeadLetter{other, numbered(1)}); err != nil {
			t.Fatal(err)
		}
		checkThere(t, l, 1, 3, 7, 10)
		mustRemove(t, l, 3, 99, 3)
		mustRemove(t, l, 3)
		mustRemove(t, l)
		checkThere(t, l, 1, 7, 10)
		mustAdd(t, l, 3)
		checkThere(t, l, 1, 3, 7, 10)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, fsys, dir, Config{})
		checkThere(t, l, 1, 3, 7, 10)
		mustRemove(t, l, 1, 7)
		mustAdd(t, l, 2)
		l.Close()
		checkThere(t, mustOpen(t, fsys, dir, Config{}), 2, 3, 10)
	})
}

// TestList: what is given need not be an id, and is not listed itself.
func TestList(t *testing.T) {
	l := mustOpen(t, diskfault.New(), "dead", Config{})
	var all []string
	for _, sack := range []ingest.Sack{2, 0, 1} {
		for offset := range ingest.Offset(300) {
			id := ingest.DeadLetterID(sack, offset, 1)
			all = append(all, id)
			if offset%100 == 99 {
				var some []ingest.DeadLetter
				for _, id := range all[len(all)-100:] {
					some = append(some, ingest.DeadLetter{ID: id})
				}
				if err := l.Add(t.Context(), some); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	slices.Sort(all)
	f := func(after string, limit int, want []string) {
		t.Helper()
		page, err := l.List(t.Context(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, letter := range page {
			got = append(got, letter.ID)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("List(%q, %d) differs (-want +got):\n%s", after, limit, diff)
		}
	}
	f("", 2, all[:2])
	f("", 10_000, all)
	f("", 0, nil)
	f("", -1, nil)
	f("\xff", 10, nil)
	f("0001-", 1, all[300:301])
	for _, i := range []int{0, 1, 255, 256, 299, 300, 511, 512, 700} {
		f(all[i], 3, all[i+1:i+4])
		f(strings.TrimSuffix(all[i], "-0001"), 2, all[i:i+2]) // what api asks for one letter with
	}
	f(all[898], 5, all[899:])
	f(all[899], 5, nil)
}

func TestBadIDs(t *testing.T) {
	l := mustOpen(t, diskfault.New(), "dead", Config{})
	for _, id := range []string{"", strings.Repeat("x", maxID+1)} {
		if err := l.Add(t.Context(), []ingest.DeadLetter{numbered(1), {ID: id}}); err == nil {
			t.Errorf("Add of id %q succeeded", id)
		}
	}
	long := ingest.DeadLetter{ID: "x", Raw: make([]byte, maxPayload)}
	if err := l.Add(t.Context(), []ingest.DeadLetter{numbered(1), long}); err == nil {
		t.Error("Add of 16 MiB succeeded")
	}
	checkThere(t, l)
	mustAdd(t, l, 1)
	checkThere(t, l, 1)
}

// TestLargeLetters: all that one record can hold, and more than a scanner's window.
func TestLargeLetters(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "dead", Config{})
	raw := ingest.DeadLetter{ID: "raw", Raw: slices.Repeat([]byte("\x00record\xff"), ingest.MaxRecord/8)}
	many := ingest.DeadLetter{ID: "many", Measures: make([]ingest.Measure, ingest.MaxRecord/9)}
	for i := range many.Measures {
		many.Measures[i] = ingest.Measure{Time: math.MaxInt64 - int64(i), Value: math.Float64frombits(uint64(i) * 0x9e3779b97f4a7c15)}
	}
	want := map[string]ingest.DeadLetter{"raw": raw, "many": many}
	if err := l.Add(t.Context(), slices.Collect(maps.Values(want))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := everything(t, l)
		for id, letter := range want {
			if back := got[id]; !same(&letter, &back) {
				t.Errorf("letter %s differs", id)
			}
		}
		l.Close()
		l = mustOpen(t, fsys, "dead", Config{})
	}
}

func TestBounds(t *testing.T) {
	const size = 88 // of a letter with an id of four digits and nothing else
	f := func(config Config, fits int) {
		t.Helper()
		l := mustOpen(t, diskfault.New(), "dead", config)
		n := 0
		add := func(n int) error {
			return l.Add(t.Context(), []ingest.DeadLetter{{ID: fmt.Sprintf("%04d", n)}, {ID: fmt.Sprintf("%04d", n+1)}})
		}
		for ; n <= fits && add(2*n) == nil; n++ {
		}
		if err := add(2 * n); n != fits || !errors.Is(err, ErrFull) || ingest.IsPermanent(err) {
			t.Errorf("%d calls fit into %+v, want %d; then Add returned %v", n, config, fits, err)
		}
		if got := l.Count(); got != 2*fits {
			t.Errorf("there are %d letters, want %d: all of a call or none", got, 2*fits)
		}
		if err := add(0); err != nil { // nothing is asked of the bounds
			t.Errorf("Add of what is there returned %v", err)
		}
		if err := l.Remove(t.Context(), []string{"0000", "0003"}); err != nil {
			t.Error(err)
		}
		if err := add(2 * n); err != nil {
			t.Errorf("with room again Add returned %v", err)
		}
	}
	f(Config{MaxLetters: 7}, 3)
	f(Config{MaxBytes: 8 * size}, 4)
	f(Config{MaxBytes: 10*size - 1}, 4)
	if _, err := Open(diskfault.New(), "dead", Config{MaxBytes: -1}); err == nil {
		t.Error("Open with a negative bound succeeded")
	}
}

func TestClosed(t *testing.T) {
	disks(t, func(t *testing.T, fsys disk.FS, dir string) {
		l := mustOpen(t, fsys, dir, Config{})
		mustAdd(t, l, 1)
		if _, err := Open(fsys, dir, Config{}); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("a second Open returned %v, want ErrLocked", err)
		}
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Add(t.Context(), letters(2)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Add returned %v, want fs.ErrClosed", err)
		}
		if err := l.Remove(t.Context(), ids(2)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Remove returned %v, want fs.ErrClosed", err)
		}
		if _, err := l.List(t.Context(), "", 1); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("List returned %v, want fs.ErrClosed", err)
		}
		checkThere(t, mustOpen(t, fsys, dir, Config{}), 1)
	})
}

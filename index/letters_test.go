package index

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/ingest"
)

// sameBits compares floats as what they are made of.
var sameBits = cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })

func letterID(n int) string {
	return ingest.DeadLetterID(ingest.Sack(n%3), ingest.Offset(n), n%2)
}

// letterOf makes a letter that follows from its number; one in five can't be read.
func letterOf(n int) ingest.DeadLetter {
	l := ingest.DeadLetter{
		ID: letterID(n), Sack: ingest.Sack(n % 3), Offset: ingest.Offset(n), RejectedAt: time.Unix(int64(n), 5).UTC(),
		Project: "p", Policy: "low", Reason: fmt.Sprint("reason ", n),
	}
	if n%5 == 0 {
		l.Raw = slices.Repeat([]byte{byte(n), 0, 0xff}, 200*(n%20)+1)
		return l
	}
	l.AcceptedAt, l.Metric = time.Unix(int64(n), 4).UTC(), ingest.MetricID{15: byte(n)}
	for i := range n % 4 {
		value := []float64{float64(n) / 3, math.NaN(), math.Inf(-1)}[i]
		l.Measures = append(l.Measures, ingest.Measure{Time: int64(n - i), Value: value})
	}
	return l
}

func lettersOf(numbers ...int) (list []ingest.DeadLetter) {
	for _, n := range numbers {
		list = append(list, letterOf(n))
	}
	return list
}

func letterIDs(numbers ...int) (list []string) {
	for _, n := range numbers {
		list = append(list, letterID(n))
	}
	return list
}

// allLetters lists them in pages, by their ids.
func allLetters(t *testing.T, l *Letters) map[string]ingest.DeadLetter {
	t.Helper()
	all := map[string]ingest.DeadLetter{}
	for after := ""; ; {
		page := value(l.List(t.Context(), after, 3))(t)
		if len(page) == 0 {
			break
		}
		for _, letter := range page {
			if letter.ID <= after {
				t.Fatalf("%s is listed after %s", letter.ID, after)
			}
			after = letter.ID
			all[after] = letter
		}
	}
	return all
}

func checkLetters(t *testing.T, l *Letters, numbers ...int) {
	t.Helper()
	want := map[string]ingest.DeadLetter{}
	for _, n := range numbers {
		want[letterID(n)] = letterOf(n)
	}
	if diff := cmp.Diff(want, allLetters(t, l), sameBits); diff != "" {
		t.Fatalf("letters differ (-want +got):\n%s", diff)
	}
	if l.Count() != len(numbers) {
		t.Errorf("Count is %d, and there are %d letters", l.Count(), len(numbers))
	}
}

// testLetters adds and removes letters, and looks at them from another process.
func testLetters(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	other := untold(t, open)
	l := x.Letters()
	checkLetters(t, l)
	must(t, l.Add(ctx, nil))
	must(t, l.Add(ctx, lettersOf(7, 3, 10, 3))) // 3 twice
	again := letterOf(7)
	again.Reason = "another"
	must(t, other.Letters().Add(ctx, []ingest.DeadLetter{again, letterOf(1)}))
	checkLetters(t, other.Letters(), 1, 3, 7, 10)
	must(t, other.Letters().Remove(ctx, letterIDs(3, 99, 3)))
	must(t, x.poll(ctx))
	must(t, l.Remove(ctx, letterIDs(3)))
	must(t, l.Remove(ctx, nil))
	checkLetters(t, l, 1, 7, 10)
	must(t, l.Add(ctx, lettersOf(3)))
	checkLetters(t, l, 1, 3, 7, 10)
	must(t, other.poll(ctx))
	checkLetters(t, other.Letters(), 1, 3, 7, 10)
	checkLetters(t, open(Config{}).Letters(), 1, 3, 7, 10)
}

// testLetterPages: what is given need not be an id, and is not listed itself.
func testLetterPages(t *testing.T, open opener) {
	l, ctx := open(Config{}).Letters(), t.Context()
	var all []string
	for _, sack := range []ingest.Sack{2, 0, 1} {
		var some []ingest.DeadLetter
		for offset := range ingest.Offset(100) {
			some = append(some, ingest.DeadLetter{ID: ingest.DeadLetterID(sack, offset, 1)})
			all = append(all, some[offset].ID)
		}
		must(t, l.Add(ctx, some))
	}
	slices.Sort(all)
	f := func(after string, limit int, want []string) {
		t.Helper()
		got := []string{}
		for _, letter := range value(l.List(ctx, after, limit))(t) {
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
	f("~", 10, nil)
	f("0001-", 1, all[100:101])
	for _, i := range []int{0, 1, 98, 99, 100, 255} {
		f(all[i], 3, all[i+1:i+4])
		f(strings.TrimSuffix(all[i], "-0001"), 2, all[i:i+2]) // what api asks for one letter with
	}
	f(all[298], 5, all[299:])
	f(all[299], 5, nil)
}

// testOddLetters: all that one record can hold, more than a page, and what no
// database can hold.
func testOddLetters(t *testing.T, open opener) {
	l, ctx := open(Config{}).Letters(), t.Context()
	for _, id := range []string{"", strings.Repeat("x", maxLetterID+1), "a\x00"} {
		if err := l.Add(ctx, []ingest.DeadLetter{letterOf(1), {ID: id}}); err == nil {
			t.Errorf("Add of id %q succeeded", id)
		}
	}
	checkLetters(t, l)

	want := map[string]ingest.DeadLetter{}
	for i := range 24 {
		raw := ingest.DeadLetter{ID: fmt.Sprintf("raw %02d", i), Raw: slices.Repeat([]byte("\x00record\xff"),
			ingest.MaxRecord/8)}
		want[raw.ID] = raw
	}
	many := ingest.DeadLetter{ID: "many", Measures: make([]ingest.Measure, ingest.MaxRecord/9)}
	for i := range many.Measures {
		many.Measures[i] = ingest.Measure{Time: math.MaxInt64 - int64(i),
			Value: math.Float64frombits(uint64(i) * 0x9e3779b97f4a7c15)}
	}
	want["many"] = many
	must(t, l.Add(ctx, slices.Collect(maps.Values(want))))
	if page := value(l.List(ctx, "", 100))(t); len(page) < 2 || len(page) > 18 {
		t.Errorf("a page of letters of a megabyte has %d", len(page))
	}
	same := func(a, b ingest.DeadLetter) bool { // cmp takes a minute
		return a.ID == b.ID && bytes.Equal(a.Raw, b.Raw) && bytes.Equal(encodeMeasures(a.Measures),
			encodeMeasures(b.Measures))
	}
	if got := allLetters(t, l); !maps.EqualFunc(want, got, same) {
		t.Error("large letters differ")
	}

	must(t, l.Add(ctx, []ingest.DeadLetter{{ID: "~", Project: "\xffp", Policy: "a\x00b", Reason: "ä\x00\xc3"}}))
	odd := value(l.List(ctx, "raw 99", 1))(t)[0]
	if odd.Project != "\ufffdp" || odd.Policy != "a\ufffdb" || odd.Reason != "ä\ufffd\ufffd" {
		t.Errorf("texts that can't be held became %q, %q, %q", odd.Project, odd.Policy, odd.Reason)
	}
}

func testLetterBounds(t *testing.T, open opener) {
	ctx := t.Context()
	f := func(config Config, prefix string, fits int) {
		t.Helper()
		x := open(config)
		l := x.Letters()
		add := func(n int) error {
			return l.Add(ctx, []ingest.DeadLetter{{ID: fmt.Sprintf("%s%04d", prefix, n)},
				{ID: fmt.Sprintf("%s%04d", prefix, n+1)}})
		}
		n := 0
		for ; n <= fits && add(2*n) == nil; n++ {
		}
		if err := add(2 * n); n != fits || !errors.Is(err, ErrLettersFull) || ingest.IsPermanent(err) ||
			errors.Is(err, ErrUnavailable) {
			t.Errorf("%d calls fit into %+v, want %d; then Add returned %v", n, config, fits, err)
		}
		if got := x.count(t, "dead_letters"); got != int64(2*fits) {
			t.Errorf("there are %d letters, want %d: all of a call or none", got, 2*fits)
		}
		must(t, add(0)) // Nothing is asked of the bounds.
		must(t, l.Remove(ctx, []string{prefix + "0000", prefix + "0003"}))
		must(t, add(2*n))
		for page := value(l.List(ctx, "", 10))(t); len(page) > 0; page = value(l.List(ctx, "", 10))(t) {
			for i := range page {
				must(t, l.Remove(ctx, []string{page[i].ID}))
			}
		}
	}
	const size = letterOverhead + 5
	f(Config{MaxLetters: 7}, "a", 3)
	f(Config{MaxLetterBytes: 8 * size}, "b", 4)
	f(Config{MaxLetterBytes: 10*size - 1}, "c", 4)
}

// testLettersConcurrently has processes add the same and other letters, and remove
// some, at the same time.
func testLettersConcurrently(t *testing.T, open opener) {
	indexes, ctx := []*Index{open(Config{}), open(Config{})}, t.Context()
	var running sync.WaitGroup
	for n := range 8 {
		l := indexes[n%2].Letters()
		running.Go(func() {
			for i := range 20 {
				must(t, l.Add(ctx, lettersOf(2*i, 2*i+1)))
				must(t, l.Remove(ctx, letterIDs(2*i)))
			}
		})
	}
	running.Wait()
	x := indexes[0]
	for i := range 20 {
		must(t, x.Letters().Remove(ctx, letterIDs(2*i)))
	}
	odd := make([]int, 20)
	for i := range odd {
		odd[i] = 2*i + 1
	}
	checkLetters(t, x.Letters(), odd...)
	var bytes, want int64
	must(t, x.database.reading().row(ctx, []any{&bytes, &want},
		`SELECT letter_bytes, (SELECT sum(bytes) FROM dead_letters) FROM state`))
	if bytes != want {
		t.Errorf("letters are counted for %d bytes, want %d", bytes, want)
	}
}

// testDamagedLetters lists letters that something else has changed.
func testDamagedLetters(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	l := x.Letters()
	for column, want := range map[string]string{"measures": "its measures take 3 bytes", "metric": "a UUID of 3 bytes"} {
		must(t, l.Add(ctx, lettersOf(7)))
		_, err := x.database.transact(ctx, func(s session) error {
			_, err := s.exec(ctx, `UPDATE dead_letters SET `+column+` = ?`, []byte("abc"))
			return err
		})
		must(t, err)
		if _, err := l.List(ctx, "", 10); err == nil || !strings.Contains(err.Error(), "dead letter "+letterID(7)+": "+
			want) {
			t.Errorf("damaged %s: %v", column, err)
		}
		must(t, l.Remove(ctx, letterIDs(7)))
	}
	must(t, x.Close())
	for _, err := range []error{l.Add(ctx, lettersOf(1)), l.Remove(ctx, letterIDs(1)), second(l.List(ctx, "", 1))} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("a closed index: %v", err)
		}
	}
}

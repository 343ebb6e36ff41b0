package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/drivers/carbonara"
)

func testPut(t *testing.T, s carbonara.Store) {
	data := noise(20_000)
	put(t, s, "sack/3/01HXYZ.parquet", data)
	put(t, s, "layout.json", []byte("{}"))
	put(t, s, "a/b/c/d/e-f_g.h", []byte("deep"))
	expect(t, s, "sack/3/01HXYZ.parquet", data, "")
	expect(t, s, "layout.json", []byte("{}"), "")
	expect(t, s, "a/b/c/d/e-f_g.h", []byte("deep"), "")
}

func testPutEmpty(t *testing.T, s carbonara.Store) {
	put(t, s, "sack/1/empty", nil)
	expect(t, s, "sack/1/empty", nil, "")
	c, err := s.Read(t.Context(), "sack/1/empty", "", []carbonara.Range{{Off: 0, Len: 10}, {Off: -1, Len: 10}})
	if err != nil || c.Size != 0 || len(c.Data) != 2 || len(c.Data[0])+len(c.Data[1]) != 0 {
		t.Errorf("ranges of an empty object: %+v, %v", c, err)
	}
	expectList(t, s, "sack/1/", carbonara.Object{Name: "sack/1/empty"})
}

func testPutLarge(t *testing.T, s carbonara.Store) {
	data := noise(int(min(s.Traits().MaxObject, 8<<20)))
	put(t, s, "sack/1/large", data)
	expect(t, s, "sack/1/large", data, "")
	expectList(t, s, "sack/1/", carbonara.Object{Name: "sack/1/large", Size: int64(len(data))})
}

func testPutTooLarge(t *testing.T, s carbonara.Store) {
	if s.Traits().MaxObject > 64<<20 {
		t.Skipf("an object may have %d bytes: more would take too long", s.Traits().MaxObject)
	}
	if err := s.Put(t.Context(), "sack/1/large", make([]byte, s.Traits().MaxObject+1)); err == nil {
		t.Errorf("Put of %d bytes: no error, and %d are allowed", s.Traits().MaxObject+1, s.Traits().MaxObject)
	}
	expectMissing(t, s, "sack/1/large")
}

// testPutKeepsNothing: the slice is the caller's again when Put returns.
func testPutKeepsNothing(t *testing.T, s carbonara.Store) {
	buf := make([]byte, 4000)
	for i := range 4 {
		for j := range buf {
			buf[j] = byte('a' + i)
		}
		put(t, s, fmt.Sprintf("sack/1/%d", i), buf)
	}
	for i := range 4 {
		expect(t, s, fmt.Sprintf("sack/1/%d", i), bytes.Repeat([]byte{byte('a' + i)}, len(buf)), "")
	}
}

// testPutAgain: whoever doesn't know whether a Put has happened may do the same again.
func testPutAgain(t *testing.T, s carbonara.Store) {
	put(t, s, "sack/1/x", []byte("same"))
	put(t, s, "sack/1/x", []byte("same"))
	expect(t, s, "sack/1/x", []byte("same"), "")
	expectList(t, s, "sack/1/", carbonara.Object{Name: "sack/1/x", Size: 4})
}

// testPutIsWholeOrAbsent reads and lists an object while it is being put, also when that
// is given up half way.
func testPutIsWholeOrAbsent(t *testing.T, s carbonara.Store) {
	data := noise(int(min(s.Traits().MaxObject, 1<<20)))
	for i := range 6 {
		name := fmt.Sprintf("sack/1/%d", i)
		ctx, cancel := context.WithCancel(t.Context())
		if i%2 == 1 {
			ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		}
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			err = s.Put(ctx, name, data)
		}()
		for putting := true; putting; {
			select {
			case <-done:
				putting = false
			default:
			}
			wholeOrAbsent(t, s, name, data)
		}
		cancel()
		if i%2 == 0 && err != nil {
			t.Errorf("Put: %v", err)
		}
		if err == nil {
			expect(t, s, name, data, "")
		}
	}
}

func wholeOrAbsent(t *testing.T, s carbonara.Store, name string, data []byte) {
	t.Helper()
	c, err := s.Read(t.Context(), name, "", nil)
	if err == nil && !bytes.Equal(c.Data[0], data) {
		t.Fatalf("%d bytes of an object of %d, or others, are visible", len(c.Data[0]), len(data))
	}
	if err != nil && !errors.Is(err, carbonara.ErrNotFound) {
		t.Fatalf("Read %s: %v", name, err)
	}
	list, err := s.List(t.Context(), "sack/1/")
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, o := range list {
		if o.Size != int64(len(data)) {
			t.Fatalf("%s is listed with %d bytes of %d", o.Name, o.Size, len(data))
		}
	}
}

func testReadMissing(t *testing.T, s carbonara.Store) {
	expectMissing(t, s, "sack/1/none")
	put(t, s, "sack/1/some", []byte("x"))
	expectMissing(t, s, "sack/1/som")
	expectMissing(t, s, "sack/1/some1")
	expectMissing(t, s, "sack/1")
	expectMissing(t, s, "sack/1/some/deeper")
	expectMissing(t, s, "some")
}

func testReadRanges(t *testing.T, s carbonara.Store) {
	data := noise(10_000)
	put(t, s, "sack/1/x", data)
	f := func(ranges ...carbonara.Range) {
		t.Helper()
		c, err := s.Read(t.Context(), "sack/1/x", "", ranges)
		if err != nil {
			t.Errorf("%v: %v", ranges, err)
			return
		}
		if c.Size != int64(len(data)) || len(c.Data) != len(ranges) {
			t.Errorf("%v: size %d and %d slices; want %d and %d", ranges, c.Size, len(c.Data), len(data), len(ranges))
			return
		}
		for i, r := range ranges {
			begin := min(r.Off, c.Size)
			if r.Off < 0 {
				begin = max(0, c.Size-r.Len)
			}
			if want := data[begin:min(begin+r.Len, c.Size)]; !bytes.Equal(c.Data[i], want) {
				t.Errorf("%v: slice %d is %s; want %s", ranges, i, sketch(c.Data[i]), sketch(want))
			}
		}
	}
	f(carbonara.Range{Off: 0, Len: 1})
	f(carbonara.Range{Off: 0, Len: 10_000})
	f(carbonara.Range{Off: 0, Len: 10_001})
	f(carbonara.Range{Off: 9_999, Len: 1})
	f(carbonara.Range{Off: 9_999, Len: 2})
	f(carbonara.Range{Off: 10_000, Len: 1})
	f(carbonara.Range{Off: 10_001, Len: 100})
	f(carbonara.Range{Off: 1 << 40, Len: 1 << 40})
	f(carbonara.Range{Off: 5_000, Len: 1 << 40})
	f(carbonara.Range{Off: -1, Len: 1})
	f(carbonara.Range{Off: -1, Len: 8})
	f(carbonara.Range{Off: -8, Len: 8}) // what is negative makes no difference
	f(carbonara.Range{Off: -1, Len: 10_000})
	f(carbonara.Range{Off: -1, Len: 1 << 40})
	f(carbonara.Range{Off: 10, Len: 20}, carbonara.Range{Off: 4_000, Len: 4_096})
	// any order, overlapping
	f(carbonara.Range{Off: 4_000, Len: 100}, carbonara.Range{Off: 10, Len: 5_000}, carbonara.Range{Off: 4_050, Len: 100})
	f(carbonara.Range{Off: 7, Len: 7}, carbonara.Range{Off: 10_000, Len: 7}, carbonara.Range{Off: -1, Len: 7},
		carbonara.Range{Off: 7, Len: 7})
	var many []carbonara.Range
	for i := range int64(100) {
		many = append(many, carbonara.Range{Off: i * 100, Len: 10})
	}
	f(many...)
}

// testReadIsTheCallers: what Read returned may be written to.
func testReadIsTheCallers(t *testing.T, s carbonara.Store) {
	data := noise(100)
	put(t, s, "sack/1/x", data)
	c, err := s.Read(t.Context(), "sack/1/x", "", []carbonara.Range{{Off: 0, Len: 50}, {Off: 25, Len: 50}})
	if err != nil {
		t.Fatal(err)
	}
	clear(c.Data[0])
	if !bytes.Equal(c.Data[1], data[25:75]) {
		t.Error("two ranges share memory")
	}
	whole, _ := read(t, s, "sack/1/x")
	clear(whole)
	expect(t, s, "sack/1/x", data, "")
}

// testReadUnless: who has a state already is told that it still counts, or gets another.
func testReadUnless(t *testing.T, s carbonara.Store) {
	some := []carbonara.Range{{Off: 0, Len: 2}}
	unless := func(name string, version carbonara.Version, want error, data string) {
		t.Helper()
		for _, ranges := range [][]carbonara.Range{nil, some} {
			c, err := s.Read(t.Context(), name, version, ranges)
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("Read %s unless %q: %v; want %v", name, version, err, want)
			}
			if want != nil && len(c.Data) > 0 {
				t.Errorf("Read %s unless %q: %d slices and %v", name, version, len(c.Data), err)
			}
			if want == nil && err == nil && (len(c.Data) != 1 || string(c.Data[0]) != data[:len(c.Data[0])]) {
				t.Errorf("Read %s unless %q: %q; want %q", name, version, c.Data, data)
			}
		}
	}
	first := swap(t, s, manifest, "", "one")
	unless(manifest, first, carbonara.ErrUnchanged, "")
	unless(manifest, "", nil, "one")
	second := swap(t, s, manifest, first, "two")
	unless(manifest, first, nil, "two")
	unless(manifest, second, carbonara.ErrUnchanged, "")
	_, version := read(t, s, manifest)
	unless(manifest, version, carbonara.ErrUnchanged, "")
	unless("sack/1/none", first, carbonara.ErrNotFound, "")
	put(t, s, "sack/1/x", []byte("xyz"))
	unless("sack/1/x", second, nil, "xyz")
	if err := s.Delete(t.Context(), []string{manifest}); err != nil {
		t.Fatal(err)
	}
	unless(manifest, second, carbonara.ErrNotFound, "")
}

func testList(t *testing.T, s carbonara.Store) {
	expectList(t, s, "sack/1/")
	before := time.Now()
	// Not "sack/1/a" as well: that would be more than a store of files can do.
	for _, name := range []string{"sack/1/b", "sack/1/a-b", "sack/1/a/b", "sack/1/a.b", "sack/1/Z", "sack/1/deep/er/x",
		"sack/2/x", "other"} {
		put(t, s, name, []byte(name))
	}
	object := func(name string) carbonara.Object { return carbonara.Object{Name: name, Size: int64(len(name))} }
	expectList(t, s, "sack/1/", object("sack/1/Z"), object("sack/1/a-b"), object("sack/1/a.b"), object("sack/1/a/b"),
		object("sack/1/b"), object("sack/1/deep/er/x"))
	expectList(t, s, "sack/1/deep/", object("sack/1/deep/er/x"))
	expectList(t, s, "sack/3/")

	list, err := s.List(t.Context(), "sack/1/")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list { // the clock may be that of another machine
		if d := o.Modified.Sub(before); d < -time.Hour || d > time.Hour {
			t.Errorf("%s was modified at %s, and it is %s", o.Name, o.Modified, before)
		}
	}
}

// testListNeighbours: the prefix of sack 1 is not that of sack 10.
func testListNeighbours(t *testing.T, s carbonara.Store) {
	for _, name := range []string{"sack/1/x", "sack/10/x", "sack/11/x", "sack/1-/x", "sack/1.x"} {
		put(t, s, name, nil)
	}
	expectList(t, s, "sack/1/", carbonara.Object{Name: "sack/1/x"})
	expectList(t, s, "sack/10/", carbonara.Object{Name: "sack/10/x"})
}

// testListMany lists more than one answer of some stores can hold.
func testListMany(t *testing.T, s carbonara.Store) {
	const many = 1_100
	var want []carbonara.Object
	for i := range many {
		want = append(want, carbonara.Object{Name: fmt.Sprintf("sack/1/%04d", i), Size: int64(i % 7)})
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < many; i += 8 {
				if err := s.Put(t.Context(), want[i].Name, make([]byte, want[i].Size)); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	expectList(t, s, "sack/1/", want...)

	names := make([]string, many)
	for i := range names {
		names[i] = want[i].Name
	}
	for batch := range slices.Chunk(names, s.Traits().DeleteBatch) {
		if err := s.Delete(t.Context(), batch); err != nil {
			t.Errorf("Delete of %d objects: %v", len(batch), err)
		}
	}
	expectList(t, s, "sack/1/")
}

func testDelete(t *testing.T, s carbonara.Store) {
	for _, name := range []string{"sack/1/a", "sack/1/b", "sack/2/c"} {
		put(t, s, name, []byte(name))
	}
	version := swap(t, s, "sack/1/manifest.json", "", "{}")
	if err := s.Delete(t.Context(), nil); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if err := s.Delete(t.Context(), []string{"sack/1/a", "sack/1/none", "none/at/all", "sack/2/c"}); err != nil {
		t.Errorf("Delete: %v", err)
	}
	expectMissing(t, s, "sack/1/a")
	expectMissing(t, s, "sack/2/c")
	expect(t, s, "sack/1/b", []byte("sack/1/b"), "")
	if err := s.Delete(t.Context(), []string{"sack/1/a", "sack/1/manifest.json", "sack/1/manifest.json"}); err != nil {
		t.Errorf("Delete again: %v", err)
	}
	expectList(t, s, "sack/1/", carbonara.Object{Name: "sack/1/b", Size: 8})
	if _, err := s.Swap(t.Context(), "sack/1/manifest.json", version, nil, nil); !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap of what has been deleted: %v; want ErrChanged", err)
	}
	if again := swap(t, s, "sack/1/manifest.json", "", "{ }"); again == version {
		t.Errorf("version %q was used before the deletion", again)
	}
}

func testCancelled(t *testing.T, s carbonara.Store) {
	put(t, s, "sack/1/x", []byte("x"))
	version := swap(t, s, "sack/1/manifest.json", "", "old")
	ctx := cancelled(t)
	for what, err := range calls(ctx, s, version) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", what, err)
		}
	}
	expectMissing(t, s, "sack/1/new")
	expect(t, s, "sack/1/x", []byte("x"), "")
	expect(t, s, "sack/1/manifest.json", []byte("old"), version)
}

func testClose(t *testing.T, s carbonara.Store) {
	put(t, s, "sack/1/x", []byte("x"))
	version := swap(t, s, "sack/1/manifest.json", "", "old")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for what, err := range calls(t.Context(), s, version) {
		if err == nil || errors.Is(err, carbonara.ErrNotFound) || errors.Is(err, carbonara.ErrChanged) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// calls makes one call of each sort and returns the errors.
func calls(ctx context.Context, s carbonara.Store, version carbonara.Version) map[string]error {
	errs := map[string]error{
		"Put":    s.Put(ctx, "sack/1/new", []byte("new")),
		"Delete": s.Delete(ctx, []string{"sack/1/x"}),
	}
	_, errs["Read"] = s.Read(ctx, "sack/1/x", "", nil)
	_, errs["Swap"] = s.Swap(ctx, "sack/1/manifest.json", version, []byte("new"), nil)
	_, errs["List"] = s.List(ctx, "sack/1/")
	return errs
}

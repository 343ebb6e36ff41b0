package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"millrace/drivers/carbonara"
)

const manifest = "sack/1/manifest.json"

func testSwap(t *testing.T, s carbonara.Store) {
	expectMissing(t, s, manifest)
	first := swap(t, s, manifest, "", "one")
	expect(t, s, manifest, []byte("one"), first)
	second := swap(t, s, manifest, first, "two, and longer")
	expect(t, s, manifest, []byte("two, and longer"), second)
	third := swap(t, s, manifest, second, "3")
	expect(t, s, manifest, []byte("3"), third)
	fourth := swap(t, s, manifest, third, "")
	expect(t, s, manifest, nil, fourth)
	swap(t, s, manifest, fourth, string(noise(int(min(s.Traits().MaxObject, 4<<20)))))

	// A range comes with the version of the same state, or with none.
	c, err := s.Read(t.Context(), manifest, "", []carbonara.Range{{Off: 0, Len: 2}})
	if _, version := read(t, s, manifest); err != nil || len(c.Data[0]) != 2 || c.Version != "" && c.Version != version {
		t.Errorf("a range of a swapped object: version %q, %v; want version %q", c.Version, err, version)
	}
}

func testSwapStale(t *testing.T, s carbonara.Store) {
	stale := func(old carbonara.Version) {
		t.Helper()
		if version, err := s.Swap(t.Context(), manifest, old, []byte("never"), nil); !errors.Is(err, carbonara.ErrChanged) {
			t.Errorf("Swap from version %q: version %q, %v; want ErrChanged", old, version, err)
		}
	}
	first := swap(t, s, manifest, "", "one")
	stale("")
	second := swap(t, s, manifest, first, "two")
	stale("")
	stale(first)
	expect(t, s, manifest, []byte("two"), second)
	third := swap(t, s, manifest, second, "three")
	stale(first)
	stale(second)
	expect(t, s, manifest, []byte("three"), third)

	_, err := s.Swap(t.Context(), "sack/2/manifest.json", third, []byte("never"), nil)
	if !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap of what doesn't exist, from a version of something else: %v; want ErrChanged", err)
	}
	expectMissing(t, s, "sack/2/manifest.json")
}

func testSwapKeepsNothing(t *testing.T, s carbonara.Store) {
	buf := []byte("mine")
	version, err := s.Swap(t.Context(), manifest, "", buf, nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(buf, "XXXX")
	expect(t, s, manifest, []byte("mine"), version)
}

// testSwapContention: of two swappers who saw the same version one wins, and both know
// who.
func testSwapContention(t *testing.T, s carbonara.Store) {
	const rounds, swappers = 20, 2
	var version carbonara.Version
	for round := range rounds {
		var versions [swappers]carbonara.Version
		var errs [swappers]error
		var wg sync.WaitGroup
		for i := range swappers {
			wg.Go(func() {
				versions[i], errs[i] = s.Swap(t.Context(), manifest, version, fmt.Appendf(nil, "round %d swapper %d", round, i),
					nil)
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: both have won", round)
			case err == nil:
				winner = i
			case !errors.Is(err, carbonara.ErrChanged):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: both have lost", round)
		}
		version = versions[winner]
		expect(t, s, manifest, fmt.Appendf(nil, "round %d swapper %d", round, winner), version)
	}
}

// testSwapCounter counts with several counters that know nothing of each other.
func testSwapCounter(t *testing.T, s carbonara.Store) {
	const counters, swaps = 4, 12
	swap(t, s, manifest, "", "0 of none")
	count := func(data []byte) (n int, err error) {
		_, err = fmt.Sscanf(string(data), "%d of ", &n)
		return n, err
	}
	var wg sync.WaitGroup
	for i := range counters {
		wg.Go(func() {
			for done := 0; done < swaps; {
				c, err := s.Read(t.Context(), manifest, "", nil)
				if err != nil {
					t.Errorf("Read: %v", err)
					return
				}
				n, err := count(c.Data[0])
				if err != nil {
					t.Errorf("the counter is %q", c.Data[0])
					return
				}
				_, err = s.Swap(t.Context(), manifest, c.Version, fmt.Appendf(nil, "%d of %d", n+1, i), nil)
				switch {
				case err == nil:
					done++
				case !errors.Is(err, carbonara.ErrChanged):
					t.Errorf("Swap: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	data, _ := read(t, s, manifest)
	if n, err := count(data); err != nil || n != counters*swaps {
		t.Errorf("the counter is %q after %d swaps", data, counters*swaps)
	}
}

// testSwapReadersSeeOneState: what Read returns is one state, with the version of that
// state.
func testSwapReadersSeeOneState(t *testing.T, s carbonara.Store) {
	const swaps = 30
	state := func(i int) []byte { return fmt.Appendf(nil, "%d %s", i, noise(i*100)) }
	var mu sync.Mutex
	versions := map[carbonara.Version]string{}
	seen := map[carbonara.Version]string{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := s.Read(t.Context(), manifest, "", nil)
				if errors.Is(err, carbonara.ErrNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("Read: %v", err)
					return
				}
				mu.Lock()
				if was, ok := seen[c.Version]; ok && was != string(c.Data[0]) {
					t.Errorf("version %q has been %s and %s", c.Version, sketch([]byte(was)), sketch(c.Data[0]))
				}
				seen[c.Version] = string(c.Data[0])
				mu.Unlock()
			}
		})
	}
	var version carbonara.Version
	for i := range swaps {
		version = swap(t, s, manifest, version, string(state(i)))
		versions[version] = string(state(i))
	}
	close(done)
	wg.Wait()
	for version, data := range seen {
		if versions[version] != data {
			t.Errorf("a reader has seen %s as version %q, which is that of %s", sketch([]byte(data)), version,
				sketch([]byte(versions[version])))
		}
	}
}

// testSwapVersionsDiffer: different bytes never have the same version, also where they
// have the same length and differ in little.
func testSwapVersionsDiffer(t *testing.T, s carbonara.Store) {
	used := map[carbonara.Version]int{}
	var version carbonara.Version
	for i := range 30 {
		version = swap(t, s, manifest, version, fmt.Sprintf("state %02d", i))
		if before, ok := used[version]; ok {
			t.Fatalf("version %q of swap %d is that of swap %d", version, i, before)
		}
		used[version] = i
	}
}

func testSwapNamesAreIndependent(t *testing.T, s carbonara.Store) {
	const names, swaps = 8, 10
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			var version carbonara.Version
			var err error
			for j := range swaps {
				if version, err = s.Swap(t.Context(), fmt.Sprintf("sack/%d/manifest.json", i), version,
					fmt.Appendf(nil, "%d of %d", j, i), nil); err != nil {
					t.Errorf("Swap %d of name %d: %v", j, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range names {
		expect(t, s, fmt.Sprintf("sack/%d/manifest.json", i), fmt.Appendf(nil, "%d of %d", swaps-1, i), "")
	}
}

var errLost = errors.New("the answer is lost")

// testSwapLostAnswer: after a swap whose answer was lost Read tells that it has happened,
// and its version takes one further.
func testSwapLostAnswer(t *testing.T, s carbonara.Store) {
	f := NewFaulty(s)
	first := swap(t, f, manifest, "", "one")
	f.Inject(Fault{On: Swap, Many: 1, Err: errLost, Done: true})
	if _, err := f.Swap(t.Context(), manifest, first, []byte("two"), nil); !errors.Is(err, errLost) {
		t.Fatalf("Swap: %v", err)
	}
	// A store that knows the bytes for its own may say so.
	again, err := f.Swap(t.Context(), manifest, first, []byte("two"), nil)
	_, second := read(t, f, manifest)
	if !errors.Is(err, carbonara.ErrChanged) && (err != nil || again != second) {
		t.Errorf("the same Swap again: version %q, %v; want %q, or ErrChanged", again, err, second)
	}
	if _, err := f.Swap(t.Context(), manifest, first, []byte("other"), nil); !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("another Swap from the same version: %v; want ErrChanged", err)
	}
	expect(t, f, manifest, []byte("two"), second)
	third := swap(t, f, manifest, second, "three")
	expect(t, f, manifest, []byte("three"), third)
}

// testSwapNotDone: after a swap that never arrived, Read tells so, and trying it again
// succeeds.
func testSwapNotDone(t *testing.T, s carbonara.Store) {
	f := NewFaulty(s)
	first := swap(t, f, manifest, "", "one")
	f.Inject(Fault{On: Swap, Many: 1, Err: errLost})
	if _, err := f.Swap(t.Context(), manifest, first, []byte("two"), nil); !errors.Is(err, errLost) {
		t.Fatalf("Swap: %v", err)
	}
	expect(t, f, manifest, []byte("one"), first)
	swap(t, f, manifest, first, "two")
}

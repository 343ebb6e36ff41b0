package deadletter

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// TestIndex compares an index with a map, in several orders of growing and shrinking.
func TestIndex(t *testing.T) {
	f := func(name string, next func(i int) int) {
		t.Run(name, func(t *testing.T) {
			luck := rand.New(rand.NewPCG(1, 2))
			var x index
			there := map[string]int64{}
			for i := range 6000 {
				id := fmt.Sprintf("%05d", next(i))
				growing := i < 3000
				switch _, found := there[id]; {
				case x.has(id) != found:
					t.Fatalf("step %d: %s is there: %t, want %t", i, id, !found, found)
				case !found:
					x.insert(entry{id: id, at: int64(i)})
					there[id] = int64(i)
				case !growing:
					e, ok := x.remove(id)
					if !ok || e.at != there[id] {
						t.Fatalf("step %d: removed %+v, %t", i, e, ok)
					}
					delete(there, id)
				}
				if i%100 == 99 {
					checkIndex(t, &x, there, fmt.Sprintf("%05d", luck.IntN(4000)))
				}
			}
			for i := range 4000 { // one in a hundred stays
				if id := fmt.Sprintf("%05d", i); i%100 > 0 {
					x.remove(id)
					delete(there, id)
				}
			}
			checkIndex(t, &x, there, "01000")
			for id := range there {
				x.remove(id)
			}
			checkIndex(t, &x, nil, "")
			if len(x.blocks) > 0 {
				t.Errorf("%d blocks of nothing", len(x.blocks))
			}
		})
	}
	luck := rand.New(rand.NewPCG(3, 4))
	f("ascending", func(i int) int { return i % 3000 })
	f("descending", func(i int) int { return 3000 - i%3000 })
	f("any", func(int) int { return luck.IntN(4000) })
	f("in turns", func(i int) int { return i%3*1000 + i/3%1000 })
}

func checkIndex(t *testing.T, x *index, there map[string]int64, after string) {
	t.Helper()
	want := slices.Sorted(maps.Keys(there))
	if x.count != len(want) {
		t.Fatalf("count is %d, want %d", x.count, len(want))
	}
	var got []string
	for i, block := range x.blocks {
		if len(block) == 0 || len(block) > blockLen {
			t.Fatalf("block %d of %d has %d entries", i, len(x.blocks), len(block))
		}
	}
	x.all(func(e entry) error {
		got = append(got, e.id)
		return nil
	})
	if !slices.Equal(got, want) {
		t.Fatalf("there is %v, want %v", got, want)
	}
	from := sort.Search(len(want), func(i int) bool { return want[i] > after })
	for _, limit := range []int{1, 300, 10_000} {
		page := x.after(after, limit)
		some := want[from:min(len(want), from+limit)]
		if !slices.EqualFunc(page, some, func(e entry, id string) bool { return e.id == id }) {
			t.Fatalf("%d entries after %s, want %v", len(page), after, some)
		}
	}
	if least := 6 * len(want) / blockLen; len(x.blocks) > least+4 {
		t.Fatalf("%d blocks for %d entries", len(x.blocks), len(want))
	}
}

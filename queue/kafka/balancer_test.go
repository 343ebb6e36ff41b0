package kafka

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"millrace/ingest"
)

func TestClaims(t *testing.T) {
	claims := []ingest.Claim{{Sack: 3, Epoch: 9}, {Sack: 0, Epoch: 1 << 40}}
	data := appendClaims(nil, claims)
	if diff := cmp.Diff(claims, parseClaims(data, 4)); diff != "" {
		t.Errorf("read back (-want +got): %s", diff)
	}
	for _, bad := range [][]byte{nil, {2, 1, 1}, {1, 1}, {1, 0xff}, {1, 4, 1}, data[:len(data)-1]} {
		if got := parseClaims(bad, 4); got != nil {
			t.Errorf("% x is read as %v, want nothing", bad, got)
		}
	}
}

func FuzzClaims(f *testing.F) {
	f.Add(appendClaims(nil, []ingest.Claim{{Sack: 3, Epoch: 9}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range parseClaims(data, 7) {
			if c.Sack < 0 || c.Sack >= 7 {
				t.Fatalf("sack %d of 7", c.Sack)
			}
		}
	})
}

func TestAssign(t *testing.T) {
	claim := func(epoch uint64, sacks ...ingest.Sack) (list []ingest.Claim) {
		for _, s := range sacks {
			list = append(list, ingest.Claim{Sack: s, Epoch: epoch})
		}
		return list
	}
	for _, test := range []struct {
		name    string
		sacks   int
		members string
		claims  map[string][]ingest.Claim
		want    map[string][]int
	}{
		{"nobody holds any", 5, "ba", nil, map[string][]int{"a": {0, 1, 2}, "b": {3, 4}}},
		{"one holds all, another comes", 4, "ab", map[string][]ingest.Claim{"a": claim(1, 0, 1, 2, 3)},
			map[string][]int{"a": {0, 1}, "b": {2, 3}}},
		{"one has gone", 4, "bc", map[string][]ingest.Claim{"b": claim(1, 1), "c": claim(1, 3)},
			map[string][]int{"b": {0, 1}, "c": {2, 3}}},
		{"those who hold most keep what is left over", 5, "ab", map[string][]ingest.Claim{"a": claim(1, 0),
			"b": claim(1, 1, 2, 3, 4)},
			map[string][]int{"a": {0, 4}, "b": {1, 2, 3}}},
		{"of two who claim one the higher epoch keeps it", 2, "ab",
			map[string][]ingest.Claim{"a": claim(7, 0), "b": claim(8, 0)},
			map[string][]int{"a": {1}, "b": {0}}},
		{"more members than sacks", 1, "ab", map[string][]ingest.Claim{"b": claim(1, 0)},
			map[string][]int{"a": nil, "b": {0}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var members []string
			for _, m := range test.members {
				members = append(members, string(m))
			}
			if diff := cmp.Diff(test.want, assign(members, test.claims, test.sacks)); diff != "" {
				t.Errorf("(-want +got) %s", diff)
			}
		})
	}
}

// However members come and go: every sack has one owner, shares are even, and none moves
// from a member that may keep it.
func TestAssignIsSticky(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const sacks = 24
	members := map[string]bool{"m0": true}
	held := map[string][]ingest.Claim{}
	for round := range 300 {
		if random.IntN(2) == 0 && len(members) < 9 {
			members[fmt.Sprint("m", round+1)] = true
		} else if len(members) > 1 {
			gone := slices.Sorted(maps.Keys(members))[random.IntN(len(members))]
			delete(members, gone)
			delete(held, gone)
		}
		names := slices.Collect(maps.Keys(members))
		shares := assign(names, held, sacks)
		seen := make([]int, sacks)
		moved := 0
		for _, name := range names {
			if n := len(shares[name]); n < sacks/len(names) || n > (sacks+len(names)-1)/len(names) {
				t.Fatalf("round %d: %d members, and one has %d sacks", round, len(names), n)
			}
			for _, s := range shares[name] {
				seen[s]++
			}
			for _, c := range held[name] {
				if !slices.Contains(shares[name], int(c.Sack)) {
					moved++
					if len(shares[name]) < sacks/len(names) {
						t.Fatalf("round %d: a sack moves away from a member with room for it", round)
					}
				}
			}
		}
		if slices.ContainsFunc(seen, func(n int) bool { return n != 1 }) {
			t.Fatalf("round %d: owners per sack %v", round, seen)
		}
		if most := (sacks + len(names) - 1) / len(names); moved > most {
			t.Fatalf("round %d: %d sacks moved between members that stayed, want at most %d", round, moved, most)
		}
		held = map[string][]ingest.Claim{}
		for name, share := range shares {
			for _, s := range share {
				held[name] = append(held[name], ingest.Claim{Sack: ingest.Sack(s), Epoch: uint64(round + 1)})
			}
		}
	}
}

// The library hands the balancer what members say, and gets all sacks back; partitions
// beyond them stay where they are.
func TestAssignGroups(t *testing.T) {
	b := &balancer{topic: "t", sacks: 3, held: func() []ingest.Claim { return nil }}
	got := b.AssignGroups([]kafka.GroupMember{
		{ID: "x", UserData: appendClaims(nil, []ingest.Claim{{Sack: 2, Epoch: 1}})}, {ID: "y"},
	}, []kafka.Partition{{ID: 0}, {ID: 1}, {ID: 2}, {ID: 3}})
	want := kafka.GroupMemberAssignments{"x": {"t": {0, 2}}, "y": {"t": {1}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

package kafka_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/ingest"
	"millrace/queue/kafka"
	"millrace/testservers"
)

// A member is one worker's part in the group.
type member struct {
	t    *testing.T
	log  *kafka.Log
	stop func()

	mu          sync.Mutex
	assignments []ingest.Assignment
	epochs      map[ingest.Sack]uint64 // of what it holds, which it believes at once
	group       *kafka.Group
}

func join(t *testing.T, config kafka.Config, sacks int, epoch uint64) *member {
	t.Helper()
	m := &member{t: t, log: open(t, config, sacks), epochs: make(map[ingest.Sack]uint64)}
	m.group = m.log.Group()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- m.group.Run(ctx, m.held, func(a ingest.Assignment) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.assignments = append(m.assignments, a)
			kept := make(map[ingest.Sack]uint64)
			for _, s := range a.Sacks {
				if kept[s] = m.epochs[s]; kept[s] == 0 {
					kept[s] = epoch
				}
			}
			m.epochs = kept
		})
	}()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returns %v", err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

func (m *member) held() []ingest.Claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	var claims []ingest.Claim
	for s, e := range m.epochs {
		claims = append(claims, ingest.Claim{Sack: s, Epoch: e})
	}
	return claims
}

func (m *member) sacks() []ingest.Sack {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sacks []ingest.Sack
	for s := range m.epochs {
		sacks = append(sacks, s)
	}
	slices.Sort(sacks)
	return sacks
}

// eventually waits until members share all sacks as evenly as can be.
func eventually(t *testing.T, sacks int, members ...*member) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var all []ingest.Sack
		even := true
		for _, m := range members {
			mine := m.sacks()
			even = even && len(mine) >= sacks/len(members)
			all = append(all, mine...)
		}
		slices.Sort(all)
		if even && len(all) == sacks && len(slices.Compact(all)) == sacks {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sacks are shared out as %v", all)
		}
	}
}

func testGroup(t *testing.T, config kafka.Config) {
	const sacks = 8
	config.Session = 2 * time.Minute // longer than eventually waits: who leaves is told from who vanishes
	one := join(t, config, sacks, 1)
	eventually(t, sacks, one)
	two := join(t, config, sacks, 2)
	eventually(t, sacks, one, two)
	before := one.sacks()
	three := join(t, config, sacks, 3)
	eventually(t, sacks, one, two, three)
	for _, s := range one.sacks() {
		if !slices.Contains(before, s) {
			t.Errorf("sack %d moved to a member that was to give some up", s)
		}
	}
	if err := two.group.Confirm(t.Context()); err != nil {
		t.Errorf("the assignment is not confirmed: %v", err)
	}

	// Hints: what owners say is heard, for every sack.
	for _, m := range []*member{one, two, three} {
		for _, s := range m.sacks() {
			m.group.Applied(s, ingest.Watermark{Offset: m.log.Log().Base + 10 + ingest.Offset(s), Log: m.log.Log()})
		}
	}
	told := make([]ingest.Offset, sacks)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err := one.log.Hints(t.Context(), told); err != nil {
			t.Fatal(err)
		}
		all := true
		for s, at := range told {
			all = all && at == base+10+ingest.Offset(s)
		}
		if all {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the hints are %v", told)
		}
	}

	began := time.Now()
	three.stop()
	eventually(t, sacks, one, two)
	t.Logf("a member that leaves is taken over after %s", time.Since(began))
}

func TestGroup(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		_, config := fakeCluster(t)
		testGroup(t, config)
	})
	t.Run("Kafka", func(t *testing.T) {
		testGroup(t, onOneBroker(testservers.Kafka(t, testservers.Kafka4).Addrs()))
	})
}

// A coordinator that moves, and a rebalance each second, take no sack away for good.
func TestCoordinatorMoves(t *testing.T) {
	cluster, config := fakeCluster(t, kfake.GroupMinSessionTimeout(time.Second))
	one := join(t, config, 6, 1)
	two := join(t, config, 6, 2)
	eventually(t, 6, one, two)
	for range 3 {
		cluster.RehashCoordinators()
		cluster.MoveTopicPartition("measures", 0, 1)
		time.Sleep(300 * time.Millisecond)
	}
	eventually(t, 6, one, two)
	for range 3 {
		passing := join(t, config, 6, 9)
		time.Sleep(time.Second)
		passing.stop()
	}
	eventually(t, 6, one, two)
}

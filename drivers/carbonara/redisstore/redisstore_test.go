package redisstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/redisstore"
	"millrace/drivers/carbonara/storetest"
	"millrace/testservers"
)

// A place is a server, or several, of one sort.
type place struct {
	url    string
	client redis.UniversalClient // of the test, beside the store
}

func alone(t *testing.T, flavor testservers.Flavor) place {
	s := testservers.Redis(t, flavor)
	return place{s.URL(), client(t, redis.NewClient(&redis.Options{Addr: s.Addr}))}
}

func inCluster(t *testing.T) place {
	c := testservers.NewRedisCluster(t, testservers.RedisFlavor)
	return place{"redis+cluster://" + strings.Join(c.Addrs(), ","),
		client(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()}))}
}

func client[C redis.UniversalClient](t testing.TB, c C) C {
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var places = map[string]func(t *testing.T) place{
	"alone":   func(t *testing.T) place { return alone(t, testservers.RedisFlavor) },
	"Valkey":  func(t *testing.T) place { return alone(t, testservers.ValkeyFlavor) },
	"cluster": inCluster,
	"Sentinel": func(t *testing.T) place {
		r := testservers.NewRedisSentinel(t, testservers.RedisFlavor)
		return place{sentinelURL(r),
			client(t, redis.NewFailoverClient(&redis.FailoverOptions{SentinelAddrs: r.SentinelAddrs(), MasterName: r.Name}))}
	},
}

func sentinelURL(r *testservers.RedisSentinel) string {
	return "redis+sentinel://" + strings.Join(r.SentinelAddrs(), ",") + "/0?master_name=" + r.Name
}

func open(t testing.TB, c redisstore.Config) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(c, slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	for name, start := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, opened := start(t), 0
			prefix := ""
			storetest.Run(t, func(t *testing.T) carbonara.Store {
				opened++
				prefix = fmt.Sprintf("store-%s-%d", name, opened)
				return open(t, redisstore.Config{URL: p.url, Prefix: prefix})
			}, storetest.GoesBack(func(t *testing.T, _ carbonara.Store) (back func()) { return p.mark(t, prefix+":") }))
		})
	}
}

// What a fail-over takes between a put and the swap that names it is put again, or the sack's owner
// finds out: nothing that was confirmed is lost.
func TestReverts(t *testing.T) {
	p, opened := alone(t, testservers.RedisFlavor), 0
	storetest.Reverts(t, 32, func(t *testing.T) (func() carbonara.Store, func() func()) {
		opened++
		c := redisstore.Config{URL: p.url, Prefix: fmt.Sprintf("reverts-%d", opened)}
		return func() carbonara.Store { return open(t, c) }, func() func() { return p.mark(t, c.Prefix+":") }
	})
}

func TestOwners(t *testing.T) {
	for name, start := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := redisstore.Config{URL: start(t).url, Prefix: "owners-" + name}
			storetest.Owners(t, 400, func() carbonara.Store { return open(t, c) })
		})
	}
}

// mark notes all keys that begin with prefix, and brings them back.
func (p place) mark(t *testing.T, prefix string) (back func()) {
	kept := make(map[string]string)
	for _, key := range p.keys(t, prefix) {
		dump, err := p.client.Dump(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		kept[key] = dump
	}
	return func() {
		for _, key := range p.keys(t, prefix) {
			if err := p.client.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for key, dump := range kept {
			if err := p.client.Restore(t.Context(), key, 0, dump).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (p place) keys(t *testing.T, prefix string) []string {
	t.Helper()
	var mu sync.Mutex
	var keys []string
	each := func(ctx context.Context, node *redis.Client) error {
		found, err := node.Keys(ctx, prefix+"*").Result()
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, found...)
		return err
	}
	var err error
	switch c := p.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(t.Context(), each)
	case *redis.Client:
		err = each(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestProbe(t *testing.T) {
	for name, start := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			s := open(t, redisstore.Config{URL: p.url, Prefix: "probe"})
			if err := s.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if keys := p.keys(t, "probe:"); len(keys) != 0 {
				t.Errorf("the probe has left %q", keys)
			}
		})
	}
}

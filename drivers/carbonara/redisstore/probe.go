package redisstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"millrace/drivers/carbonara"
)

// ErrUnsafe says that a server lacks what a store relies on. All other errors of a probe
// may pass.
var ErrUnsafe = errors.New("this Redis server can't keep Millrace's data")

// Probe finds out whether the servers can be used, and warns of what would lose data:
// persistence that is off, keys that may be evicted.
func (s *Store) Probe(ctx context.Context) error {
	err := s.eachMaster(ctx, s.inspect)
	if err == nil {
		err = s.tryOut(ctx)
	}
	if err != nil {
		return fmt.Errorf("probe of %s: %w", s, explain(err))
	}
	return nil
}

// inspect looks at one server's own words.
func (s *Store) inspect(ctx context.Context, node *redis.Client) error {
	info, err := node.Info(ctx).Result()
	if err != nil {
		return err
	}
	at := node.Options().Addr
	version := field(info, "redis_version")
	if major, _, _ := strings.Cut(version, "."); atoi(major) > 0 && atoi(major) < 6 {
		return fmt.Errorf("%w: it is Redis %s, and 6 is the oldest that will do", ErrUnsafe, version)
	}
	if s.mode != cluster && field(info, "cluster_enabled") == "1" {
		return fmt.Errorf("%w: %s is a node of a cluster, and the URL must begin with redis+cluster://", ErrUnsafe, at)
	}
	if field(info, "role") == "slave" {
		return fmt.Errorf("%s is a replica (role:slave), of %s", at, field(info, "master_host"))
	}
	s.warnPersistence(ctx, node, info)
	if policy := field(info, "maxmemory_policy"); strings.HasPrefix(policy, "allkeys-") {
		s.log.Warn("the Redis server may evict what Millrace has stored: maxmemory-policy should be noeviction", "server",
			at, "maxmemory_policy", policy)
	}
	if n := atoi(field(info, "connected_slaves")); n < s.config.WaitReplicas {
		s.log.Warn("fewer replicas are connected than each flush waits for: it will hold", "server", at, "connected_slaves",
			n, "wait_replicas", s.config.WaitReplicas)
	}
	return nil
}

// warnPersistence says what a crash of the server would lose.
func (s *Store) warnPersistence(ctx context.Context, node *redis.Client, info string) {
	at := node.Options().Addr
	setting := func(name string) string { // managed servers forbid CONFIG
		found, _ := node.ConfigGet(ctx, name).Result()
		return found[name]
	}
	switch aof, save := field(info, "aof_enabled"), setting("save"); {
	case aof == "1":
		if fsync := setting("appendfsync"); fsync == "no" {
			s.log.Warn("the Redis server doesn't sync its append-only file: a crash of its machine loses the last half minute",
				"server", at, "appendfsync", fsync)
		}
	case save == "":
		s.log.Warn("the Redis server's persistence is off, or not to be seen: a restart loses everything", "server", at,
			"appendonly", "no", "save", save)
	default:
		s.log.Warn("the Redis server writes snapshots only: a crash loses what came since the last one", "server", at,
			"appendonly", "no", "save", save)
	}
}

func atoi(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// tryOut stores, reads and removes something.
func (s *Store) tryOut(ctx context.Context) error {
	folder := "probe/" + rand.Text() + "/"
	object, swapped := folder+"object", folder+"swapped"
	defer func() { _ = s.Delete(context.WithoutCancel(ctx), []string{object, swapped}) }()
	if err := s.Put(ctx, object, []byte("probe")); err != nil {
		return err
	}
	version, err := s.Swap(ctx, swapped, "", []byte("one"), []carbonara.Addition{{Name: object, Size: 5}})
	if err != nil {
		if redis.HasErrorPrefix(err, "ERR unknown command") || strings.Contains(err.Error(), "unknown command") {
			return fmt.Errorf("%w: it doesn't know a command that the settings ask for: %w", ErrUnsafe, err)
		}
		return err
	}
	if _, err := s.Swap(ctx, swapped, "", []byte("two"), nil); !errors.Is(err, carbonara.ErrChanged) {
		return fmt.Errorf("%w: an object was created twice (%v)", ErrUnsafe, err)
	}
	if _, err := s.Swap(ctx, swapped, version, []byte("three"),
		[]carbonara.Addition{{Name: folder + "none", Size: 5}}); !errors.Is(err, carbonara.ErrMissing) {
		return fmt.Errorf("%w: an object that isn't there was added (%v)", ErrUnsafe, err)
	}
	c, err := s.Read(ctx, object, "", []carbonara.Range{{Off: 1, Len: 3}})
	if err != nil {
		return err
	}
	if !bytes.Equal(c.Data[0], []byte("rob")) {
		return fmt.Errorf("%w: a range reads as %q", ErrUnsafe, c.Data[0])
	}
	return nil
}

// observe makes the servers' memory visible in /metrics.
func (s *Store) observe(meter metric.Meter) error {
	used, err := meter.Int64ObservableGauge("millrace.redis.memory.used", metric.WithUnit("By"),
		metric.WithDescription("memory that the Redis server uses (used_memory)"))
	if err != nil {
		return err
	}
	limit, err := meter.Int64ObservableGauge("millrace.redis.memory.limit", metric.WithUnit("By"),
		metric.WithDescription("memory that the Redis server may use (maxmemory; 0: all)"))
	if err != nil {
		return err
	}
	s.memory, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			info, err := node.Info(ctx, "memory").Result()
			if err != nil {
				return nil // the other metrics are served all the same
			}
			server := metric.WithAttributes(attribute.String("server", node.Options().Addr))
			o.ObserveInt64(used, int64(atoi(field(info, "used_memory"))), server)
			o.ObserveInt64(limit, int64(atoi(field(info, "maxmemory"))), server)
			return nil
		})
	}, used, limit)
	return err
}

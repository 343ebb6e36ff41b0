package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"

	"millrace/drivers/carbonara"
)

// A Store is a carbonara.Store in Redis.
type Store struct {
	config Config
	mode   mode
	client redis.UniversalClient
	log    *slog.Logger
	memory metric.Registration
	closed atomic.Bool

	mu        sync.Mutex
	unsettled map[string]bool // names whose last swap had no clear outcome, where replicas are waited for
}

var _ carbonara.Store = (*Store)(nil)

var errClosed = errors.New("the Redis store is closed")

// Open makes a store. It asks the server nothing: [Store.Probe] does.
func Open(c Config, log *slog.Logger, meter metric.Meter) (*Store, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	redis.SetLogger(libraryLog{log}) // it has one for all clients of a process
	s := &Store{config: c, log: log, unsettled: make(map[string]bool)}
	if s.client, s.mode, err = c.connect(); err != nil {
		return nil, err
	}
	if err := s.observe(meter); err != nil {
		return nil, errors.Join(err, s.client.Close())
	}
	return s, nil
}

// libraryLog takes what go-redis says in passing.
type libraryLog struct{ log *slog.Logger }

// Printf logs a line.
func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis: "+strings.TrimPrefix(fmt.Sprintf(format, args...), "redis: "))
}

// Traits are those of a store that answers at once and may go back.
func (s *Store) Traits() carbonara.Traits {
	return carbonara.Traits{
		MaxObject: maxObject, DeleteBatch: deleteBatch, MayGoBack: true,
		FlushInterval: s.config.FlushInterval, NudgeInterval: s.config.NudgeInterval,
	}
}

// Close ends all connections.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return errors.Join(s.memory.Unregister(), s.client.Close())
}

// String says where the store is, without passwords.
func (s *Store) String() string {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return "Redis cluster " + strings.Join(c.Options().Addrs, ",")
	case *redis.Client:
		if s.mode == sentinel {
			return "Redis with Sentinels"
		}
		return "Redis " + c.Options().Addr
	}
	return "Redis"
}

// tag is the part of a name that decides its slot.
func tag(name string) string {
	first := strings.IndexByte(name, '/')
	if first < 0 {
		return name
	}
	second := strings.IndexByte(name[first+1:], '/')
	if second < 0 {
		return name
	}
	return name[:first+1+second]
}

func (s *Store) key(name string) string {
	t := tag(name)
	return s.config.Prefix + "{" + t + "}" + name[len(t):]
}

func (s *Store) index(t string) string     { return s.config.Prefix + "{" + t + "}~index" }
func (s *Store) confirmed(t string) string { return s.config.Prefix + "{" + t + "}~confirmed" }

// run runs a script by its hash, and sends its text where the server doesn't know it (any
// more). It fails without asking when the store is closed or ctx has ended.
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer, err := script.Run(ctx, s.client, keys, args...).Result()
	return answer, explain(err)
}

// explain says in an operator's words what the server says in its own.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), "OOM "):
		return fmt.Errorf("the Redis server is out of memory (maxmemory), and takes nothing until it has some: %w", err)
	case strings.HasPrefix(err.Error(), "READONLY "):
		return fmt.Errorf("the Redis server is a replica: %w", err)
	case strings.HasPrefix(err.Error(), "MISCONF "):
		return fmt.Errorf("the Redis server cannot write its own files: %w", err)
	case strings.HasPrefix(err.Error(), "NOAUTH "), strings.HasPrefix(err.Error(), "WRONGPASS "):
		return fmt.Errorf("the Redis server doesn't take the user and password of the URL: %w", err)
	case strings.HasPrefix(err.Error(), "NOPERM "), strings.HasPrefix(err.Error(), "ERR The user executing"):
		return fmt.Errorf("the Redis server's ACL denies the user what Millrace needs: %w", err)
	case strings.HasPrefix(err.Error(), "MOVED "):
		return fmt.Errorf("the Redis server is a node of a cluster, and the URL must begin with redis+cluster:// %w", err)
	}
	return err
}

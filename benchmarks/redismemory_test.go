package benchmarks

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/carbonara/redisstore"
	"millrace/testservers"
)

// gnocchiOnRedis is what Gnocchi takes for the same, bytes per metric.
const gnocchiOnRedis = 499_395

// TestRedisMemory plays metrics of policy medium until both of its timespans are full, a week of
// minutes and a year of hours, and asks Redis what that takes. MILLRACE_BENCH_REDIS_MEMORY is how
// many metrics (160, for which an hour before the last week has two measures; with
// MILLRACE_BENCH_REDIS_HOURLY as many as that says, at most 60):
//
//	MILLRACE_BENCH_REDIS_MEMORY=10000 go test ./benchmarks -run TestRedisMemory -v -timeout 1h
//
// Two measures are enough for each of an hour's aggregates to have a value of its own.
func TestRedisMemory(t *testing.T) {
	metrics := fromEnv(t, "MILLRACE_BENCH_REDIS_MEMORY", 160, strconv.Atoi)
	hourly := fromEnv(t, "MILLRACE_BENCH_REDIS_HOURLY", 2, strconv.Atoi)
	server := testservers.NewRedis(t, testservers.RedisFlavor, "--appendonly", "no")
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer func() { _ = client.Close() }()
	store, err := redisstore.Open(redisstore.Config{URL: server.URL()}, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	empty := memoryOf(t, client, "used_memory")
	began := time.Now()
	p := play(t, store, "medium", metrics)
	p.days(t, 366-7, 24*hourly, time.Hour/time.Duration(hourly))
	p.days(t, 7, 24*60, time.Minute)
	p.minutes(t, 2*time.Hour, time.Minute) // as it always goes on
	used := memoryOf(t, client, "used_memory") - empty
	kinds, keys := memoryOfKeys(t, client)
	s := p.driver.Stats()
	t.Logf("%d metrics, %d measures an hour before the last week, %d in all, played in %.0f s: %d segments",
		metrics, hourly, p.applied.Load(), time.Since(began).Seconds(), s.Segments)
	t.Logf("MEMORY USAGE of the keys: %s", kinds)
	t.Logf("| %d | %d | %d | %d | %d | %.2f |", metrics, used, used/int64(metrics), keys/int64(metrics), gnocchiOnRedis,
		float64(used)/float64(metrics)/gnocchiOnRedis)
	if s.Seals == 0 {
		t.Error("nothing was sealed")
	}
	if keys > used+used/10 {
		t.Errorf("the keys take %d, and used_memory has grown by %d", keys, used)
	}
}

// days plays days in which each metric has n measures, step apart; a sack is flushed and maintained
// once a day.
func (p *played) days(t *testing.T, days, n int, step time.Duration) {
	t.Helper()
	for range days {
		at := p.now()
		p.elapsed.Add(int64(24 * time.Hour))
		eachSack(t.Context(), t, func(ctx context.Context, sack int) error {
			if err := p.apply(ctx, sack, 0, len(p.ids[sack]), at, n, step); err != nil {
				return err
			}
			return p.flush(ctx, sack)
		})
	}
}

// memoryOf is a number that INFO memory has.
func memoryOf(t *testing.T, client *redis.Client, name string) int64 {
	t.Helper()
	info, err := client.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("INFO memory has no %s", name)
	return 0
}

// memoryOfKeys is what MEMORY USAGE says of all keys, by kind and in all.
func memoryOfKeys(t *testing.T, client *redis.Client) (kinds string, all int64) {
	t.Helper()
	sums, numbers := make(map[string]int64), make(map[string]int)
	each := client.Scan(t.Context(), 0, "*", 1000).Iterator()
	for each.Next(t.Context()) {
		key := each.Val()
		bytes, err := client.MemoryUsage(t.Context(), key, 0).Result()
		if err != nil {
			t.Fatal(err)
		}
		kind := "other"
		for _, end := range []string{".parquet", "manifest.json", "~index"} {
			if strings.HasSuffix(key, end) {
				kind = end
			}
		}
		sums[kind] += bytes
		numbers[kind]++
		all += bytes
	}
	if err := each.Err(); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, kind := range []string{".parquet", "manifest.json", "~index", "other"} {
		parts = append(parts, fmt.Sprintf("%d of %d %s", sums[kind], numbers[kind], kind))
	}
	return strings.Join(parts, ", "), all
}

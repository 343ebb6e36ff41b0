package benchmarks

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// TestDeployments runs scenarios of benchmarks/scenarios on files, on Redis, on S3 (MinIO)
// and with Kafka and PostgreSQL in the place of what is embedded, one after another on one
// machine, and prints their figures. It is no test of anything, and runs when asked to:
//
//	make build
//	MILLRACE_BENCH_SCENARIOS="1000x1 apart;1000x1 together;read warm and cold" go test ./benchmarks -run Deployments -v
//	-timeout 1h
//
// -run Deployments/s3 is one of them. MILLRACE_BENCH_LATENCY (50ms) is added to each request of S3, by a
// proxy.
func TestDeployments(t *testing.T) {
	only := os.Getenv("MILLRACE_BENCH_SCENARIOS")
	if only == "" {
		t.Skip("MILLRACE_BENCH_SCENARIOS names no scenarios")
	}
	if _, err := os.Stat("../bin/millrace"); err != nil {
		t.Fatalf("the program is measured as it is built, by make build: %v", err)
	}
	for _, d := range []struct {
		name     string
		settings func(t *testing.T, name string) []string
	}{{"files", func(*testing.T, string) []string { return nil }}, {"redis", onRedis}, {"s3", onS3}, {"kafka", onKafka}} {
		for scenario := range strings.SplitSeq(only, ";") { // each of them on new servers
			t.Run(d.name+"/"+scenario, func(t *testing.T) {
				name := strings.ToLower(rand.Text())
				dir, err := filepath.Abs(filepath.Join("../.cache", name)) // a real disk, which a temporary folder may not be
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.RemoveAll(dir) }()
				cmd := exec.CommandContext(t.Context(), "benchmarks/scenarios", "--runs", "1", "--only", scenario, "--dir", dir)
				cmd.Dir = ".."
				cmd.Env = append(os.Environ(), d.settings(t, name)...)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				t.Logf("\n%s", out)
			})
		}
	}
}

func onRedis(t *testing.T, name string) []string {
	redis := testservers.NewRedis(t, testservers.RedisFlavor, "--appendfsync", "everysec")
	return []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=" + redis.URL(),
		"MILLRACE_STORAGE_REDIS_PREFIX=" + name}
}

func onS3(t *testing.T, name string) []string {
	return onS3After(t, name, fromEnv(t, "MILLRACE_BENCH_LATENCY", 0, time.ParseDuration))
}

// onS3After is an S3 each request of which takes a time more.
func onS3After(t *testing.T, name string, latency time.Duration) []string {
	minio := testservers.NewMinIO(t)
	endpoint := minio.Endpoint()
	if latency > 0 {
		proxy, err := faultproxy.NewHTTP(minio.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = proxy.Close() })
		proxy.SetLatency(latency)
		endpoint = proxy.URL()
	}
	return []string{"MILLRACE_STORAGE_DRIVER=s3", "MILLRACE_STORAGE_S3_ENDPOINT=" + endpoint,
		"MILLRACE_STORAGE_S3_BUCKET=" + minio.Bucket(t),
		"MILLRACE_STORAGE_S3_ACCESS_KEY=" + minio.AccessKey, "MILLRACE_STORAGE_S3_SECRET_KEY=" + minio.SecretKey,
		"MILLRACE_STORAGE_S3_REGION=us-east-1", "MILLRACE_STORAGE_S3_PREFIX=" + name}
}

func onKafka(t *testing.T, name string) []string {
	postgres, kafka := testservers.Postgres(t), testservers.Kafka(t, testservers.Kafka4)
	return []string{"MILLRACE_INDEX_URL=" + postgres.URL(postgres.Database(t)), "MILLRACE_QUEUE_DRIVER=kafka",
		"MILLRACE_QUEUE_KAFKA_BROKERS=" + strings.Join(kafka.Addrs(), ","), "MILLRACE_QUEUE_KAFKA_TOPIC=" + name,
		"MILLRACE_QUEUE_KAFKA_REPLICATION=1", "MILLRACE_QUEUE_KAFKA_MIN_IN_SYNC=1", "MILLRACE_QUEUE_KAFKA_ACCEPT_RISKS=true"}
}

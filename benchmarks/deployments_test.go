package benchmarks

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millrace/testservers"
)

// TestDeployments runs scenarios of benchmarks/scenarios on files, on Redis, on S3 (MinIO)
// and with Kafka and PostgreSQL in the place of what is embedded, one after another on one
// machine, and prints their figures. It is no test of anything, and runs when asked to:
//
//	MILLRACE_BENCH_SCENARIOS="1000x1 apart;1000x1 together" go test ./benchmarks -run Deployments -v -timeout 1h
func TestDeployments(t *testing.T) {
	only := os.Getenv("MILLRACE_BENCH_SCENARIOS")
	if only == "" {
		t.Skip("MILLRACE_BENCH_SCENARIOS names no scenarios")
	}
	minio, redis := testservers.MinIO(t), testservers.Redis(t, testservers.RedisFlavor)
	postgres, kafka := testservers.Postgres(t), testservers.Kafka(t, testservers.Kafka4)
	onRedis := func(name string) []string {
		return []string{"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=" + redis.URL(), "MILLRACE_STORAGE_REDIS_PREFIX=" + name}
	}
	for _, d := range []struct {
		name     string
		settings func(name string) []string
	}{
		{"files", func(string) []string { return nil }},
		{"redis", onRedis},
		{"s3", func(name string) []string {
			return []string{"MILLRACE_STORAGE_DRIVER=s3", "MILLRACE_STORAGE_S3_ENDPOINT=" + minio.Endpoint(), "MILLRACE_STORAGE_S3_BUCKET=" + minio.Bucket(t),
				"MILLRACE_STORAGE_S3_ACCESS_KEY=" + minio.AccessKey, "MILLRACE_STORAGE_S3_SECRET_KEY=" + minio.SecretKey,
				"MILLRACE_STORAGE_S3_REGION=us-east-1", "MILLRACE_STORAGE_S3_PREFIX=" + name}
		}},
		{"kafka, postgres and files", func(name string) []string {
			return []string{"MILLRACE_INDEX_URL=" + postgres.URL(postgres.Database(t)), "MILLRACE_QUEUE_DRIVER=kafka",
				"MILLRACE_QUEUE_KAFKA_BROKERS=" + strings.Join(kafka.Addrs(), ","), "MILLRACE_QUEUE_KAFKA_TOPIC=" + name,
				"MILLRACE_QUEUE_KAFKA_REPLICATION=1", "MILLRACE_QUEUE_KAFKA_MIN_IN_SYNC=1", "MILLRACE_QUEUE_KAFKA_ACCEPT_RISKS=true"}
		}},
	} {
		name := strings.ToLower(rand.Text())
		cmd := exec.CommandContext(t.Context(), "benchmarks/scenarios", "--runs", "1", "--only", only, "--dir", filepath.Join(t.TempDir(), "bench"))
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), d.settings(name)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", d.name, err, out)
		}
		t.Logf("%s\n%s", d.name, out)
	}
}

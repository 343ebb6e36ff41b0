package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

// A cluster is a deployment of many processes: Kafka between them, PostgreSQL beneath
// them, and a storage that all of them reach.
type cluster struct {
	t        *testing.T
	path     string
	settings []string
}

// newCluster is a deployment on real servers that others use too, with nothing in it.
func newCluster(t *testing.T, settings ...string) *cluster {
	t.Helper()
	redis := testservers.Redis(t, testservers.RedisFlavor)
	return clusterOn(t, testservers.Postgres(t), testservers.Kafka(t, testservers.Kafka4), sharedRedis(redis),
		settings...)
}

// A sharedStorage is a storage that many processes reach.
type sharedStorage struct {
	process  *testservers.Process
	settings func(addr string) []string // to reach it at an address, its own or a proxy's
}

func sharedRedis(redis *testservers.RedisServer) sharedStorage {
	prefix := strings.ToLower(rand.Text())
	return sharedStorage{redis.Process, func(addr string) []string {
		return []string{
			"MILLRACE_STORAGE_DRIVER=redis", "MILLRACE_STORAGE_REDIS_URL=" + strings.Replace(redis.URL(), redis.Addr, addr, 1),
			"MILLRACE_STORAGE_REDIS_PREFIX=" + prefix,
		}
	}}
}

func sharedS3(t *testing.T, server *testservers.S3Server) sharedStorage {
	bucket := server.Bucket(t)
	return sharedStorage{server.Process, func(addr string) []string {
		return []string{
			"MILLRACE_STORAGE_DRIVER=s3", "MILLRACE_STORAGE_S3_ENDPOINT=http://" + addr, "MILLRACE_STORAGE_S3_BUCKET=" + bucket,
			"MILLRACE_STORAGE_S3_ACCESS_KEY=" + server.AccessKey, "MILLRACE_STORAGE_S3_SECRET_KEY=" + server.SecretKey,
			"MILLRACE_STORAGE_S3_TIMEOUT=2s",
		}
	}}
}

func sharedInflux(server *testservers.InfluxServer) sharedStorage {
	bucket := strings.ToLower(rand.Text())
	return sharedStorage{server.Process, func(addr string) []string {
		return []string{
			"MILLRACE_STORAGE_DRIVER=influxdb", "MILLRACE_STORAGE_INFLUXDB_URL=http://" + addr,
			"MILLRACE_STORAGE_INFLUXDB_ORG=" + server.Org, "MILLRACE_STORAGE_INFLUXDB_TOKEN=" + server.Token,
			"MILLRACE_STORAGE_INFLUXDB_BUCKET=" + bucket, "MILLRACE_STORAGE_INFLUXDB_CREATE_BUCKET=true",
			"MILLRACE_STORAGE_INFLUXDB_TIMEOUT=2s",
		}
	}}
}

func clusterOn(t *testing.T, postgres *testservers.PostgresServer, kafka *testservers.KafkaServer,
	storage sharedStorage, settings ...string) *cluster {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	copies := 1 // of what is acknowledged; a broker may be gone
	if len(kafka.Brokers) > 2 {
		copies = 2
	}
	return &cluster{t, path, slices.Concat([]string{
		"MILLRACE_SACKS=8", "MILLRACE_INDEX_CREATE_DEFAULTS=true", "MILLRACE_LOG_LEVEL=info",
		"MILLRACE_INDEX_URL=" + postgres.URL(postgres.Database(t)),
		"MILLRACE_QUEUE_DRIVER=kafka", "MILLRACE_QUEUE_KAFKA_BROKERS=" + strings.Join(kafka.Addrs(), ","),
		"MILLRACE_QUEUE_KAFKA_TOPIC=" + strings.ToLower(rand.Text()),
		fmt.Sprintf("MILLRACE_QUEUE_KAFKA_REPLICATION=%d", min(3, len(kafka.Brokers))),
		fmt.Sprintf("MILLRACE_QUEUE_KAFKA_MIN_IN_SYNC=%d", copies),
		"MILLRACE_QUEUE_KAFKA_ACCEPT_RISKS=true",
	}, storage.settings(storage.process.Addr), settings)}
}

// start starts a process of the deployment and waits until it answers.
func (c *cluster) start(roles string, settings ...string) *process {
	c.t.Helper()
	return c.startAt(fmt.Sprintf("127.0.0.1:%d", testservers.Port(c.t)), roles, settings...)
}

// startAt starts one that listens on an address.
func (c *cluster) startAt(listen, roles string, settings ...string) *process {
	c.t.Helper()
	all := append([]string{"MILLRACE_DATA_DIR=" + c.t.TempDir(), "MILLRACE_API_LISTEN=" + listen}, c.settings...)
	p := launchAs(c.t, c.path, listen, []string{"--roles", roles}, append(all, settings...))
	p.awaitUp(c.t)
	return p
}

// metric makes a metric of the policy with one-second buckets.
func (c *cluster) metric(p *process) string {
	c.t.Helper()
	var made struct{ ID string }
	if _, err := p.do(c.t.Context(), "POST", "/metric", nil, map[string]any{"archive_policy_name": "high"},
		&made); err != nil {
		c.t.Fatalf("%v\n%s", err, p.log)
	}
	return made.ID
}

// post sends one measure and returns the position that came back. Where it is refused for
// now it is sent again, as clients do.
func (c *cluster) post(p *process, id string, second int, value float64) string {
	c.t.Helper()
	at := time.Unix(int64(1_700_000_000+second), 0).UTC().Format(time.RFC3339)
	var a answer
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		a = p.ask(c.t, "POST", "/metric/"+id+"/measures", fmt.Sprintf(`[{"timestamp": "%s", "value": %g}]`, at, value))
		if a.status != 503 || time.Now().After(deadline) {
			break
		}
	}
	if a.status != 202 {
		c.t.Fatalf("status %d: %s\n%s", a.status, a.body, p.log)
	}
	return a.header.Get("Millrace-Position")
}

// count reads how many measures a process shows of a metric, at a position at least.
func (c *cluster) count(p *process, id, position string) int {
	c.t.Helper()
	var a answer
	for deadline := time.Now().Add(time.Minute); ; { // a 503 asks for another try
		a = p.ask(c.t, "GET", "/metric/"+id+"/measures?aggregation=count&granularity=60", "", "Millrace-Position: "+position)
		if a.status != 503 || time.Now().After(deadline) {
			break
		}
	}
	if a.status != 200 {
		c.t.Fatalf("status %d: %s\n%s", a.status, a.body, p.log)
	}
	var rows []row
	if err := json.Unmarshal([]byte(a.body), &rows); err != nil {
		c.t.Fatalf("%v: %s", err, a.body)
	}
	total := 0
	for _, r := range rows {
		total += int(r.value)
	}
	return total
}

// What one API accepts another shows, at once, whoever applies it; and whoever dies.
func TestCluster(t *testing.T) {
	t.Run("Redis", func(t *testing.T) { testCluster(t, newCluster(t)) })
	t.Run("InfluxDB", func(t *testing.T) {
		testCluster(t, clusterOn(t, testservers.Postgres(t), testservers.Kafka(t, testservers.Kafka4),
			sharedInflux(testservers.InfluxDB(t, testservers.Influx2))))
	})
}

func testCluster(t *testing.T, c *cluster) {
	one := c.start("api")
	two := c.start("api")
	first := c.start("worker")
	id := c.metric(one)
	n := 0
	write := func(p, reader *process) {
		t.Helper()
		n++
		position := c.post(p, id, n, float64(n))
		if got := c.count(reader, id, position); got != n {
			t.Errorf("%d measures can be read, want %d", got, n)
		}
	}
	write(one, two)
	began := time.Now()
	write(two, one)
	t.Logf("a write could be read through another process after %s", time.Since(began))
	second := c.start("worker")
	for range 5 {
		write(one, two)
	}
	first.kill()
	began = time.Now()
	write(two, one)
	t.Logf("after a worker was killed a write could be read after %s", time.Since(began))
	third := c.start("worker")
	if err := second.terminate(); err != nil {
		t.Errorf("the worker ends with %v\n%s", err, second.log)
	}
	began = time.Now()
	write(one, two)
	t.Logf("after a worker was stopped a write could be read after %s", time.Since(began))
	if err := third.terminate(); err != nil {
		t.Errorf("the worker ends with %v\n%s", err, third.log)
	}
}

package testservers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func restart(t *testing.T, p *Process) {
	t.Helper()
	p.Kill()
	if conn, err := net.DialTimeout("tcp", p.Addr, time.Second); err == nil {
		_ = conn.Close()
		t.Fatalf("%s was killed and still listens on %s", p, p.Addr)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	s := Postgres(t)
	database := s.Database(t)
	if err := s.query(t.Context(), database, "create table kept (n int)"); err != nil {
		t.Fatal(err)
	}
	if other := Postgres(t); other != s {
		t.Fatal("two tests of one binary have two servers")
	}
	restart(t, s.Process)
	if err := s.query(t.Context(), database, "insert into kept values (1)"); err != nil {
		t.Fatal(err)
	}
	bouncer := NewPgBouncer(t, s)
	through := PostgresServer{Process: bouncer.Process, psql: s.psql}
	if err := through.query(t.Context(), database, "insert into kept values (2)"); err != nil {
		t.Fatal(err)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	for _, flavor := range []Flavor{RedisFlavor, ValkeyFlavor} {
		t.Run(flavor.title, func(t *testing.T) {
			t.Parallel()
			s := NewRedis(t, flavor)
			if _, err := s.Do(t.Context(), "set", "kept", "so"); err != nil {
				t.Fatal(err)
			}
			restart(t, s.Process)
			if got, err := s.Do(t.Context(), "get", "kept"); err != nil || got != "so" {
				t.Fatalf("after a kill: %q, %v", got, err)
			}
		})
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c := NewRedisCluster(t, RedisFlavor)
	answer, err := c.Nodes[2].Do(t.Context(), "cluster", "info")
	if err != nil || !strings.Contains(answer, "cluster_slots_ok:16384") {
		t.Fatalf("%s: %s, %v", c, answer, err)
	}
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	r := NewRedisSentinel(t, RedisFlavor)
	first, err := r.Master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Do(t.Context(), "set", "kept", "so"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Do(t.Context(), "wait", "1", "5000"); err != nil {
		t.Fatal(err)
	}
	second, err := r.FailOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Do(t.Context(), "get", "kept"); err != nil || got != "so" || second == first {
		t.Fatalf("the new master: %q, %v", got, err)
	}
}

func TestS3(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *S3Server{
		"MinIO":     func(t testing.TB) *S3Server { return NewMinIO(t) },
		"versitygw": VersityGW, "moto": Moto, "s3s-fs": S3SFS,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			bucket, client := s.Bucket(t), s.client(s.Addr)
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("kept"),
				Body: strings.NewReader("so")})
			if err != nil {
				t.Fatal(err)
			}
			if name == "moto" { // keeps its data in memory
				return
			}
			restart(t, s.Process)
			got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("kept")})
			if err != nil {
				t.Fatal(err)
			}
			_ = got.Body.Close()
		})
	}
}

func TestKafka(t *testing.T) {
	t.Parallel()
	for _, version := range []KafkaVersion{Kafka4, Kafka3} {
		t.Run(string(version), func(t *testing.T) {
			restart(t, Kafka(t, version).Brokers[0].Process)
		})
	}
}

func TestInfluxDB(t *testing.T) {
	t.Parallel()
	for _, version := range []InfluxVersion{Influx1, Influx2} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := InfluxDB(t, version)
			bucket := s.Bucket(t, "kept")
			restart(t, s.Process)
			answer, err := http.Post(s.URL()+"/api/v2/write?org="+s.Org+"&bucket="+bucket, "text/plain",
				strings.NewReader("m value=1"))
			if version == Influx2 {
				request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/api/v2/write?org="+s.Org+
					"&bucket="+bucket,
					strings.NewReader("m value=1"))
				request.Header.Set("Authorization", "Token "+s.Token)
				answer, err = http.DefaultClient.Do(request)
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusNoContent {
				t.Fatalf("a write into %s: %s", bucket, answer.Status)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	t.Run("Prometheus", func(t *testing.T) { restart(t, NewPrometheus(t, "global: {scrape_interval: 1s}\n")) })
	t.Run("VictoriaMetrics", func(t *testing.T) { restart(t, NewVictoriaMetrics(t)) })
	t.Run("Telegraf", func(t *testing.T) {
		victoria := NewVictoriaMetrics(t)
		telegraf := NewTelegraf(t,
			"[agent]\ninterval='100ms'\nflush_interval='100ms'\n[[inputs.mem]]\n[[outputs.influxdb]]\nurls=['http://"+
				victoria.Addr+"']\nskip_database_creation=true\n")
		time.Sleep(50 * time.Millisecond) // it has no sign of being ready
		if !telegraf.Running() {
			t.Fatalf("Telegraf has ended:\n%s", telegraf.logTail())
		}
	})
}

// A server that pauses keeps its connections and answers nothing.
func TestPause(t *testing.T) {
	t.Parallel()
	s := NewRedis(t, RedisFlavor)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.pinged(ctx); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a paused server answers: %v", err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.pinged(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Whatever ends a test binary, its servers end with it, and their data go.
func TestReaper(t *testing.T) {
	t.Parallel()
	if os.Getenv("TESTSERVERS_LEAVE") != "" {
		s := Redis(t, RedisFlavor)
		fmt.Printf("left: %s %s\n", s.Addr, s.Dir)
		_ = os.Stdout.Sync()
		panic("a test that panics") // of a child: the parent sees what is left
	}
	Redis(t, RedisFlavor) // or skips
	child := exec.Command(os.Args[0], "-test.run=^TestReaper$")
	child.Env = append(os.Environ(), "TESTSERVERS_LEAVE=yes")
	out, err := child.CombinedOutput()
	if err == nil {
		t.Fatalf("the child didn't panic:\n%s", out)
	}
	_, left, found := strings.Cut(string(out), "left: ")
	if !found {
		t.Fatalf("the child started nothing:\n%s", out)
	}
	var addr, dir string
	if _, err := fmt.Sscan(left, &addr, &dir); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, dialed := net.DialTimeout("tcp", addr, time.Second)
		if dialed == nil {
			_ = conn.Close()
		}
		_, stat := os.Stat(dir)
		if dialed != nil && errors.Is(stat, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the child's end its server still listens on %s (%v), or has data in %s (%v)", addr, dialed, dir,
				stat)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What is not installed skips a test where it isn't required, and fails it where it is.
func TestMissing(t *testing.T) {
	if os.Getenv("TESTSERVERS_MISSING") != "" {
		Redis(t, RedisFlavor)
		return
	}
	run := func(require string) (string, error) {
		child := exec.Command(os.Args[0], "-test.run=^TestMissing$", "-test.v")
		child.Env = append(os.Environ(), "TESTSERVERS_MISSING=yes", "MILLRACE_CACHE="+t.TempDir(), "MILLRACE_TEST_INSTALL=",
			"MILLRACE_TEST_REQUIRE="+require, "PATH=/nowhere")
		out, err := child.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err != nil || !strings.Contains(out, "SKIP: TestMissing") ||
		!strings.Contains(out, "scripts/servers installs it") {
		t.Errorf("not required: %v\n%s", err, out)
	}
	if out, err := run("kafka,redis"); err == nil || !strings.Contains(out, "redis is required here") {
		t.Errorf("required: %v\n%s", err, out)
	}
}

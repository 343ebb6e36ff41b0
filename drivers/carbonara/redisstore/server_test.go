package redisstore_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/redisstore"
	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

const manifest = "sack/3/manifest.json"

// A server that has forgotten the scripts is told them again.
func TestScriptFlush(t *testing.T) {
	server := testservers.NewRedis(t, testservers.RedisFlavor)
	s := open(t, redisstore.Config{URL: server.URL()})
	version := carbonara.Version("")
	for i := range 3 {
		if err := s.Put(t.Context(), fmt.Sprintf("sack/3/%d", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
		next, err := s.Swap(t.Context(), manifest, version, fmt.Append(nil, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		version = next
		if _, err := server.Do(t.Context(), "script", "flush"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(t.Context(), manifest, "", nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A swap that too few replicas have has an unknown outcome, and a read of it as well, until
// they have it.
func TestWaitForReplicas(t *testing.T) {
	for _, flavor := range []testservers.Flavor{testservers.RedisFlavor, testservers.ValkeyFlavor} {
		t.Run(flavor.Title(), func(t *testing.T) {
			t.Parallel()
			r := testservers.NewRedisSentinel(t, flavor)
			url := r.Servers[0].URL()
			fsync := flavor == testservers.ValkeyFlavor // Debian's Redis is too old for that
			s := open(t, redisstore.Config{URL: url, WaitReplicas: 1, WaitFsync: fsync, WaitTimeout: time.Second})
			err := s.Probe(t.Context())
			for range 20 { // a replica that has just been made is still busy with that
				if err = s.Probe(t.Context()); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			first := settle(t, s, "", "one")
			if err := r.Servers[1].Pause(); err != nil {
				t.Fatal(err)
			}
			_, err = s.Swap(t.Context(), manifest, first, []byte("two"), nil)
			if err == nil || errors.Is(err, carbonara.ErrChanged) || !strings.Contains(err.Error(), "0 of 1 replicas") {
				t.Fatalf("Swap with the replica stopped: %v", err)
			}
			if c, err := s.Read(t.Context(), manifest, "", nil); err == nil {
				t.Fatalf("Read before the replica has it: %q", c.Data[0])
			}
			if err := r.Servers[1].Resume(); err != nil {
				t.Fatal(err)
			}
			second := await(t, s, "two")
			settle(t, s, second, "three")
		})
	}
}

// settle swaps, and reads until the outcome is known.
func settle(t *testing.T, s *redisstore.Store, old carbonara.Version, text string) carbonara.Version {
	t.Helper()
	version, err := s.Swap(t.Context(), manifest, old, []byte(text), nil)
	if err == nil {
		return version
	}
	if errors.Is(err, carbonara.ErrChanged) {
		t.Fatal(err)
	}
	return await(t, s, text)
}

// await reads until the replicas have what is there, which must be text.
func await(t *testing.T, s *redisstore.Store, text string) carbonara.Version {
	t.Helper()
	var c carbonara.Contents
	var err error
	for range 30 {
		if c, err = s.Read(t.Context(), manifest, "", nil); err == nil {
			break
		}
	}
	if err != nil || string(c.Data[0]) != text {
		t.Fatalf("%q: %v, %v", text, c, err)
	}
	return c.Version
}

// Where the server can't do what the settings ask for, the probe says so.
func TestProbeRefuses(t *testing.T) {
	server := testservers.Redis(t, testservers.RedisFlavor) // 7.0: without WAITAOF
	s := open(t, redisstore.Config{URL: server.URL(), WaitFsync: true})
	if err := s.Probe(t.Context()); !errors.Is(err, redisstore.ErrUnsafe) {
		t.Errorf("wait_fsync: %v; want ErrUnsafe", err)
	}
	cluster := testservers.NewRedisCluster(t, testservers.RedisFlavor)
	s = open(t, redisstore.Config{URL: cluster.Nodes[0].URL()})
	if err := s.Probe(t.Context()); !errors.Is(err, redisstore.ErrUnsafe) ||
		!strings.Contains(err.Error(), "redis+cluster://") {
		t.Errorf("a node of a cluster: %v; want ErrUnsafe", err)
	}
}

// What would lose data is said in the server's own words.
func TestProbeWarns(t *testing.T) {
	f := func(want []string, args ...string) {
		t.Helper()
		server := testservers.NewRedis(t, testservers.RedisFlavor, args...)
		var said bytes.Buffer
		s, err := redisstore.Open(redisstore.Config{URL: server.URL()}, slog.New(slog.NewTextHandler(&said, nil)),
			noop.NewMeterProvider().Meter(""))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(said.String(), w) {
				t.Errorf("%v: the log doesn't say %q:\n%s", args, w, said.String())
			}
		}
		if len(want) == 0 && said.Len() > 0 {
			t.Errorf("%v: the log says:\n%s", args, said.String())
		}
	}
	f(nil)
	f([]string{"persistence is off", "appendonly=no"}, "--appendonly", "no")
	f([]string{"snapshots only", `save="60 1"`}, "--appendonly", "no", "--save", "60 1")
	f([]string{"may evict", "maxmemory_policy=allkeys-lru"}, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb")
	f([]string{"append-only file", "appendfsync=no"}, "--appendfsync", "no")
}

func TestOutOfMemory(t *testing.T) {
	server := testservers.NewRedis(t, testservers.RedisFlavor, "--maxmemory", "3mb")
	s := open(t, redisstore.Config{URL: server.URL()})
	var err error
	for i := 0; i < 10 && err == nil; i++ {
		err = s.Put(t.Context(), fmt.Sprintf("sack/3/%d", i), make([]byte, 1<<20))
	}
	if err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("Put: %v", err)
	}
	if _, err := s.List(t.Context(), "sack/3/"); err != nil {
		t.Errorf("what needs no memory fails too: %v", err)
	}
}

// A server that stands still holds nobody longer than its context says.
func TestDeadline(t *testing.T) {
	server := testservers.NewRedis(t, testservers.RedisFlavor)
	s := open(t, redisstore.Config{URL: server.URL()})
	if err := s.Put(t.Context(), "sack/3/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Read(ctx, "sack/3/x", "", nil); !errors.Is(err, context.DeadlineExceeded) &&
		!errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
}

// A swap whose answer is lost is executed once, and never tried again by what is below us.
func TestLostAnswer(t *testing.T) {
	server := testservers.NewRedis(t, testservers.RedisFlavor)
	proxy, err := faultproxy.NewTCP(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	s := open(t, redisstore.Config{URL: "redis://" + proxy.Addr + "?read_timeout=2s"})
	first, err := s.Swap(t.Context(), manifest, "", []byte("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Set(faultproxy.Mode{LoseAnswers: true})
	before, err := server.Do(t.Context(), "info", "commandstats")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(t.Context(), manifest, first, []byte("two"), nil); err == nil ||
		errors.Is(err, carbonara.ErrChanged) {
		t.Fatalf("Swap: %v; want an unknown outcome", err)
	}
	after, err := server.Do(t.Context(), "info", "commandstats")
	if err != nil {
		t.Fatal(err)
	}
	if n := calls(after, "evalsha") - calls(before, "evalsha"); n != 1 {
		t.Errorf("the swap was executed %d times", n)
	}
	proxy.Set(faultproxy.Mode{})
	proxy.ResetAll()
	c, err := s.Read(t.Context(), manifest, "", nil)
	if err != nil || string(c.Data[0]) != "two" {
		t.Errorf("Read: %v, %v", c, err)
	}
}

// calls is how often a command was called, as INFO commandstats says.
func calls(info, command string) (n int) {
	_, rest, _ := strings.Cut(info, "cmdstat_"+command+":calls=")
	_, _ = fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n)
	return n
}

// TLS with a certificate of one's own, and a user with a password and few rights.
func TestTLSAndUsers(t *testing.T) {
	folder := t.TempDir()
	ca := selfSigned(t, folder)
	port := strconv.Itoa(testservers.Port(t))
	server := testservers.NewRedis(t, testservers.RedisFlavor, "--tls-port", port, "--tls-cert-file",
		filepath.Join(folder, "cert.pem"),
		"--tls-key-file", filepath.Join(folder, "key.pem"), "--tls-ca-cert-file", ca, "--tls-auth-clients", "no",
		"--user", "millrace", "on", ">hunter2", "~millrace:*", "+@all", "-@dangerous", "+info")
	url := "rediss://millrace:hunter2@127.0.0.1:" + port
	s := open(t, redisstore.Config{URL: url, CAFile: ca})
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := open(t, redisstore.Config{URL: url}).Probe(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	err := open(t, redisstore.Config{URL: strings.Replace(url, "hunter2", "wrong", 1), CAFile: ca}).Probe(t.Context())
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a wrong password: %v", err)
	}
	if err == nil || !strings.Contains(err.Error(), "doesn't take the user and password") {
		t.Errorf("what is wrong with the password isn't said: %v", err)
	}
	for _, right := range []string{"evalsha", "hset"} { // one that it needs itself, and one that its scripts need
		if _, err := server.Do(t.Context(), "acl", "setuser", "millrace", "-"+right); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "sack/0/"+right, nil); err == nil || !strings.Contains(err.Error(), "ACL denies the user") {
			t.Errorf("without the right to %s: %v", right, err)
		}
		if _, err := server.Do(t.Context(), "acl", "setuser", "millrace", "+"+right); err != nil {
			t.Fatal(err)
		}
	}
}

// selfSigned makes cert.pem and key.pem for 127.0.0.1.
func selfSigned(t *testing.T, folder string) (certFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert},
		"key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "cert.pem")
}

// Whatever became of the indices, the objects are found again, and nobody else's.
func TestMend(t *testing.T) {
	for _, where := range []string{"alone", "cluster"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p, ctx := places[where](t), t.Context()
			s, other := open(t, redisstore.Config{URL: p.url, Prefix: "m*nd"}), open(t, redisstore.Config{URL: p.url, Prefix: "mend"})
			names := []string{"layout.json", "sack/0/a.parquet", "sack/0/manifest.json", "sack/1/b.parquet", "sack/1/c.parquet"}
			for _, name := range names {
				var err error
				if strings.HasSuffix(name, ".json") {
					_, err = s.Swap(ctx, name, "", []byte(name), nil)
				} else {
					err = s.Put(ctx, name, []byte(name))
				}
				if err := errors.Join(err, other.Put(ctx, "sack/0/other.parquet", []byte("x"))); err != nil {
					t.Fatal(err)
				}
			}
			if mended, err := s.Mend(ctx); err != nil || len(mended) > 0 {
				t.Errorf("nothing was lost: %v, %v", mended, err)
			}
			for _, index := range []string{"m*nd:{layout.json}~index", "m*nd:{sack/0}~index", "mend:{sack/0}~index"} {
				if n, err := p.client.Del(ctx, index).Result(); err != nil || n != 1 {
					t.Fatalf("%s: %d, %v", index, n, err)
				}
			}
			if n, err := p.client.HDel(ctx, "m*nd:{sack/1}~index", names[3]).Result(); err != nil || n != 1 {
				t.Fatalf("%s: %d, %v", names[3], n, err)
			}
			if mended, err := s.Mend(ctx); err != nil || !slices.Equal(mended, names[:4]) {
				t.Errorf("mended: %v, %v", mended, err)
			}
			for _, name := range names {
				c, err := s.Read(ctx, name, "", nil)
				if err != nil || string(c.Data[0]) != name {
					t.Fatalf("%s: %q, %v", name, c.Data, err)
				}
				if _, err := s.Swap(ctx, name, c.Version, []byte("next"), nil); strings.HasSuffix(name, ".json") && err != nil {
					t.Error(err)
				}
			}
			for folder, want := range map[string]int{"sack/0/": 2, "sack/1/": 2} {
				if list, err := s.List(ctx, folder); err != nil || len(list) != want {
					t.Errorf("%s: %v, %v", folder, list, err)
				}
			}
		})
	}
}

// A server that comes back empty is not taken for the one before.
func TestComesBackEmpty(t *testing.T) {
	server := testservers.NewRedis(t, testservers.RedisFlavor)
	s := open(t, redisstore.Config{URL: server.URL()})
	version, err := s.Swap(t.Context(), manifest, "", []byte("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do(t.Context(), "flushall"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(t.Context(), manifest, version, []byte("two"), nil); !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap: %v; want ErrChanged", err)
	}
	if _, err := s.Read(t.Context(), manifest, version, nil); !errors.Is(err, carbonara.ErrNotFound) {
		t.Errorf("Read: %v; want ErrNotFound", err)
	}
}

func TestMemoryMetrics(t *testing.T) {
	server := testservers.NewRedis(t, testservers.RedisFlavor, "--maxmemory", "100mb")
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("")
	s, err := redisstore.Open(redisstore.Config{URL: server.URL()}, slog.New(slog.DiscardHandler), meter)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			for _, point := range m.Data.(metricdata.Gauge[int64]).DataPoints {
				got[m.Name] = point.Value
			}
		}
	}
	if got["millrace.redis.memory.limit"] != 100<<20 || got["millrace.redis.memory.used"] < 500_000 {
		t.Errorf("%v", got)
	}
}

func TestURL(t *testing.T) {
	f := func(url, part string) {
		t.Helper()
		s, err := redisstore.Open(redisstore.Config{URL: url}, slog.New(slog.DiscardHandler),
			noop.NewMeterProvider().Meter(""))
		if err == nil {
			_ = s.Close()
		}
		if (err == nil) != (part == "") || err != nil && (!strings.Contains(err.Error(), part) ||
			strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v; want %q", url, err, part)
		}
	}
	f("redis://u:hunter2@h:1/2", "")
	f("rediss+cluster://u:hunter2@h:1,h:2", "")
	f("redis+sentinel://u:hunter2@h:1,h:2/3?master_name=m&sentinel_password=hunter2", "")
	f("redis+sentinel://u:hunter2@h:1,h:2/3", "master_name")
	f("redis://u:hunter2@h:1,h:2", "only one of a cluster")
	f("redis://u:hunter2@h:port", "the URL is wrong")
	f("redis://u:hunter2@h:1/x2", "the URL is wrong")
	f("redis://u:hunter2@h:1?hunter=2", "the URL is wrong")
	f("http://u:hunter2@h:1", "must begin with")
	f("hunter2", "must begin with")
	f("", "must begin with")
}

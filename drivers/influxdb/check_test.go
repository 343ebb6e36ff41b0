package influxdb_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/influxdb"
	"millrace/ingest"
	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// ready asks a driver with a configuration whether it can be used, and returns what it logs.
func ready(t *testing.T, c influxdb.Config) (log string, err error) {
	t.Helper()
	var text bytes.Buffer
	d, err := influxdb.New(c, anyPolicy{}, allKnown{}, slog.New(slog.NewTextHandler(&text, nil)),
		noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	err = d.Ready(t.Context())
	return text.String(), err
}

// mustSay compares an error with what an operator has to be told, and how lasting it is.
func mustSay(t *testing.T, err error, permanent bool, words ...string) {
	t.Helper()
	if err == nil || ingest.IsPermanent(err) != permanent {
		t.Errorf("%v: permanent is %t, want %t", err, !permanent, permanent)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

// A server that is no InfluxDB, or too old or too new a one, is refused for good.
func TestCheckVersion(t *testing.T) {
	for health, word := range map[string]string{
		`{"name":"influxdb","version":"1.7.11"}`: "1.7.11", `{"name":"influxdb","version":"1.1.5"}`: "1.1.5",
		`{"name":"influxdb","version":"3.1.0"}`: "3.1.0", `{"name":"something","version":"v12"}`: "something",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, health) }))
		t.Cleanup(server.Close)
		_, err := ready(t, influxdb.Config{URL: server.URL, Bucket: "b", Sacks: 1})
		mustSay(t, err, true, word, "1.8 and 2.x will do", server.URL)
	}
}

// A 1.8 whose Flux is off is told from one that refuses the user.
func TestCheckFlux(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			fmt.Fprint(w, `{"name":"influxdb","version":"1.8.10"}`)
		case "/query":
			fmt.Fprint(w, `{"results":[{"series":[{"values":[["autogen","0s","168h0m0s",1,true]]}]}]}`)
		case "/api/v2/write":
			w.WriteHeader(http.StatusNoContent)
		case "/api/v2/query":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "Flux query service disabled. Verify flux-enabled=true in the [http] section of the InfluxDB config.")
		}
	}))
	t.Cleanup(server.Close)
	_, err := ready(t, influxdb.Config{URL: server.URL, Bucket: "b", Sacks: 1})
	mustSay(t, err, false, "flux-enabled = true")
}

// What is missing on the server is named, and can be there when it is asked next.
func TestCheckMissing(t *testing.T) {
	server := testservers.InfluxDB(t, testservers.Influx2)
	c := configOf(server)
	c.CreateBucket = false
	_, err := ready(t, c)
	mustSay(t, err, false, c.Bucket, "create_bucket")
	for _, create := range []bool{false, true} {
		c.Org, c.CreateBucket = "nobody's", create
		_, err = ready(t, c)
		mustSay(t, err, false, "organisation", "nobody's")
	}
	c.Org, c.Token = server.Org, "another"
	_, err = ready(t, c)
	mustSay(t, err, false, "401", "does not accept the token")
}

// A bucket, or a database, that is created keeps points as long as it was said.
func TestCheckCreates(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := testservers.InfluxDB(t, version)
			c := configOf(server)
			c.Retention, c.ShardDuration = 240*time.Hour, 48*time.Hour
			log, err := ready(t, c)
			if err != nil || !strings.Contains(log, "created the bucket") || !strings.Contains(log, "retention=240h0m0s") {
				t.Fatalf("%v\n%s", err, log)
			}
			c.CreateBucket = false
			if log, err = ready(t, c); err != nil || !strings.Contains(log, "retention=240h0m0s") {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
}

// A bucket that would forget how far it has come is refused, and one that keeps less than a
// policy does is warned of.
func TestCheckRetention(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := testservers.InfluxDB(t, version)
			c := configOf(server)
			c.Retention, c.ShardDuration = 48*time.Hour, 24*time.Hour
			_, err := ready(t, c)
			mustSay(t, err, true, c.Bucket, "48h", "72h")

			c = configOf(server)
			c.Retention, c.ShardDuration = 240*time.Hour, 24*time.Hour
			for longest, warns := range map[time.Duration]bool{240 * time.Hour: false, 241 * time.Hour: true, 0: true} {
				c.LongestTimespan = func(context.Context) (time.Duration, bool) { return longest, true }
				log, err := ready(t, c)
				if said := strings.Contains(log, "less time than an archive policy"); err != nil || said != warns {
					t.Errorf("policies of %v: warned is %t, want %t, %v\n%s", longest, said, warns, err, log)
				}
			}
		})
	}
}

// Each permission that is missing is found before anything is written.
func TestCheckPermissions(t *testing.T) {
	server := testservers.InfluxDB(t, testservers.Influx2)
	c := configOf(server)
	if _, err := ready(t, c); err != nil {
		t.Fatal(err)
	}
	var org struct{ Orgs []struct{ ID string } }
	ask(t, server, "GET", "/api/v2/orgs?org="+server.Org, nil, &org)
	var bucket struct{ Buckets []struct{ ID string } }
	ask(t, server, "GET", "/api/v2/buckets?name="+c.Bucket, nil, &bucket)
	token := func(actions ...string) string {
		var permissions []any
		for _, action := range actions {
			permissions = append(permissions, map[string]any{"action": action, "resource": map[string]any{"type": "buckets",
				"id": bucket.Buckets[0].ID, "orgID": org.Orgs[0].ID}})
		}
		var made struct{ Token string }
		ask(t, server, "POST", "/api/v2/authorizations", map[string]any{"orgID": org.Orgs[0].ID, "permissions": permissions},
			&made)
		return made.Token
	}
	c.CreateBucket = false
	c.Token = token("read", "write")
	if _, err := ready(t, c); err != nil {
		t.Errorf("what may read and write will do: %v", err)
	}
	c.Token = token("read")
	_, err := ready(t, c)
	mustSay(t, err, false, "cannot write to bucket", c.Bucket, "permission")
	c.Token = token("write")
	_, err = ready(t, c)
	mustSay(t, err, false, c.Bucket, "the token may see")
}

// A user of 1.8 needs both privileges.
func TestCheckPrivileges(t *testing.T) {
	server := testservers.NewInfluxDBUsers(t)
	server.Bucket(t, "b")
	for _, statement := range []string{
		"CREATE USER u_all WITH PASSWORD 'p'", "GRANT ALL ON b TO u_all",
		"CREATE USER u_read WITH PASSWORD 'p'", "GRANT READ ON b TO u_read",
		"CREATE USER u_write WITH PASSWORD 'p'", "GRANT WRITE ON b TO u_write",
	} {
		if answer, err := server.Query(t.Context(), statement); err != nil || strings.Contains(answer, "error") {
			t.Fatal(answer, err)
		}
	}
	c := configOf(server)
	c.Bucket, c.CreateBucket, c.Token = "b", false, "u_all:p"
	if _, err := ready(t, c); err != nil {
		t.Errorf("a user with all privileges: %v", err)
	}
	c.Token = "u_read:p"
	_, err := ready(t, c)
	mustSay(t, err, false, "write to bucket", "permission")
	c.Token = "u_write:p"
	_, err = ready(t, c)
	mustSay(t, err, false, `"b"`)
	c.Token = "u_all:wrong"
	_, err = ready(t, c)
	mustSay(t, err, false, "401", "does not accept the token")
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("%q has the password in it", err)
	}
}

// between is a server's proxy, which may change answers.
func between(t *testing.T, server *testservers.InfluxServer,
	change func(*http.Response)) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error { change(r); return nil },
	}
}

// Clocks that differ by more than a minute are worth a word, and only that.
func TestCheckClock(t *testing.T) {
	server := testservers.InfluxDB(t, testservers.Influx2)
	for ahead, word := range map[time.Duration]string{
		-10 * time.Minute: "ahead=-10m", 10 * time.Minute: "ahead=", 10 * time.Second: "",
	} {
		proxy := httptest.NewServer(between(t, server, func(r *http.Response) {
			r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		}))
		t.Cleanup(proxy.Close)
		c := configOf(server)
		c.URL = proxy.URL
		log, err := ready(t, c)
		said := strings.Count(log, "the clock of InfluxDB")
		if err != nil || word == "" && said > 0 || word != "" && (said != 1 || !strings.Contains(log, word)) {
			t.Errorf("%v ahead: %v, said %d times\n%s", ahead, err, said, log)
		}
	}
}

// What is written is compressed where that is asked for, and only there.
func TestGzip(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := testservers.InfluxDB(t, version)
			for _, on := range []bool{false, true} {
				var mu sync.Mutex
				encodings := map[string]int{}
				proxy, err := faultproxy.NewHTTP(server.Addr, nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = proxy.Close() })
				proxy.Decide(func(r *http.Request) *faultproxy.Fault {
					if strings.HasSuffix(r.URL.Path, "/write") {
						mu.Lock()
						defer mu.Unlock()
						encodings[r.Header.Get("Content-Encoding")]++
					}
					return nil
				})
				c := configOf(server)
				c.URL, c.Gzip = proxy.URL(), on
				d := open(t, c, anyPolicy{}, allKnown{})
				id := ingest.MetricID{2}
				write(t, d, id, ingest.Measure{Time: 60e9, Value: 3}, ingest.Measure{Time: 61e9, Value: 4})
				if rows := sums(t, d, id); len(rows) != 1 || rows[0] != (ingest.Measure{Time: 60e9, Value: 7}) {
					t.Errorf("gzip %t: %v can be read, want 7 at 60 s", on, rows)
				}
				mu.Lock()
				if plain, packed := encodings[""], encodings["gzip"]; on && (plain > 0 || packed == 0) || !on && packed > 0 {
					t.Errorf("gzip %t: writes are encoded as %v", on, encodings)
				}
				mu.Unlock()
			}
		})
	}
}

// sums reads the minutes of a metric.
func sums(t *testing.T, d ingest.Driver, id ingest.MetricID) []ingest.Measure {
	t.Helper()
	policy, _ := anyPolicy{}.Policy(t.Context(), "p")
	dst := make([][]ingest.Measure, 1)
	if _, err := d.Read(t.Context(), []ingest.Query{{Metric: id, Policy: policy, Granularity: time.Minute,
		Method: ingest.Sum, From: ingest.MinTime, To: ingest.MaxTime}}, dst, nil); err != nil {
		t.Fatal(err)
	}
	return dst[0]
}

// A server whose certificate somebody unknown has signed is trusted when its file says so.
func TestOwnCA(t *testing.T) {
	server := testservers.InfluxDB(t, testservers.Influx2)
	proxy := httptest.NewUnstartedServer(between(t, server, func(*http.Response) {}))
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // of the handshake that is to fail
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	c := configOf(server)
	c.URL = proxy.URL
	_, err := ready(t, c)
	mustSay(t, err, false, "certificate")
	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	if err := os.WriteFile(c.CAFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, c, anyPolicy{}, allKnown{})
	id := ingest.MetricID{2}
	write(t, d, id, ingest.Measure{Time: 60e9, Value: 3})
	if rows := sums(t, d, id); len(rows) != 1 {
		t.Errorf("%v can be read, want one row", rows)
	}
}

// A server that is down at first is waited for: each call asks again, and the first that
// finds it goes on.
func TestCheckDown(t *testing.T) {
	server := testservers.NewInfluxDB(t, testservers.Influx2)
	server.Kill()
	d := open(t, configOf(server), anyPolicy{}, allKnown{})
	for range 2 {
		_, _, err := d.Open(t.Context(), 0)
		mustSay(t, err, false, server.Addr)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	id := ingest.MetricID{2}
	write(t, d, id, ingest.Measure{Time: 60e9, Value: 3})
	if rows := sums(t, d, id); len(rows) != 1 {
		t.Errorf("%v can be read, want one row", rows)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// configFile writes a configuration and returns its path.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func loadConfig(t *testing.T, text string, environ ...string) (config, []string, error) {
	t.Helper()
	source := configSource{environ: environ}
	if text != "" {
		source.file = configFile(t, text)
	}
	return source.load()
}

func TestConfig(t *testing.T) {
	f := func(text string, environ []string, change func(*config)) {
		t.Helper()
		want := defaults()
		want.Index.URL = "sqlite:millrace-data/index.db"
		change(&want)
		got, _, err := loadConfig(t, text, environ...)
		if err != nil {
			t.Errorf("%s %q: %v", text, environ, err)
		}
		type values config // without methods: secrets are compared as they are
		if diff := cmp.Diff(values(want), values(got)); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", text, environ, diff)
		}
	}
	f("", nil, func(c *config) {})
	f("# nothing but a comment\n", nil, func(c *config) {})
	f("api:\n", nil, func(c *config) {})
	f("api:\n  listen: null\n", nil, func(c *config) {})
	f("data_dir: /srv/millrace\nsacks: 4\n", nil, func(c *config) {
		c.DataDir, c.Sacks, c.Index.URL = "/srv/millrace", 4, "sqlite:/srv/millrace/index.db"
	})
	f("api: {listen: 'localhost:1', max_body: 1MiB, wait_cap: 1s500ms, cors_allowed_origins: [http://a, http://b]}", nil,
		func(c *config) {
			c.API.Listen, c.API.MaxBody, c.API.WaitCap = "localhost:1", 1<<20, 1500*time.Millisecond
			c.API.CORSAllowedOrigins = []string{"http://a", "http://b"}
		})
	f("ingest: &i {max_future: 0, project_quota: 2.5}\nworker: {flush_bytes: 1000}", nil, func(c *config) {
		c.Ingest.MaxFuture, c.Ingest.ProjectQuota, c.Worker.FlushBytes = 0, 2.5, 1000
	})
	f("worker: {flush_bytes: &b 2MB}\nstorage: {cache_bytes: *b}", nil, func(c *config) {
		c.Worker.FlushBytes, c.Storage.CacheBytes = 2_000_000, 2_000_000
	})
	f("telemetry: {prometheus: false, otlp_headers: {authorization: Bearer x, a.b: 'c'}}", nil, func(c *config) {
		c.Telemetry.Prometheus, c.Telemetry.Headers = false, map[string]secret{"authorization": "Bearer x", "a.b": "c"}
	})

	// The environment wins.
	f("sacks: 4\nlog: {level: warn, format: json}", []string{"MILLRACE_SACKS=8", "MILLRACE_LOG_LEVEL=debug"},
		func(c *config) {
			c.Sacks, c.Log.Level, c.Log.Format = 8, "debug", "json"
		})
	f("telemetry: {otlp_headers: {a: b}}", []string{"MILLRACE_TELEMETRY_OTLP_HEADERS=c=d=, e = f"}, func(c *config) {
		c.Telemetry.Headers = map[string]secret{"c": "d=", "e": "f"}
	})
	f("", []string{
		"PATH=/bin", "MILLRACE_TEST_REQUIRE=shared", "MILLRACE_API_CORS_ALLOWED_ORIGINS=http://a, http://b,",
		"MILLRACE_API_TRUST_PROXY_HEADERS=true",
		"MILLRACE_API_INSECURE=1", "MILLRACE_API_LISTEN=:80", "MILLRACE_QUEUE_MAX_BYTES=1 GiB", "MILLRACE_QUEUE_RETAIN=15m",
		"MILLRACE_TELEMETRY_TRACE_RATIO=1",
	}, func(c *config) {
		c.API.CORSAllowedOrigins, c.API.TrustProxyHeaders = []string{"http://a", "http://b"}, true
		c.API.Insecure, c.API.Listen = true, ":80"
		c.Queue.MaxBytes, c.Queue.Retain, c.Telemetry.TraceRatio = 1<<30, 15*time.Minute, 1
	})
	f("", []string{"MILLRACE_INDEX_URL=sqlite:/elsewhere/i.db"},
		func(c *config) { c.Index.URL = "sqlite:/elsewhere/i.db" })
	f("api: {auth: keystone, listen: ':8041', keystone: {url: 'http://k:5000/v3', password: hunter2, cache: 0}}", nil,
		func(c *config) {
			c.API.Auth, c.API.Listen = "keystone", ":8041" // passwords are checked: everybody may come
			c.API.Keystone.URL, c.API.Keystone.Password, c.API.Keystone.Cache = "http://k:5000/v3", "hunter2", 0
		})
	for _, listen := range []string{"127.0.0.1:0", "127.9.9.9:1", "[::1]:8041", "localhost:8041"} {
		f("", []string{"MILLRACE_API_LISTEN=" + listen}, func(c *config) { c.API.Listen = listen })
	}
}

func TestConfigErrors(t *testing.T) {
	f := func(text string, environ []string, want ...string) {
		t.Helper()
		_, _, err := loadConfig(t, text, environ...)
		if err == nil {
			t.Errorf("%s %q: no error", text, environ)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s %q: %q does not say %q", text, environ, err, w)
			}
		}
	}
	f("apis: {listen: x}", nil, `millrace.yaml:1: there is no setting "apis"`)
	f("api:\n  listne: x\nsack: 3\n", nil, `millrace.yaml:2: there is no setting "api.listne"`,
		`millrace.yaml:3: there is no setting "sack"`)
	f("api: {listen: {a: b}}", nil, "millrace.yaml:1: api.listen: must be a single value")
	f("api: 3", nil, `millrace.yaml:1: "api" must have settings below it`)
	f("- a", nil, "must have settings below it")
	f("a: [", nil, "millrace.yaml is not YAML")
	f("sacks: 1\nsacks: 2", nil, "millrace.yaml:2: sacks is set twice")
	f("sacks: many", nil, `millrace.yaml:1: sacks: "many" is not a whole number`)
	f("sacks: 1.5", nil, "is not a whole number")
	f("telemetry: {trace_ratio: 0x1p-3}", nil, `telemetry.trace_ratio: "0x1p-3" is not a number`)
	f("api: {insecure: perhaps}", nil, `api.insecure: "perhaps" is neither true nor false`)
	f("api: {timeout: 5}", nil, `api.timeout: "5" is not a duration such as 90s`)
	f("api: {max_body: big}", nil, `api.max_body: "big" is not a size such as 64MiB`)
	f("api: {max_body: -1}", nil, "is not a size")
	f("api: {cors_allowed_origins: [[a]]}", nil, "must be a list of texts")
	f("telemetry: {otlp_headers: {a: [b]}}", nil, "must be a map of names to texts")
	f("", []string{"MILLRACE_SACKS=x", "MILLRACE_API_TIMEOUT=y"}, "MILLRACE_SACKS: ", "MILLRACE_API_TIMEOUT: ")
	f("", []string{"MILLRACE_TELEMETRY_OTLP_HEADERS=hunter2"},
		"MILLRACE_TELEMETRY_OTLP_HEADERS: not of the form name=value")

	f("", []string{"MILLRACE_SACKS=0", "MILLRACE_LOG_FORMAT=xml"}, "sacks must be between 1 and 65535, not 0",
		`log.format "xml" is not known: want text, json`)
	f("data_dir: ''", nil, "data_dir must not be empty")
	f("api: {auth: none}", nil, `api.auth "none" is not known: want basic, htpasswd, keystone, remoteuser`)
	f("api: {auth: htpasswd}", nil, "api.auth htpasswd needs api.htpasswd_file")
	f("api: {auth: remoteuser, remote_user_header: ''}", nil, "api.remote_user_header must not be empty")
	f("api: {auth: keystone}", nil, `api.keystone.url "" is not a URL such as https://host:5000/v3`,
		"api.auth keystone needs api.keystone.password")
	f("api: {auth: keystone, keystone: {url: 'host:5000', cache: -1s, timeout: 0s}}", nil,
		`api.keystone.url "host:5000" is not a URL`, "api.keystone.cache must not be negative",
		"api.keystone.timeout must be positive, not 0s")
	f("api: {auth: remoteuser, listen: ':8041'}", nil, "api.auth remoteuser checks no passwords")
	f("telemetry: {metrics_listen: x}", nil, "telemetry.metrics_listen: ")
	f("telemetry: {pprof: '6060'}", nil, "telemetry.pprof: ", "missing port")
	f("api: {max_limit: 0}", nil, "api.max_limit must be at least 1, not 0")
	f("api: {max_reads: -1}", nil, "api.max_reads must not be negative")
	f("api: {max_read_bytes: 0}", nil, "api.max_read_bytes must be positive")
	f("api: {max_points: 0}", nil, "api.max_points must be at least 1, not 0")
	f("api: {max_body: 0}", nil, "api.max_body must be positive")
	f("storage: {view_ttl: -1s}", nil, "storage.view_ttl must not be negative")
	f("storage: {driver: redis, redis: {url: 'redis://h', wait_timeout: 1us}}", nil,
		"storage.redis.wait_timeout must be at least 1ms, not 1µs")
	f("api: {wait_cap: 0}", nil, "api.wait_cap must be positive, not 0s")
	f("api: {timeout: -1s}", nil, "api.timeout must be positive")
	f("api: {ready_lag: 0}", nil, "api.ready_lag must be positive")
	f("api: {prefix: 'a?b'}", nil, "api.prefix")
	f("api: {tls_cert: x}", nil, "api.tls_cert and api.tls_key belong together")
	f("api: {listen: nowhere}", nil, "api.listen: ", "missing port")
	for _, listen := range []string{":8041", "0.0.0.0:8041", "[::]:8041", "192.0.2.1:8041", "example.org:8041"} {
		f("", []string{"MILLRACE_API_LISTEN=" + listen}, "api.listen "+listen+" can be reached from other machines",
			"set api.insecure to true")
	}
	f("ingest: {max_future: -1s}", nil, "ingest.max_future must not be negative")
	f("ingest: {max_age: 0}", nil, "ingest.max_age must be positive")
	f("ingest: {max_in_flight: 0}", nil, "ingest.max_in_flight must be positive")
	f("ingest: {min_room: 0}", nil, "ingest.min_room must be positive")
	f("ingest: {min_room: 64KiB}", nil, "ingest.min_room (64KiB) must be at least 32MiB, which is worker.flush_bytes")
	f("{ingest: {min_room: 64KiB}, storage: {driver: redis, redis: {url: redis://x}}}", nil,
		"ingest.min_room (64KiB) must be at least 1.0MiB, which the log needs")
	f("ingest: {project_quota: -1}", nil, "ingest.project_quota must not be negative")
	f("worker: {flush_interval: -1s}", nil, "worker.flush_interval must not be negative")
	f("storage: {driver: s3, s3: {access_key: a}}", nil, "storage.s3.bucket must not be empty", "belong together")
	f("storage: {driver: redis}", nil, "storage.redis.url must not be empty")
	f("storage: {driver: influxdb, influxdb: {fsync_delay: -1s}}", nil, "storage.influxdb.url must not be empty",
		"storage.influxdb.bucket must not be empty", "storage.influxdb.fsync_delay must not be negative")
	f("storage: {driver: tape}", nil, `storage.driver "tape" is not known`)
	f("worker: {flush_bytes: 3MiB, table_bytes: 2MiB}", nil,
		"worker.table_bytes (2.0MiB) must be at least worker.flush_bytes (3.0MiB)")
	f("worker: {fetch_ahead: 0, table_bytes: 31MiB}", nil, "worker.table_bytes (31MiB) must be at least")
	f("worker: {maintainers: 0}", nil, "worker.maintainers must be at least 1")
	f("queue: {driver: pigeon}", nil, `queue.driver "pigeon" is not known: want disklog, kafka`)
	f("queue: {driver: kafka}", nil, "queue.kafka.brokers must not be empty")
	f("queue: {driver: kafka, kafka: {brokers: [a:1], sasl: plain, min_in_sync: 4}}", nil,
		"queue.kafka.user must not be empty", "min_in_sync must be between 1")
	f("queue: {driver: kafka, kafka: {brokers: [a:1], cert_file: x}}", nil, "belong together")
	f("queue: {retain: -1s}", nil, "queue.retain must not be negative")
	f("queue: {max_bytes: 1MiB}", nil, "queue.max_bytes (1.0MiB) must be more than ingest.min_room (64MiB)")
	f("storage: {cache_bytes: 0}", nil, "storage.cache_bytes must be positive")
	f("index: {url: mysql://x}", nil, "index.url must start with sqlite: or postgres://")
	f("index: {cache_metrics: 0}", nil, "index.cache_metrics must be at least 1")
	f("log: {level: loud}", nil, `log.level "loud" is not known: want debug, info, warn, error`)
	f("telemetry: {trace_ratio: 2}", nil, "telemetry.trace_ratio must be between 0 and 1")

	source := configSource{file: filepath.Join(t.TempDir(), "none.yaml")}
	if _, _, err := source.load(); err == nil || !strings.Contains(err.Error(), "cannot read the configuration: open "+
		source.file) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Variables that are no settings are told, not refused.
func TestConfigStrangeVariables(t *testing.T) {
	_, strange, err := loadConfig(t, "", "MILLRACE_SERVICE_HOST=10.0.0.1", "MILLRACE_TEST_SEED=1", "MILLRACE_SACKS=2")
	if err != nil || !slices.Equal(strange, []string{"MILLRACE_SERVICE_HOST"}) {
		t.Errorf("%q, %v", strange, err)
	}
}

// Nothing that prints a configuration prints its secrets.
func TestConfigSecrets(t *testing.T) {
	c, _, err := loadConfig(t,
		"telemetry: {otlp_headers: {authorization: hunter2}}\nstorage: {s3: {secret_key: hunter2}, redis: {url: "+
			"'redis://:hunter2@h'}, influxdb: {token: hunter2}}")
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&printed, verb+"\n", c)
		fmt.Fprintf(&printed, verb+"\n", c.Telemetry.Headers["authorization"])
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
		slog.New(handler).Info("settings", "all", c, "telemetry", c.Telemetry, "header",
			c.Telemetry.Headers["authorization"])
	}
	if err := json.NewEncoder(&printed).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"hunter2", "68756e74657232"} {
		if strings.Contains(printed.String(), leak) {
			t.Errorf("%s", printed.String())
		}
	}
	if c.Telemetry.Headers["authorization"] != "hunter2" {
		t.Error("the secret itself is lost")
	}
}

func TestSize(t *testing.T) {
	f := func(text string, want size, printed string) {
		t.Helper()
		var got size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != printed {
			t.Errorf("%s: %d (%s), %v; want %d (%s)", text, got, got, err, want, printed)
		}
	}
	f("0", 0, "0")
	f("1", 1, "1B")
	f("64MiB", 64<<20, "64MiB")
	f("1.5 KiB", 1536, "1.5KiB")
	f("2GB", 2_000_000_000, "1.9GiB")
	var s size
	for _, bad := range []string{"", "x", "-1", "1ZiBB", "8EiB"} {
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %d", bad, s)
		}
	}
}

// The help of serve has every setting, and the names that other tools rely on stay.
func TestServeHelp(t *testing.T) {
	out, errOut, code := command(t, nil, "serve", "--help")
	if code != 0 || errOut != "" {
		t.Fatalf("status %d: %s", code, errOut)
	}
	c := defaults()
	all := c.settings()
	if len(all) < 30 {
		t.Fatalf("only %d settings", len(all))
	}
	for _, s := range all {
		if !strings.Contains(out, "\n  "+s.key+" ") {
			t.Errorf("--help doesn't list %s", s.key)
		}
	}
	for _, key := range []string{
		"data_dir", "sacks", "api.listen", "api.prefix", "api.auth", "api.insecure", "api.max_limit",
		"api.cors_allowed_origins",
		"api.trust_proxy_headers", "ingest.max_future", "queue.driver", "queue.retain", "storage.driver", "index.url",
		"storage.s3.endpoint", "storage.s3.bucket", "storage.s3.prefix", "storage.s3.region", "storage.redis.url",
		"storage.redis.prefix",
		"storage.influxdb.url", "storage.influxdb.org", "storage.influxdb.bucket", "storage.influxdb.token",
	} {
		if !slices.ContainsFunc(all, func(s setting) bool { return s.key == key }) {
			t.Errorf("there is no setting %s", key)
		}
	}
	for _, line := range []string{"[127.0.0.1:8041]", "[64MiB]", "[sqlite:<data_dir>/index.db]", "--roles"} {
		if !strings.Contains(out, line) {
			t.Errorf("--help doesn't say %s", line)
		}
	}
}

var update = flag.Bool("update", false, "write the files that tests compare with anew")

// The example in the project's root has every setting: as it is it changes none, and
// neither does it with every # taken off.
func TestExampleYAML(t *testing.T) {
	const path = "../../millrace.example.yaml"
	if *update {
		if err := os.WriteFile(path, []byte(exampleYAML()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleYAML(), string(text)); diff != "" {
		t.Errorf("%s is not what the settings are: go test ./cmd/millrace -run TestExampleYAML -update (-want +got):\n%s",
			path, diff)
	}
	want, _, err := loadConfig(t, "")
	if err != nil {
		t.Fatal(err)
	}
	uncommented := regexp.MustCompile(`(?m)^( *)#([a-z])`).ReplaceAllString(string(text), "$1$2")
	for _, text := range []string{string(text), uncommented} {
		got, _, err := loadConfig(t, text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		type values config // without methods: secrets are compared as they are
		if diff := cmp.Diff(values(want), values(got), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for _, s := range new(config).settings() {
		name := s.key[strings.LastIndex(s.key, ".")+1:]
		if !strings.Contains(uncommented, name+": ") {
			t.Errorf("there is no %s", s.key)
		}
	}
}

// A setting that is a secret is read from both places, and printed by none.
func TestSecretSetting(t *testing.T) {
	var section struct {
		Token secret `name:"token" help:"what opens the door"`
	}
	known := leaves(reflect.ValueOf(&section).Elem(), "storage.x.")
	if err := readYAML("f.yaml", []byte("storage: {x: {token: hunter2}}"), known); err != nil ||
		section.Token != "hunter2" {
		t.Errorf("%q, %v", string(section.Token), err)
	}
	if _, err := readEnvironment([]string{"MILLRACE_STORAGE_X_TOKEN=hunter3"}, known); err != nil ||
		section.Token != "hunter3" {
		t.Errorf("%q, %v", string(section.Token), err)
	}
	err := readYAML("f.yaml", []byte("storage: {x: {token: [hunter2]}}"), known)
	if text := fmt.Sprint(section, err); strings.Contains(text, "hunter") {
		t.Error(text)
	}
}

// What is wrong with the settings ends a command with status 1 and says where.
func TestConfigErrorsEndCommands(t *testing.T) {
	file := configFile(t, "api:\n  lsiten: x\n")
	for _, args := range [][]string{{"serve"}, {"status"}, {"check"}, {"dead-letters", "list"}, {"bench"}} {
		_, errOut, code := command(t, nil, append(args, "--config", file)...)
		if want := "millrace: " + file + `:2: there is no setting "api.lsiten"` + "\n"; code != 1 || errOut != want {
			t.Errorf("%q: status %d, %q, want %q", args, code, errOut, want)
		}
	}
}

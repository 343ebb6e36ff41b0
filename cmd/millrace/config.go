package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// config is every setting. A name is a setting's key in the file; help says what it
// does. A field without help is a section.
type config struct {
	DataDir string `name:"data_dir" help:"where everything embedded keeps its data"`
	Sacks   int    `name:"sacks" help:"partitions of the metrics and of the log; fixed when a deployment is created"`

	API       apiConfig       `name:"api"`
	Ingest    ingestConfig    `name:"ingest"`
	Worker    workerConfig    `name:"worker"`
	Queue     queueConfig     `name:"queue"`
	Storage   storageConfig   `name:"storage"`
	Index     indexConfig     `name:"index"`
	Log       logConfig       `name:"log"`
	Telemetry telemetryConfig `name:"telemetry"`
}

type apiConfig struct {
	Listen             string        `name:"listen" help:"address and port of the API"`
	Prefix             string        `name:"prefix" help:"path below which the API is mounted, such as /gnocchi"`
	Auth               string        `name:"auth" help:"how callers say who they are: basic (a name, no password check)"`
	Insecure           bool          `name:"insecure" help:"allow passwordless auth on other addresses than loopback"`
	MaxLimit           int           `name:"max_limit" help:"largest page of a listing"`
	MaxBody            size          `name:"max_body" help:"largest request body; larger ones get 413"`
	CORSAllowedOrigins []string      `name:"cors_allowed_origins" help:"origins that browsers may call from; * is any"`
	TrustProxyHeaders  bool          `name:"trust_proxy_headers" help:"believe Forwarded and X-Forwarded-*"`
	WaitCap            time.Duration `name:"wait_cap" help:"longest that a request waits for measures to be applied"`
	Timeout            time.Duration `name:"timeout" help:"longest time to an answer"`
	ReadyLag           time.Duration `name:"ready_lag" help:"age of the oldest unapplied record at which /readyz says no"`
	TLSCert            string        `name:"tls_cert" help:"certificate file; with tls_key: serve HTTPS"`
	TLSKey             string        `name:"tls_key" help:"key file of the certificate"`
}

type ingestConfig struct {
	MaxFuture    time.Duration `name:"max_future" help:"measures further ahead of the clock are refused; 0: none are"`
	MaxInFlight  size          `name:"max_in_flight" help:"bytes on their way into the log; beyond that 503"`
	MaxAge       time.Duration `name:"max_age" help:"age of the oldest unapplied record beyond which nothing is accepted (503)"`
	MinRoom      size          `name:"min_room" help:"bytes that the log must have left; below that 503"`
	ProjectQuota float64       `name:"project_quota" help:"measures per second and project, beyond that 429; 0: no quota"`
}

type workerConfig struct {
	FlushInterval time.Duration `name:"flush_interval" help:"how long an applied record may wait to become readable"`
	FlushBytes    size          `name:"flush_bytes" help:"buffered bytes of one sack that are flushed sooner"`
	Maintainers   int           `name:"maintainers" help:"sacks that are merged and sealed at the same time"`
}

type queueConfig struct {
	Driver      string        `name:"driver" help:"the log: disklog (embedded)"`
	Retain      time.Duration `name:"retain" help:"how long the log keeps what has been applied"`
	MaxBytes    size          `name:"max_bytes" help:"how large the log may grow; 0: as the disk allows"`
	SkipMissing bool          `name:"skip_missing" help:"start without what is missing or damaged in the log or among dead letters, for one start, instead of refusing to"`
}

type storageConfig struct {
	Driver     string `name:"driver" help:"where segments are kept: file"`
	CacheBytes size   `name:"cache_bytes" help:"memory for the footers of segments"`
}

type indexConfig struct {
	URL            string `name:"url" help:"the index: sqlite:<path>"`
	CacheMetrics   int    `name:"cache_metrics" help:"metrics that the index keeps in memory"`
	CreateDefaults bool   `name:"create_defaults" help:"create the archive policies low, medium, high and bool and the rule default where there are none"`
}

type logConfig struct {
	Level  string `name:"level" help:"debug, info, warn or error"`
	Format string `name:"format" help:"text or json"`
}

type telemetryConfig struct {
	Prometheus bool              `name:"prometheus" help:"serve /metrics"`
	OTLP       string            `name:"otlp_endpoint" help:"OpenTelemetry collector (http://host:4318) for metrics and traces; none"`
	Headers    map[string]secret `name:"otlp_headers" help:"headers sent with OTLP requests"`
	TraceRatio float64           `name:"trace_ratio" help:"share of requests that are traced when otlp_endpoint is set"`
}

// defaults returns the settings of a deployment that says nothing.
func defaults() config {
	return config{
		DataDir: "millrace-data",
		Sacks:   16,
		API: apiConfig{
			Listen: "127.0.0.1:8041", Auth: "basic", MaxLimit: 1000, MaxBody: 64 << 20,
			WaitCap: 4 * time.Second, Timeout: 5 * time.Second, ReadyLag: 5 * time.Minute,
		},
		Ingest:    ingestConfig{MaxFuture: 24 * time.Hour, MaxInFlight: 256 << 20, MaxAge: time.Hour, MinRoom: 64 << 20},
		Worker:    workerConfig{FlushInterval: time.Second, FlushBytes: 16 << 20, Maintainers: 1},
		Queue:     queueConfig{Driver: "disklog"},
		Storage:   storageConfig{Driver: "file", CacheBytes: 64 << 20},
		Index:     indexConfig{CacheMetrics: 2_000_000},
		Log:       logConfig{Level: "info", Format: "text"},
		Telemetry: telemetryConfig{Prometheus: true, TraceRatio: 0.01},
	}
}

// configSource is where settings come from: a file, and over it the environment.
type configSource struct {
	file    string // none: the environment alone
	environ []string
}

// load returns the settings, and the names of MILLRACE_ variables that are none.
// The error joins everything that is wrong, each with its place and key.
func (s *configSource) load() (c config, strange []string, err error) {
	c = defaults()
	known := c.settings()
	var errs []error
	if s.file != "" {
		data, err := os.ReadFile(s.file)
		if err != nil {
			return c, nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		errs = append(errs, readYAML(s.file, data, known))
	}
	strange, err = readEnvironment(s.environ, known)
	if err := errors.Join(append(errs, err)...); err != nil {
		return c, nil, err
	}
	if c.Index.URL == "" {
		c.Index.URL = "sqlite:" + filepath.Join(c.DataDir, "index.db")
	}
	return c, strange, c.validate()
}

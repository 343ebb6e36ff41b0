package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// config is every setting. Each is declared once, on one line: name is its key in the
// file, default the text of its value where nobody says otherwise, oneof what it may
// be, help what it does. A field without help is a section; a new driver brings one of
// its own, with a method validate, in a file beside this one.
type config struct {
	DataDir string `name:"data_dir" default:"millrace-data" help:"where everything embedded keeps its data"`
	Sacks   int    `name:"sacks" default:"16" help:"partitions of the log; fixed when a deployment is created"`

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
	Listen             string        `name:"listen" default:"127.0.0.1:8041" help:"address and port of the API"`
	Prefix             string        `name:"prefix" help:"path below which the API is mounted: /gnocchi"`
	Auth               string        `name:"auth" default:"basic" oneof:"basic htpasswd keystone remoteuser" help:"who callers are"`
	Insecure           bool          `name:"insecure" help:"allow auth basic and remoteuser beyond loopback"`
	MaxLimit           int           `name:"max_limit" default:"1000" help:"largest page of a listing"`
	MaxReads           int           `name:"max_reads" default:"0" help:"reads computed at one time, more wait; 0: one for each processor, 16 where storage is slow to answer"`
	MaxReadBytes       size          `name:"max_read_bytes" default:"256MiB" help:"memory for the rows of all reads; beyond it reads get 503"`
	MaxPoints          int           `name:"max_points" default:"16777216" help:"values that one question across metrics may hold in memory; beyond it it gets 400"`
	MaxBody            size          `name:"max_body" default:"64MiB" help:"largest request body; larger ones get 413"`
	CORSAllowedOrigins []string      `name:"cors_allowed_origins" help:"origins that browsers may call from; * is any"`
	TrustProxyHeaders  bool          `name:"trust_proxy_headers" help:"believe Forwarded and X-Forwarded-*"`
	WaitCap            time.Duration `name:"wait_cap" default:"4s" help:"longest wait for measures to be applied"`
	Timeout            time.Duration `name:"timeout" default:"5s" help:"longest time to an answer"`
	ReadyLag           time.Duration `name:"ready_lag" default:"5m" help:"age of unapplied records at which not ready"`
	TLSCert            string        `name:"tls_cert" help:"certificate file; with tls_key: serve HTTPS"`
	TLSKey             string        `name:"tls_key" help:"key file of the certificate"`
	HtpasswdFile       string        `name:"htpasswd_file" help:"users and bcrypt hashes, as htpasswd -B writes them"`
	RemoteUserHeader   string        `name:"remote_user_header" default:"X-Remote-User" help:"what names the user for remoteuser"`
	PolicyFile         string        `name:"policy_file" help:"who may do what: roles per rule of the v1 API"`

	Keystone keystoneConfig `name:"keystone"`
}

type ingestConfig struct {
	MaxFuture    time.Duration `name:"max_future" default:"30m" help:"measures further ahead are refused, each alone; 0: none"`
	MaxInFlight  size          `name:"max_in_flight" default:"256MiB" help:"bytes on their way into the log, then 503"`
	MaxAge       time.Duration `name:"max_age" default:"1h" help:"age of unapplied records, then 503"`
	MinRoom      size          `name:"min_room" default:"64MiB" help:"bytes that the log must leave of its disk, else 503; at least worker.flush_bytes where the storage is on it"`
	ProjectQuota float64       `name:"project_quota" help:"measures/s of a project, then 429; 0: no quota"`
}

type workerConfig struct {
	FlushInterval time.Duration `name:"flush_interval" help:"longest that a record waits for its flush; 0: 10s, on S3 60s"`
	NudgeInterval time.Duration `name:"nudge_interval" help:"least time between flushes of a sack that others wait for; 0: none, on S3 1s"`
	FlushBytes    size          `name:"flush_bytes" help:"bytes of a sack that are flushed sooner; 0: 32MiB, on InfluxDB 2MiB, or less with many sacks"`
	TableBytes    size          `name:"table_bytes" help:"bytes of all sacks that await a flush, at most; 0: 256MiB, on InfluxDB 32MiB, or flush_bytes where that is more"`
	FetchAhead    size          `name:"fetch_ahead" help:"memory for reading the log ahead, of all sacks; 0: 64MiB, on InfluxDB 16MiB"`
	Maintainers   int           `name:"maintainers" default:"16" help:"sacks that do housekeeping at the same time; one large merge and one small go on at once"`
}

type indexConfig struct {
	URL            string        `name:"url" default:"sqlite:<data_dir>/index.db" help:"sqlite:<path>, or postgres://<user>:<password>@<host>/<database>; data_dir can be in it"`
	CacheMetrics   int           `name:"cache_metrics" default:"2000000" help:"metrics that the index keeps in memory"`
	Believe        time.Duration `name:"believe" default:"10m" help:"how long what is in memory is believed while the index's database can't be asked"`
	MaxDefinitions int           `name:"max_definitions" default:"64" help:"definitions that an archive policy may have"`
	MaxLetters     int           `name:"max_letters" default:"1000000" help:"dead letters that there may be; at that number what can't be applied holds its sack"`
	MaxLetterBytes size          `name:"max_letter_bytes" default:"1GiB" help:"how much dead letters may take"`
	CreateDefaults bool          `name:"create_defaults" help:"give an empty index Gnocchi's archive policies"`
}

type logConfig struct {
	Level  string `name:"level" default:"info" oneof:"debug info warn error" help:"what is logged, and worse"`
	Format string `name:"format" default:"text" oneof:"text json" help:"how it is written"`
}

type telemetryConfig struct {
	Listen     string            `name:"metrics_listen" help:"a listener of its own for /metrics; none: the API's"`
	Pprof      string            `name:"pprof" help:"a listener of its own for profiles of this process, open to whoever reaches it; none: off"`
	Guarded    bool              `name:"metrics_auth" help:"/metrics asks for credentials that may get the status"`
	Prometheus bool              `name:"prometheus" default:"true" help:"serve /metrics"`
	OTLP       string            `name:"otlp_endpoint" help:"OpenTelemetry collector, http://host:4318"`
	Headers    map[string]secret `name:"otlp_headers" help:"headers sent with OTLP requests"`
	TraceRatio float64           `name:"trace_ratio" default:"0.01" help:"share of requests that are traced (OTLP)"`
}

// defaults returns the settings of a deployment that says nothing.
func defaults() config {
	var c config
	for _, s := range c.settings() {
		if s.standard == "" {
			continue // its zero value
		}
		if err := s.parse(s.standard); err != nil {
			panic(fmt.Sprintf("BUG: the default of %s: %v", s.key, err))
		}
	}
	return c
}

// configSource is where settings come from: a file, and over it the environment.
type configSource struct {
	file    string // none: the environment alone
	environ []string
}

// variable returns a variable of the environment that is no setting.
func (s *configSource) variable(name string) string {
	for _, pair := range s.environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
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
	c.Index.URL = strings.ReplaceAll(c.Index.URL, "<data_dir>", filepath.Clean(c.DataDir))
	return c, strange, c.validate()
}

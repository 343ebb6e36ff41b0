package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// config is every setting. The tags are the names in the file; help says what a
// setting does.
type config struct {
	DataDir string `koanf:"data_dir" help:"where everything embedded keeps its data"`
	Sacks   int    `koanf:"sacks" help:"partitions of the metrics and of the log; fixed when a deployment is created"`

	API       apiConfig       `koanf:"api"`
	Ingest    ingestConfig    `koanf:"ingest"`
	Worker    workerConfig    `koanf:"worker"`
	Queue     queueConfig     `koanf:"queue"`
	Storage   storageConfig   `koanf:"storage"`
	Index     indexConfig     `koanf:"index"`
	Log       logConfig       `koanf:"log"`
	Telemetry telemetryConfig `koanf:"telemetry"`
}

type apiConfig struct {
	Listen             string        `koanf:"listen" help:"address and port of the API"`
	Prefix             string        `koanf:"prefix" help:"path below which the API is mounted, such as /gnocchi"`
	Auth               string        `koanf:"auth" help:"how callers say who they are: basic (a name, no password check)"`
	Insecure           bool          `koanf:"insecure" help:"allow passwordless auth on other addresses than loopback"`
	MaxLimit           int           `koanf:"max_limit" help:"largest page of a listing"`
	MaxBody            size          `koanf:"max_body" help:"largest request body; larger ones get 413"`
	CORSAllowedOrigins []string      `koanf:"cors_allowed_origins" help:"origins that browsers may call from; * is any"`
	TrustProxyHeaders  bool          `koanf:"trust_proxy_headers" help:"believe Forwarded and X-Forwarded-*"`
	WaitCap            time.Duration `koanf:"wait_cap" help:"longest that a request waits for measures to be applied"`
	Timeout            time.Duration `koanf:"timeout" help:"longest time to an answer"`
	ReadyLag           time.Duration `koanf:"ready_lag" help:"age of the oldest unapplied record at which /readyz says no"`
	TLSCert            string        `koanf:"tls_cert" help:"certificate file; with tls_key: serve HTTPS"`
	TLSKey             string        `koanf:"tls_key" help:"key file of the certificate"`
}

type ingestConfig struct {
	MaxFuture    time.Duration `koanf:"max_future" help:"measures further ahead of the clock are refused; 0: none are"`
	MaxInFlight  size          `koanf:"max_in_flight" help:"bytes on their way into the log; beyond that 503"`
	MaxAge       time.Duration `koanf:"max_age" help:"age of the oldest unapplied record beyond which nothing is accepted (503)"`
	MinRoom      size          `koanf:"min_room" help:"bytes that the log must have left; below that 503"`
	ProjectQuota float64       `koanf:"project_quota" help:"measures per second and project, beyond that 429; 0: no quota"`
}

type workerConfig struct {
	FlushInterval time.Duration `koanf:"flush_interval" help:"how long an applied record may wait to become readable"`
	FlushBytes    size          `koanf:"flush_bytes" help:"buffered bytes of one sack that are flushed sooner"`
	Maintainers   int           `koanf:"maintainers" help:"sacks that are merged and sealed at the same time"`
}

type queueConfig struct {
	Driver      string        `koanf:"driver" help:"the log: disklog (embedded)"`
	Retain      time.Duration `koanf:"retain" help:"how long the log keeps what has been applied"`
	MaxBytes    size          `koanf:"max_bytes" help:"how large the log may grow; 0: as the disk allows"`
	SkipMissing bool          `koanf:"skip_missing" help:"start without what is missing or damaged in the log, for one start, instead of refusing to"`
}

type storageConfig struct {
	Driver     string `koanf:"driver" help:"where segments are kept: file"`
	CacheBytes size   `koanf:"cache_bytes" help:"memory for the footers of segments"`
}

type indexConfig struct {
	URL            string `koanf:"url" help:"the index: sqlite:<path>"`
	CacheMetrics   int    `koanf:"cache_metrics" help:"metrics that the index keeps in memory"`
	CreateDefaults bool   `koanf:"create_defaults" help:"create the archive policies low, medium, high and bool and the rule default where there are none"`
}

type logConfig struct {
	Level  string `koanf:"level" help:"debug, info, warn or error"`
	Format string `koanf:"format" help:"text or json"`
}

type telemetryConfig struct {
	Prometheus bool              `koanf:"prometheus" help:"serve /metrics"`
	OTLP       string            `koanf:"otlp_endpoint" help:"OpenTelemetry collector (http://host:4318) for metrics and traces; none"`
	Headers    map[string]secret `koanf:"otlp_headers" help:"headers sent with OTLP requests"`
	TraceRatio float64           `koanf:"trace_ratio" help:"share of requests that are traced when otlp_endpoint is set"`
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

// size is a number of bytes; it is written as a number or with a unit: 64MiB, 1GB.
type size int64

func (b *size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	*b = size(n)
	return nil
}

func (b size) String() string {
	if b == 0 {
		return "0"
	}
	return strings.ReplaceAll(humanize.IBytes(uint64(b)), " ", "")
}

// secret is a text that is never printed.
type secret string

func (secret) String() string   { return "**redacted**" }
func (secret) GoString() string { return "**redacted**" }

// MarshalText keeps it out of structured logs too.
func (secret) MarshalText() ([]byte, error) { return []byte("**redacted**"), nil }

// configSource is where settings come from.
type configSource struct {
	file    string
	environ []string
}

// load returns the settings, and the names of MILLRACE_ variables that are none.
func (s *configSource) load() (config, []string, error) {
	c := defaults()
	known := settings(reflect.ValueOf(&c).Elem(), "")
	k := koanf.New(".")
	if s.file != "" {
		if err := k.Load(file.Provider(s.file), yaml.Parser()); err != nil {
			return config{}, nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
	}
	values, strange := fromEnvironment(s.environ, known)
	if err := k.Load(confmap.Provider(values, "."), nil); err != nil {
		return config{}, nil, err
	}
	for _, key := range k.Keys() {
		if !isKnown(key, known) {
			return config{}, nil, fmt.Errorf("%s: there is no setting %q", s.file, key)
		}
	}
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			durationHook, mapstructure.StringToSliceHookFunc(","), mapstructure.TextUnmarshallerHookFunc()),
	}})
	if err != nil {
		return config{}, nil, fmt.Errorf("cannot understand the configuration: %w", err)
	}
	if c.Index.URL == "" {
		c.Index.URL = "sqlite:" + filepath.Join(c.DataDir, "index.db")
	}
	return c, strange, c.validate()
}

// durationHook reads durations like 1m30s, and refuses bare numbers: of what unit?
func durationHook(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	if text, ok := value.(string); ok {
		return time.ParseDuration(text)
	}
	if reflect.ValueOf(value).IsZero() {
		return time.Duration(0), nil
	}
	return nil, fmt.Errorf("%v is not a duration such as 10s", value)
}

// A setting is one leaf of the configuration.
type setting struct {
	key, help string
	value     reflect.Value
}

// settings lists the leaves of a configuration.
func settings(v reflect.Value, prefix string) []setting {
	var list []setting
	for i := range v.NumField() {
		field := v.Type().Field(i)
		key := prefix + field.Tag.Get("koanf")
		if help := field.Tag.Get("help"); help != "" {
			list = append(list, setting{key, help, v.Field(i)})
		} else {
			list = append(list, settings(v.Field(i), key+".")...)
		}
	}
	return list
}

func isKnown(key string, known []setting) bool {
	return slices.ContainsFunc(known, func(s setting) bool {
		return s.key == key || s.value.Kind() == reflect.Map && strings.HasPrefix(key, s.key+".")
	})
}

// variable is the name of a setting's environment variable.
func (s setting) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

const envPrefix = "MILLRACE_"

// fromEnvironment picks the settings out of the environment. It can't refuse what
// it doesn't know: orchestrators put variables of their own there
// (MILLRACE_SERVICE_HOST), tests as well.
func fromEnvironment(environ []string, known []setting) (values map[string]any, strange []string) {
	values = make(map[string]any)
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if i := slices.IndexFunc(known, func(s setting) bool { return s.variable() == name }); i >= 0 {
			values[known[i].key] = value
		} else if !strings.HasPrefix(name, envPrefix+"TEST_") {
			strange = append(strange, name)
		}
	}
	return values, strange
}

// validate refuses what can't be meant.
func (c *config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Sacks >= 1 && c.Sacks <= 65535, "sacks must be between 1 and 65535, not %d", c.Sacks)
	check(c.DataDir != "", "data_dir must not be empty")
	check(c.API.Auth == "basic", "api.auth %q is not known: basic is", c.API.Auth)
	check(c.Queue.Driver == "disklog", "queue.driver %q is not known: disklog is", c.Queue.Driver)
	check(c.Storage.Driver == "file", "storage.driver %q is not known: file is", c.Storage.Driver)
	check(strings.HasPrefix(c.Index.URL, "sqlite:"), "index.url must start with sqlite:")
	check(c.API.MaxLimit >= 1, "api.max_limit must be at least 1, not %d", c.API.MaxLimit)
	check(c.API.MaxBody >= 1, "api.max_body must be at least 1")
	check((c.API.TLSCert == "") == (c.API.TLSKey == ""), "api.tls_cert and api.tls_key belong together")
	check(c.Ingest.MaxFuture >= 0, "ingest.max_future must not be negative")
	check(c.Ingest.ProjectQuota >= 0, "ingest.project_quota must not be negative")
	check(c.Worker.FlushInterval > 0, "worker.flush_interval must be positive")
	check(c.Worker.Maintainers >= 1, "worker.maintainers must be at least 1")
	check(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level %q is not one of debug, info, warn, error", c.Log.Level)
	check(c.Log.Format == "text" || c.Log.Format == "json", "log.format %q is neither text nor json", c.Log.Format)
	check(c.Telemetry.TraceRatio >= 0 && c.Telemetry.TraceRatio <= 1, "telemetry.trace_ratio must be between 0 and 1")
	if host, _, err := net.SplitHostPort(c.API.Listen); err != nil {
		check(false, "api.listen: %w", err)
	} else {
		check(c.API.Insecure || isLoopback(host),
			"api.listen %s can be reached from other machines, and api.auth basic checks no passwords: set api.insecure to true if that is meant", c.API.Listen)
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// settingsHelp lists every setting for --help.
func settingsHelp() string {
	c := defaults()
	c.Index.URL = "sqlite:<data_dir>/index.db"
	var b strings.Builder
	for _, s := range settings(reflect.ValueOf(&c).Elem(), "") {
		fmt.Fprintf(&b, "  %-28s %s", s.key, s.help)
		if v := fmt.Sprint(s.value.Interface()); v != "" && v != "[]" && v != "map[]" {
			fmt.Fprintf(&b, " [%s]", v)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// makeDataDir creates the data directory, for nobody but its owner.
func (c *config) makeDataDir() error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot make the data directory: %w", err)
	}
	return nil
}

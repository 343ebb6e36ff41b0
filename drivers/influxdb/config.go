package influxdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Config says where InfluxDB is and how to talk to it. The zero value of a field means
// its default.
type Config struct {
	URL    string // http://host:8086
	Org    string // 1.8 takes any
	Bucket string // 1.8: the database, or database/retention policy
	Token  string // 1.8: user:password, or nothing where it asks for none
	CAFile string // PEM file of the certificates to trust; none: the system's
	Sacks  int    // of the deployment

	// Deployment is the id of the deployment that the bucket is to belong to; none: any.
	Deployment string

	Gzip       bool          // compress what is written: on slow networks
	Timeout    time.Duration // longest wait for an answer; 20 s
	BatchLines int           // points in one write at most; 10000
	BatchBytes int           // bytes in one write at most, roughly; 1 MiB
	MaxWrites  int           // writes of points at the same time, of all sacks; 4
	LabelBytes int           // memory for the series keys of metrics, roughly; 64 MiB
	ReadChunk  int           // metrics in one query at most; 100

	// FsyncDelay is how long the server may take to sync its write-ahead log after it
	// has answered (storage-wal-fsync-delay, wal-fsync-delay); 0: it syncs first.
	FsyncDelay time.Duration

	// CreateBucket has a missing bucket created, which keeps points for Retention (0:
	// for ever) in shards of ShardDuration (0: as the server likes).
	CreateBucket  bool
	Retention     time.Duration
	ShardDuration time.Duration

	// DescribeEvery is how often it is looked up whether metrics that have had measures are
	// called otherwise now; 0: nothing is said of that, not even once.
	DescribeEvery time.Duration

	// LongestTimespan is the longest that an archive policy keeps rows for, 0 for ever,
	// and false when there is no policy. A bucket that keeps points for less is warned of.
	LongestTimespan func(context.Context) (time.Duration, bool)

	// Transport is what requests are sent with; nil: HTTP.
	Transport http.RoundTripper
}

func (c Config) withDefaults() Config {
	setDefault(&c.Timeout, 20*time.Second)
	setDefault(&c.BatchLines, 10_000)
	setDefault(&c.BatchBytes, 1<<20)
	setDefault(&c.MaxWrites, 4)
	setDefault(&c.LabelBytes, 64<<20)
	setDefault(&c.ReadChunk, 100)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check says what is wrong with a configuration, without asking anybody.
func (c *Config) check() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the URL of InfluxDB must be http://host:port or https://host:port, not %q", redactedURL(c.URL))
	case u.User != nil:
		return errors.New("the URL of InfluxDB must not have a user in it: the token is for that (1.8: user:password)")
	case c.Bucket == "":
		return errors.New("the bucket of InfluxDB must not be empty")
	case c.Sacks < 1:
		return fmt.Errorf("there must be at least one sack, not %d", c.Sacks)
	}
	return nil
}

// redactedURL is a URL to show, without a password that doesn't belong there.
func redactedURL(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return "what can't be parsed"
}

// transport builds the HTTP transport that the settings ask for.
func (c *Config) transport() (http.RoundTripper, error) {
	if c.Transport != nil {
		return c.Transport, nil
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
	t.IdleConnTimeout = 90 * time.Second
	t.ResponseHeaderTimeout = c.Timeout
	t.DisableCompression = true // of answers: it costs more than it saves nearby
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificates to trust InfluxDB by: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in it", c.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

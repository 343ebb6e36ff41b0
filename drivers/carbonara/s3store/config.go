package s3store

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"millrace/drivers/carbonara"
)

// Config says where the bucket is, and how it is used.
type Config struct {
	// Endpoint is the URL of a server; empty: AWS's, in Region.
	Endpoint string
	// Region is what requests are signed for; empty: what the SDK finds (AWS_REGION, its
	// files), or us-east-1 with an Endpoint.
	Region string
	// Bucket must exist.
	Bucket string
	// Prefix is put before every name, and may be empty.
	Prefix string
	// CAFile has the certificates, in PEM, that the endpoint's is held against; empty: the
	// system's.
	CAFile string
	// VirtualHost says that the bucket is a part of the host's name
	// (bucket.host/key), as it always is without an Endpoint, and not of the path.
	VirtualHost bool
	// AccessKey and SecretKey; empty: what the SDK's chain finds (environment, files, roles).
	AccessKey, SecretKey string
	// Encryption is "AES256", "aws:kms", or empty: the bucket's default. KMSKey is the id of
	// a key of aws:kms; empty: the account's.
	Encryption, KMSKey string
	// StorageClass of what is put; empty: the server's default.
	StorageClass string
	// Checksum is "crc32c" (sent with each PUT and asked for with each GET), "none" (only
	// where the protocol requires one), or "auto": crc32c on AWS, none on others, many of which
	// refuse it.
	Checksum string
	// MaxRequests bounds the requests under way (64). Fewer are made while the server asks
	// for it (503, 429).
	MaxRequests int
	// Timeout bounds the wait for the answer to one request (20 s).
	Timeout time.Duration
	// FlushInterval and NudgeInterval are those of the store's Traits (60 s, 1 s).
	FlushInterval, NudgeInterval time.Duration
}

// The store's own limits.
const (
	maxObject   = 64 << 20
	deleteBatch = 1000 // the protocol's
)

// checked is the configuration with its defaults, or says what is wrong with it.
func (c Config) checked() (Config, error) {
	if c.Bucket == "" {
		return c, errors.New("s3: the bucket's name is missing")
	}
	if c.Endpoint != "" {
		at, err := url.Parse(c.Endpoint)
		if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || strings.Trim(at.Path, "/") != "" ||
			at.User != nil {
			return c, errors.New("s3: the endpoint must be of the form https://host or https://host:port")
		}
		c.Region = cmp.Or(c.Region, "us-east-1")
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return c, errors.New("s3: access key and secret key go together: both, or none")
	}
	switch c.Encryption {
	case "", "AES256", "aws:kms":
	default:
		return c, fmt.Errorf("s3: there is no encryption %q: AES256 and aws:kms are", c.Encryption)
	}
	if c.KMSKey != "" && c.Encryption != "aws:kms" {
		return c, errors.New("s3: a KMS key needs the encryption aws:kms")
	}
	switch c.Checksum = cmp.Or(c.Checksum, "auto"); c.Checksum {
	case "auto", "crc32c", "none":
	default:
		return c, fmt.Errorf("s3: there is no checksum %q: auto, crc32c and none are", c.Checksum)
	}
	if c.Prefix = strings.Trim(c.Prefix, "/"); c.Prefix != "" {
		c.Prefix += "/"
	}
	if strings.Contains(c.Prefix, "//") {
		return c, fmt.Errorf("s3: the prefix %q has an empty element", c.Prefix)
	}
	for element := range strings.SplitSeq(c.Prefix, "/") {
		if element == "." || element == ".." { // which servers refuse, or take for another folder
			return c, fmt.Errorf("s3: the prefix %q has an element %s", strings.TrimSuffix(c.Prefix, "/"), element)
		}
	}
	if _, err := c.authorities(); err != nil {
		return c, err
	}
	if c.MaxRequests <= 0 {
		c.MaxRequests = 64
	}
	c.Timeout = cmp.Or(c.Timeout, 20*time.Second)
	c.FlushInterval = cmp.Or(c.FlushInterval, time.Minute)
	c.NudgeInterval = cmp.Or(c.NudgeInterval, time.Second)
	return c, nil
}

// crc32c says whether checksums of that kind are used.
func (c Config) crc32c() bool {
	return c.Checksum == "crc32c" || c.Checksum == "auto" && c.Endpoint == ""
}

// authorities are the certificates that are trusted; nil: the system's.
func (c Config) authorities() (*x509.CertPool, error) {
	pool, err := carbonara.Authorities(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return pool, nil
}

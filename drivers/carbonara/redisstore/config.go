package redisstore

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"millrace/drivers/carbonara"
)

// Config says where the server is, and how much is asked of it.
type Config struct {
	// URL is redis://user:password@host:port/db; rediss:// with TLS;
	// redis+cluster://host:port,host:port; or
	// redis+sentinel://user:password@sentinel:port,sentinel:port/db?master_name=NAME, to which
	// sentinel_username and sentinel_password may be added. Other parameters are those of
	// go-redis (dial_timeout, read_timeout, pool_size, …).
	URL string
	// Prefix, and a colon, begin every key ("millrace"). It has no braces.
	Prefix string
	// CAFile has the certificates, in PEM, that the server's is held against; empty: the
	// system's.
	CAFile string
	// WaitReplicas is how many replicas must have a swap before it counts, WaitFsync whether it
	// must be in the append-only file (theirs too; from Redis 7.2 on).
	WaitReplicas int
	WaitFsync    bool
	// WaitTimeout bounds the wait for that (1 s).
	WaitTimeout time.Duration
	// FlushInterval and NudgeInterval are those of the store's Traits (10 s, 0).
	FlushInterval, NudgeInterval time.Duration
}

// The store's own limits: no command may keep the server from others for long.
const (
	maxObject   = 8 << 20
	deleteBatch = 1000
)

// A mode is what sort of server a URL is about.
type mode string

const (
	alone    mode = ""
	cluster  mode = "+cluster"
	sentinel mode = "+sentinel"
)

func (c Config) checked() (Config, error) {
	c.Prefix = cmp.Or(c.Prefix, "millrace") + ":"
	if strings.ContainsAny(c.Prefix, "{}") {
		return c, fmt.Errorf("redis: the prefix %q has braces, which decide where a cluster puts a key", c.Prefix)
	}
	if c.WaitReplicas < 0 {
		return c, fmt.Errorf("redis: cannot wait for %d replicas", c.WaitReplicas)
	}
	c.WaitTimeout = max(cmp.Or(c.WaitTimeout, time.Second), time.Millisecond) // to the server 0 is for ever
	c.FlushInterval = cmp.Or(c.FlushInterval, 10*time.Second)
	return c, nil
}

// connect makes the client that a URL asks for. No error quotes the URL, which may have a
// password.
func (c Config) connect() (redis.UniversalClient, mode, error) {
	m, plain, err := c.split()
	if err != nil {
		return nil, m, err
	}
	ca, err := c.authorities()
	if err != nil {
		return nil, m, err
	}
	trust := func(t *tls.Config) {
		if t != nil && ca != nil {
			t.RootCAs = ca
		}
	}
	switch m {
	case cluster:
		o, err := redis.ParseClusterURL(plain.String())
		if err != nil {
			return nil, m, quiet(err)
		}
		trust(o.TLSConfig)
		o.ContextTimeoutEnabled, o.DialerRetries = true, 1
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		settle(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.PoolSize)
		return redis.NewClusterClient(o), m, nil
	case sentinel:
		query := plain.Query()
		user, password := query.Get("sentinel_username"), query.Get("sentinel_password")
		query.Del("sentinel_username")
		query.Del("sentinel_password")
		plain.RawQuery = query.Encode()
		servers := plain.User
		plain.User = nil
		o, err := redis.ParseFailoverURL(plain.String())
		if err != nil {
			return nil, m, quiet(err)
		}
		if o.MasterName == "" {
			return nil, m, errors.New("redis: a URL of Sentinels needs the master's name: ?master_name=NAME")
		}
		if servers != nil {
			o.Username = servers.Username()
			o.Password, _ = servers.Password()
		}
		trust(o.TLSConfig)
		o.SentinelUsername, o.SentinelPassword = user, password
		o.MaxRetries, o.ContextTimeoutEnabled, o.DialerRetries = -1, true, 1
		settle(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.PoolSize)
		return redis.NewFailoverClient(o), m, nil
	default:
		o, err := redis.ParseURL(plain.String())
		if err != nil {
			return nil, m, quiet(err)
		}
		trust(o.TLSConfig)
		o.MaxRetries, o.ContextTimeoutEnabled, o.DialerRetries = -1, true, 1
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		settle(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.PoolSize)
		return redis.NewClient(o), m, nil
	}
}

// settle sets what the URL doesn't: as long as a server on the same network needs, with
// an object of the greatest size.
func settle(dial, read, write, pool *time.Duration, size *int) {
	*dial = cmp.Or(*dial, 3*time.Second)
	*read = cmp.Or(*read, 10*time.Second)
	*write = cmp.Or(*write, 10*time.Second)
	*pool = cmp.Or(*pool, 5*time.Second)
	*size = cmp.Or(*size, 64)
}

// split takes the mode and all but the first host out of the URL, as the library wants
// them elsewhere.
func (c Config) split() (mode, *url.URL, error) {
	scheme, rest, ok := strings.Cut(c.URL, "://")
	base, how, plus := strings.Cut(scheme, "+")
	m := alone
	if plus {
		m = mode("+" + how)
	}
	if !ok || base != "redis" && base != "rediss" || m != alone && m != cluster && m != sentinel {
		return m, nil, errors.New("redis: the URL must begin with redis://, redis+cluster:// or redis+sentinel:// (or " +
			"rediss…, with TLS)")
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user := ""
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, authority = authority[:at+1], authority[at+1:]
	}
	hosts := strings.Split(authority, ",")
	if hosts[0] == "" || len(hosts) > 1 && m == alone {
		return m, nil, errors.New("redis: the URL must have a host, and only one of a cluster or of Sentinels may have more")
	}
	plain, err := url.Parse(base + "://" + user + hosts[0] + tail)
	if err != nil {
		return m, nil, quiet(err)
	}
	query := plain.Query()
	for _, host := range hosts[1:] {
		query.Add("addr", host)
	}
	plain.RawQuery = query.Encode()
	return m, plain, nil
}

// quiet takes what an error quotes of a URL away.
func quiet(err error) error {
	if parse, ok := errors.AsType[*url.Error](err); ok {
		err = parse.Err
	}
	return fmt.Errorf("redis: the URL is wrong: %w", err)
}

func (c Config) authorities() (*x509.CertPool, error) {
	pool, err := carbonara.Authorities(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return pool, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/filestore"
	"millrace/drivers/carbonara/redisstore"
	"millrace/drivers/carbonara/s3store"
	"millrace/index"
	"millrace/ingest"
)

type storageConfig struct {
	Driver     string        `name:"driver" default:"file" oneof:"file s3 redis influxdb" help:"where measures are kept"`
	CacheBytes size          `name:"cache_bytes" default:"64MiB" help:"memory for what is read of segments, and for those just written"`
	ViewTTL    time.Duration `name:"view_ttl" default:"1s" help:"how old a reader's knowledge of a sack may be; what is applied here is seen at once"`

	S3     s3Config     `name:"s3"`
	Redis  redisConfig  `name:"redis"`
	Influx influxConfig `name:"influxdb"`
}

type s3Config struct {
	Endpoint     string        `name:"endpoint" help:"https://host:port of an S3 server; none: AWS"`
	Region       string        `name:"region" help:"region of the bucket; none: as AWS_REGION says"`
	Bucket       string        `name:"bucket" help:"bucket, which must exist"`
	Prefix       string        `name:"prefix" help:"what begins the keys in it"`
	CAFile       string        `name:"ca_file" help:"certificates that https trusts; none: the system's"`
	VirtualHost  bool          `name:"virtual_host" help:"the bucket is part of the host's name, not of the path"`
	AccessKey    string        `name:"access_key" help:"access key; none: the AWS SDK's chain"`
	SecretKey    secret        `name:"secret_key" help:"its secret"`
	Encryption   string        `name:"encryption" help:"AES256 or aws:kms; none: as the bucket has it"`
	KMSKey       string        `name:"kms_key" help:"id of a key for aws:kms; none: the account's"`
	StorageClass string        `name:"storage_class" help:"class of what is stored; none: the server's default"`
	Checksum     string        `name:"checksum" default:"auto" oneof:"auto crc32c none" help:"sent with each object; auto: crc32c on AWS"`
	MaxRequests  int           `name:"max_requests" default:"64" help:"requests at the same time, at most"`
	Timeout      time.Duration `name:"timeout" default:"20s" help:"longest wait for an answer"`
}

type redisConfig struct {
	URL          secret        `name:"url" help:"redis://user:password@host:port/db; also rediss, redis+cluster, redis+sentinel"`
	Prefix       string        `name:"prefix" default:"millrace" help:"what begins the keys, before a colon"`
	CAFile       string        `name:"ca_file" help:"certificates that rediss trusts; none: the system's"`
	WaitReplicas int           `name:"wait_replicas" help:"replicas that must have a flush before it counts"`
	WaitFsync    bool          `name:"wait_fsync" help:"a flush must be in the append-only file (Redis 7.2)"`
	WaitTimeout  time.Duration `name:"wait_timeout" default:"1s" help:"longest wait for those"`
}

func (v *validator) storage(c *storageConfig) {
	v.check(c.CacheBytes > 0, "storage.cache_bytes must be positive")
	v.check(c.ViewTTL >= 0, "storage.view_ttl must not be negative")
	switch c.Driver {
	case "s3":
		v.check(c.S3.Bucket != "", "storage.s3.bucket must not be empty")
		v.check((c.S3.AccessKey == "") == (c.S3.SecretKey == ""),
			"storage.s3.access_key and storage.s3.secret_key belong together")
		v.check(c.S3.MaxRequests >= 1, "storage.s3.max_requests must be at least 1, not %d", c.S3.MaxRequests)
		v.positive("storage.s3.timeout", c.S3.Timeout)
	case "redis":
		v.check(c.Redis.URL != "", "storage.redis.url must not be empty")
		v.check(c.Redis.WaitReplicas >= 0, "storage.redis.wait_replicas must not be negative")
		v.check(c.Redis.WaitTimeout >= time.Millisecond, "storage.redis.wait_timeout must be at least 1ms, not %v",
			c.Redis.WaitTimeout)
	case "influxdb":
		v.influx(&c.Influx)
	}
}

// openStore opens what the settings choose to keep objects in. One that is on another machine
// answers nothing before it has been probed, and is probed before it answers. One that isn't
// is on fsys, and on background for housekeeping, which can wait for room.
func openStore(ctx context.Context, c *config, fsys, background disk.FS, log *slog.Logger, meter metric.Meter) (carbonara.Store,
	error) {
	switch c.Storage.Driver {
	case "file":
		return filestore.Open(fsys, filepath.Join(c.DataDir, "storage"), filestore.Config{Background: background})
	case "s3":
		s := c.Storage.S3
		store, err := s3store.Open(ctx, s3store.Config{
			Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, Prefix: s.Prefix, CAFile: s.CAFile,
			VirtualHost: s.VirtualHost,
			AccessKey:   s.AccessKey, SecretKey: string(s.SecretKey), Encryption: s.Encryption, KMSKey: s.KMSKey,
			StorageClass: s.StorageClass, Checksum: s.Checksum, MaxRequests: s.MaxRequests, Timeout: s.Timeout,
		}, log, meter)
		if err != nil {
			return nil, err
		}
		return newProbedStore(store, store.Probe), nil
	case "redis":
		r := c.Storage.Redis
		store, err := redisstore.Open(redisstore.Config{
			URL: string(r.URL), Prefix: r.Prefix, CAFile: r.CAFile,
			WaitReplicas: r.WaitReplicas, WaitFsync: r.WaitFsync, WaitTimeout: r.WaitTimeout,
		}, log, meter)
		if err != nil {
			return nil, err
		}
		return newProbedStore(store, store.Probe), nil
	}
	return nil, fmt.Errorf("there is no storage driver %q", c.Storage.Driver)
}

// A probedStore is one that nobody uses before it has passed its probe. Where it can't be
// reached, every call probes again, and fails with what the probe says.
type probedStore struct {
	carbonara.Store
	probe func(context.Context) error

	passed chan struct{} // closed when it has
	turn   sync.Mutex    // held by the call that probes
}

// probeTimeout bounds a probe: of a server that doesn't answer, too.
const probeTimeout = 30 * time.Second

func newProbedStore(store carbonara.Store, probe func(context.Context) error) *probedStore {
	return &probedStore{Store: store, probe: probe, passed: make(chan struct{})}
}

// ensure returns when the probe has been passed, or says why it hasn't.
func (s *probedStore) ensure(ctx context.Context) error {
	select {
	case <-s.passed:
		return nil
	default:
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	select {
	case <-s.passed: // meanwhile
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := s.probe(ctx)
	if err == nil {
		close(s.passed)
	}
	return err
}

// isUnsafe says whether a store was found to be none that data may be trusted to.
func isUnsafe(err error) bool {
	return errors.Is(err, s3store.ErrUnsafe) || errors.Is(err, redisstore.ErrUnsafe) || ingest.IsPermanent(err)
}

// await says whether the storage can be used now. Where it can't, a deployment that has
// been in use starts without it: it accepts, and what it has waits in the log. A new one
// waits until it can tell that the storage is new, too.
func (p *parts) await(ctx context.Context, ensure func(context.Context) error, log *slog.Logger) (there bool,
	err error) {
	_, err = p.index.Deployment(ctx)
	founding := errors.Is(err, index.ErrNoDeployment)
	if err != nil && !founding {
		return false, err
	}
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := ensure(ctx)
		switch {
		case err == nil:
			return true, nil
		case isUnsafe(err):
			return false, err
		case !founding:
			log.Warn("the storage can't be used yet; starting without it: what is accepted waits in the log", "err", err)
			return false, nil
		}
		log.Warn("the storage can't be used yet, and a new deployment needs it; trying again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (s *probedStore) Put(ctx context.Context, name string, data []byte) error {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	return s.Store.Put(ctx, name, data)
}

func (s *probedStore) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	if err := s.ensure(ctx); err != nil {
		return carbonara.Contents{}, err
	}
	return s.Store.Read(ctx, name, unless, ranges)
}

func (s *probedStore) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (carbonara.Version, error) {
	if err := s.ensure(ctx); err != nil {
		return "", err
	}
	return s.Store.Swap(ctx, name, old, data, adds)
}

func (s *probedStore) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, prefix)
}

func (s *probedStore) Delete(ctx context.Context, names []string) error {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, names)
}

// Mend is that of a store that has lists of its own.
func (s *probedStore) Mend(ctx context.Context) ([]string, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	if mender, ok := s.Store.(carbonara.Mender); ok {
		return mender.Mend(ctx)
	}
	return nil, nil
}

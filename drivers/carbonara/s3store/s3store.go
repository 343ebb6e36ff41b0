package s3store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.opentelemetry.io/otel/metric"

	"millrace/drivers/carbonara"
)

// A Store is a carbonara.Store in a bucket.
type Store struct {
	config    Config
	client    *s3.Client
	transport *transport
	gate      *gate
	log       *slog.Logger
	closed    atomic.Bool
}

var errClosed = errors.New("the S3 store is closed")

var _ carbonara.Store = (*Store)(nil)

// Open makes a store. It asks the server nothing: [Store.Probe] does. The context is for
// finding credentials and region.
func Open(ctx context.Context, c Config, log *slog.Logger, meter metric.Meter) (*Store, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	observed, err := newTransport(c, log, meter)
	if err != nil {
		return nil, err
	}
	s := &Store{config: c, transport: observed, gate: newGate(c.MaxRequests), log: log}
	s.client, err = newClient(ctx, c, &http.Client{Transport: observed})
	return s, err
}

func newClient(ctx context.Context, c Config, transport *http.Client) (*s3.Client, error) {
	load := []func(*config.LoadOptions) error{config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} })}
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	if c.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey,
			"")))
	}
	found, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("s3: cannot find what the SDK needs: %w", err)
	}
	if found.Region == "" {
		return nil, errors.New("s3: neither the settings nor AWS_REGION say which region the bucket is in")
	}
	return s3.NewFromConfig(found, func(o *s3.Options) {
		o.HTTPClient = transport
		o.Retryer = aws.NopRetryer{}
		o.UsePathStyle = c.Endpoint != "" && !c.VirtualHost
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
	}), nil
}

// key is the name of an object in the bucket.
func (s *Store) key(name string) *string { return aws.String(s.config.Prefix + name) }

// Traits are those of a store whose requests cost money, each.
func (s *Store) Traits() carbonara.Traits {
	return carbonara.Traits{
		MaxObject: maxObject, DeleteBatch: deleteBatch,
		FlushInterval: s.config.FlushInterval, NudgeInterval: s.config.NudgeInterval,
	}
}

// enter waits until a request may be made: its maker calls done with the outcome.
func (s *Store) enter(ctx context.Context) (done func(error), err error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	return s.gate.enter(ctx)
}

// bounded gives a request as long as its answer may take, and a second for each MiB of its
// bodies: a server that stops in the middle of one is noticed too.
func (s *Store) bounded(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.config.Timeout+time.Duration(size>>20)*time.Second)
}

// Close lets go of idle connections.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.transport.inner.CloseIdleConnections()
	return nil
}

// String says where the store is.
func (s *Store) String() string {
	at := "s3://" + s.config.Bucket + "/" + s.config.Prefix
	if s.config.Endpoint != "" {
		at += " at " + s.config.Endpoint
	}
	return at
}

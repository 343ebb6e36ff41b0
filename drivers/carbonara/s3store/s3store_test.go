package s3store_test

import (
	"errors"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/s3store"
	"millrace/drivers/carbonara/storetest"
	"millrace/testservers"
)

// configOf is a store in a bucket of its own.
func configOf(t testing.TB, server *testservers.S3Server) s3store.Config {
	t.Helper()
	return s3store.Config{
		Endpoint: server.Endpoint(), Bucket: server.Bucket(t), Prefix: "some/prefix",
		AccessKey: server.AccessKey, SecretKey: server.SecretKey, Region: server.Region,
	}
}

func open(t testing.TB, c s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), c, slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// servers are those whose conditional writes are atomic.
var servers = map[string]func(testing.TB) *testservers.S3Server{
	"MinIO": testservers.MinIO, "versitygw": testservers.VersityGW,
}

func TestStore(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			storetest.Run(t, func(t *testing.T) carbonara.Store { return open(t, configOf(t, server)) })
		})
	}
}

func TestOwners(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := configOf(t, start(t))
			storetest.Owners(t, 400, func() carbonara.Store { return open(t, c) })
		})
	}
}

func TestProbe(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, configOf(t, start(t)))
			if err := s.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if list, err := s.List(t.Context(), "probe/"); err != nil || len(list) != 0 {
				t.Errorf("after the probe: %v, %v", list, err)
			}
		})
	}
	t.Run("s3s-fs", func(t *testing.T) { // checks the condition first, and writes afterwards
		t.Parallel()
		err := open(t, configOf(t, testservers.S3SFS(t))).Probe(t.Context())
		if !errors.Is(err, s3store.ErrUnsafe) {
			t.Fatalf("Probe: %v; want ErrUnsafe", err)
		}
		t.Log(err)
	})
}

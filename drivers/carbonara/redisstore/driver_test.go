package redisstore_test

import (
	"fmt"
	"testing"
	"time"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/redisstore"
	"millrace/drivers/drivertest"
	"millrace/ingest"
)

// busy makes housekeeping happen at the suite's scale.
func busy() carbonara.Config {
	return carbonara.Config{SealRows: 100, MergeWidth: 3, Grace: 100 * time.Millisecond, CollectEach: time.Millisecond}
}

func openDriver(t *testing.T, c redisstore.Config, policies ingest.Policies) *carbonara.Driver {
	t.Helper()
	d, err := carbonara.New(t.Context(), open(t, c), policies, drivertest.Sacks, busy())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver(t *testing.T) {
	for name, start := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, opened := start(t), 0
			next := func() redisstore.Config {
				opened++
				return redisstore.Config{URL: p.url, Prefix: fmt.Sprintf("driver-%s-%d", name, opened)}
			}
			drivertest.Run(t, func(t *testing.T, p ingest.Policies) ingest.Driver { return openDriver(t, next(), p) },
				drivertest.Shorter(4), drivertest.Processes(func(t *testing.T, p ingest.Policies) func() ingest.Driver {
					c := next()
					return func() ingest.Driver { return openDriver(t, c, p) }
				}))
		})
	}
}

package s3store_test

import (
	"net/http"
	"testing"
	"time"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/s3store"
	"millrace/drivers/drivertest"
	"millrace/ingest"
	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// busy makes housekeeping happen at the suite's scale.
func busy() carbonara.Config {
	return carbonara.Config{SealRows: 100, MergeWidth: 3, Grace: 100 * time.Millisecond, CollectEach: time.Millisecond}
}

func openDriver(t *testing.T, c s3store.Config, policies ingest.Policies) *carbonara.Driver {
	t.Helper()
	d, err := carbonara.New(t.Context(), open(t, c), policies, drivertest.Sacks, busy())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			drivertest.Run(t, func(t *testing.T, p ingest.Policies) ingest.Driver {
				return openDriver(t, configOf(t, server),
					p)
			},
				drivertest.Shorter(10), drivertest.Processes(func(t *testing.T, p ingest.Policies) func() ingest.Driver {
					c := configOf(t, server)
					return func() ingest.Driver { return openDriver(t, c, p) }
				}))
		})
	}
}

// proxied is a store behind a proxy.
func proxied(t testing.TB, server *testservers.S3Server) (s3store.Config, *faultproxy.HTTP) {
	t.Helper()
	proxy, err := faultproxy.NewHTTP(server.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	c := configOf(t, server)
	c.Endpoint = proxy.URL()
	c.Timeout = 5 * time.Second
	return c, proxy
}

// Of all requests a share is refused, or done with their answers lost, cut or damaged.
func TestDriverWithFaults(t *testing.T) {
	server := testservers.VersityGW(t)
	first := []faultproxy.Kind{faultproxy.Refuse, faultproxy.Reset, faultproxy.FlipRequest}
	after := []faultproxy.Kind{faultproxy.Lose, faultproxy.RefuseDone, faultproxy.Truncate, faultproxy.Flip}
	drivertest.RunWithFaults(t, func(t *testing.T, p ingest.Policies, faults *drivertest.Faults) ingest.Driver {
		c, proxy := proxied(t, server)
		n := 0
		d := openDriver(t, c, p)
		proxy.Decide(func(*http.Request) *faultproxy.Fault { // one at a time
			n++
			switch faults.Next() {
			case drivertest.FailFirst:
				return &faultproxy.Fault{Kind: first[n%len(first)], Status: []int{500, 429, 409}[n%3]}
			case drivertest.LoseAnswer:
				return &faultproxy.Fault{Kind: after[n%len(after)], Status: 500}
			}
			return nil
		})
		return d
	}, drivertest.Shorter(5))
}

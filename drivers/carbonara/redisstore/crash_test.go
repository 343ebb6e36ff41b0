//go:build !race

package redisstore_test

import (
	"fmt"
	"testing"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/redisstore"
	"millrace/drivers/carbonara/storetest"
	"millrace/testservers"
)

// A process that dies at any command in the life of a sack loses nothing that it has
// confirmed. (Every fourth command: its life has hundreds.)
func TestEngineCrash(t *testing.T) {
	server, opened := testservers.Redis(t, testservers.RedisFlavor), 0
	storetest.Crashes(t, 4, func(t *testing.T) func() carbonara.Store {
		opened++
		c := redisstore.Config{URL: server.URL(), Prefix: fmt.Sprintf("crash-%d", opened)}
		return func() carbonara.Store { return open(t, c) }
	})
}

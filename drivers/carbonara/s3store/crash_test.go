//go:build !race

package s3store_test

import (
	"testing"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/storetest"
	"millrace/testservers"
)

// A process that dies at any request in the life of a sack loses nothing that it has
// confirmed.
func TestEngineCrash(t *testing.T) {
	server := testservers.VersityGW(t)
	storetest.Crashes(t, 6, func(t *testing.T) func() carbonara.Store {
		c := configOf(t, server)
		return func() carbonara.Store { return open(t, c) }
	})
}

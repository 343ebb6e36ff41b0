package naive_test

import (
	"testing"

	"millrace/drivers/drivertest"
	"millrace/drivers/naive"
	"millrace/ingest"
)

// The oracle keeps the promises that it is the measure of.
func TestDriver(t *testing.T) {
	open := func(_ *testing.T, policies ingest.Policies) ingest.Driver { return naive.New(policies) }
	drivertest.Run(t, open, drivertest.ExpiredKept())
}

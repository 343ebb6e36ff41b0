package carbonara

import (
	"context"
	"testing"
	"time"

	"millrace/drivers/drivertest"
	"millrace/ingest"
)

// busy makes housekeeping happen at the suite's scale.
func busy() Config {
	return Config{SealRows: 100, MergeWidth: 3, Grace: 100 * time.Millisecond, SealEvery: time.Hour,
		CollectEach: time.Millisecond}
}

func open(t *testing.T, store Store, policies ingest.Policies, c Config) *Driver {
	t.Helper()
	d, err := New(t.Context(), store, policies, drivertest.Sacks, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T, p ingest.Policies) ingest.Driver { return open(t, newMemoryStore(), p, busy()) },
		drivertest.Processes(func(t *testing.T, p ingest.Policies) func() ingest.Driver {
			store := newMemoryStore()
			return func() ingest.Driver { return open(t, store, p, busy()) }
		}))
}

// On a store of small objects everything is cut into pieces.
func TestDriverSmallObjects(t *testing.T) {
	drivertest.Run(t, func(t *testing.T, p ingest.Policies) ingest.Driver {
		store := newMemoryStore()
		store.largest = 4 << 10
		return open(t, store, p, busy())
	}, drivertest.Shorter(8))
}

func TestDriverWithFaults(t *testing.T) {
	drivertest.RunWithFaults(t, func(t *testing.T, p ingest.Policies, faults *drivertest.Faults) ingest.Driver {
		store := newMemoryStore()
		if _, err := openLayout(t.Context(), store, drivertest.Sacks, Config{}); err != nil {
			t.Fatal(err)
		}
		var d *Driver
		for d == nil { // reading the layout may fail too
			d, _ = New(t.Context(), &faultyStore{store, faults}, p, drivertest.Sacks, busy())
		}
		return d
	})
}

// A faultyStore fails before or after it does what it is asked.
type faultyStore struct {
	Store
	faults *drivertest.Faults
}

// meddle does what is asked, or not, as the faults have it.
func (s *faultyStore) meddle(do func() error) error {
	switch s.faults.Next() {
	case drivertest.FailFirst:
		return drivertest.ErrFault
	case drivertest.LoseAnswer:
		if err := do(); err != nil {
			return err
		}
		return drivertest.ErrFault
	}
	return do()
}

func (s *faultyStore) Put(ctx context.Context, name string, data []byte) error {
	return s.meddle(func() error { return s.Store.Put(ctx, name, data) })
}

func (s *faultyStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (c Contents, err error) {
	err = s.meddle(func() error { c, err = s.Store.Read(ctx, name, unless, ranges); return err })
	return c, err
}

func (s *faultyStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (v Version,
	err error) {
	err = s.meddle(func() error { v, err = s.Store.Swap(ctx, name, old, data, adds); return err })
	return v, err
}

func (s *faultyStore) List(ctx context.Context, prefix string) (list []Object, err error) {
	err = s.meddle(func() error { list, err = s.Store.List(ctx, prefix); return err })
	return list, err
}

func (s *faultyStore) Delete(ctx context.Context, names []string) error {
	return s.meddle(func() error { return s.Store.Delete(ctx, names) })
}

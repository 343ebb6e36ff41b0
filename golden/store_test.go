package golden_test

import (
	"testing"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/filestore"
	"millrace/drivers/carbonara/storetest"
	"millrace/ingest"
)

// openCarbonara opens a deployment of one sack on a store of its own.
func openCarbonara(open func(t *testing.T) carbonara.Store, config carbonara.Config) func(*testing.T,
	ingest.Policies) ingest.Driver {
	return func(t *testing.T, policies ingest.Policies) ingest.Driver {
		t.Helper()
		store := open(t)
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		d, err := carbonara.New(t.Context(), store, policies, 1, config)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func openMemory(*testing.T) carbonara.Store { return storetest.NewMemory() }

// openFiles opens a store of files, as a deployment has it.
func openFiles(t *testing.T) carbonara.Store {
	s, err := filestore.Open(disk.OS{}, t.TempDir(), filestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

//go:build !race

package filestore_test

import (
	"testing"

	"millrace/disk/diskfault"
	"millrace/drivers/carbonara/filestore"
	"millrace/drivers/carbonara/storetest"
	"millrace/ingest"
)

// A crash of the machine at any moment in the life of a sack loses nothing that a
// Flush has confirmed, and needs nobody's hand: the next process finds data and
// watermark in agreement, and goes on. (Its life has a thousand operations on the disk.)
func TestEngineCrash(t *testing.T) {
	diskfault.ExploreSome(t, 4,
		func(fs *diskfault.FS) ingest.Offset {
			store, err := filestore.Open(fs, "store", filestore.Config{})
			if err != nil {
				return 0
			}
			defer store.Close()
			return storetest.Life(t.Context(), store)
		},
		func(t *testing.T, fs *diskfault.FS, confirmed ingest.Offset) {
			store, err := filestore.Open(fs, "store", filestore.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			storetest.Afterlife(t, store, confirmed)
		})
}

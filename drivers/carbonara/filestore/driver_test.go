package filestore_test

import (
	"syscall"
	"testing"
	"time"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/filestore"
	"millrace/drivers/drivertest"
	"millrace/ingest"
)

// busy makes housekeeping happen at the suite's scale.
func busy() carbonara.Config {
	return carbonara.Config{SealRows: 100, MergeWidth: 3, Grace: 100 * time.Millisecond, CollectEach: time.Millisecond}
}

func openDriver(t *testing.T, fs disk.FS, dir string, policies ingest.Policies) *carbonara.Driver {
	t.Helper()
	store, err := filestore.Open(fs, dir, filestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	d, err := carbonara.New(t.Context(), store, policies, drivertest.Sacks, busy())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T, p ingest.Policies) ingest.Driver {
		return openDriver(t, disk.OS{}, t.TempDir(),
			p)
	},
		drivertest.Shorter(4))
}

func TestDriverWithFaults(t *testing.T) {
	drivertest.RunWithFaults(t, func(t *testing.T, p ingest.Policies, faults *drivertest.Faults) ingest.Driver {
		fs := diskfault.New()
		fs.Inject(diskfault.Fault{
			On:   diskfault.Write | diskfault.Sync | diskfault.Create | diskfault.Rename | diskfault.Remove | diskfault.Mkdir | diskfault.SyncDir | diskfault.Open | diskfault.Read | diskfault.List,
			When: func(diskfault.Op) bool { return faults.Next() != drivertest.NoFault },
			Err:  syscall.EIO,
		})
		return openDriver(t, fs, "store", p)
	}, drivertest.Shorter(3))
}

package filestore

import (
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) carbonara.Store { return open(t, disk.OS{}, t.TempDir(), Config{}) })
}

func TestStoreInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) carbonara.Store {
		return open(t, diskfault.New(), "store", Config{MaxObject: 2 << 20})
	})
}

func open(t testing.TB, fs disk.FS, dir string, config Config) *Store {
	t.Helper()
	s, err := Open(fs, dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

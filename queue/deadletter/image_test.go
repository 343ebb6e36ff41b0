package deadletter

import (
	"os"
	"path/filepath"
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
)

// An image is the folder as it lies on a disk, without the lock.
type image map[string][]byte

func imageOf(t testing.TB, fsys disk.FS) image {
	t.Helper()
	files := image{}
	for _, name := range listFiles(t, fsys, "dead") {
		if name == lockName {
			continue
		}
		file, err := fsys.Open(filepath.Join("dead", name))
		if err != nil {
			t.Fatal(err)
		}
		size, _ := file.Size()
		data := make([]byte, size)
		if n, err := file.ReadAt(data, 0); n < len(data) {
			t.Fatal(err)
		}
		file.Close()
		files[name] = data
	}
	return files
}

// with returns a disk that holds the image, with one file replaced, or without it.
func (m image) with(t testing.TB, name string, data []byte) *diskfault.FS {
	t.Helper()
	fsys := diskfault.New()
	if err := fsys.MkdirAll("dead", 0o700); err != nil {
		t.Fatal(err)
	}
	for n, d := range m {
		if n == name {
			d = data
		}
		if d == nil {
			continue
		}
		file, err := fsys.OpenFile(filepath.Join("dead", n), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(d); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	return fsys
}

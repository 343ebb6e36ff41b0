package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
)

func TestMakeDir(t *testing.T) {
	f := diskfault.New()
	if err := f.MkdirAll("srv/data", 0o700); err != nil { // by a process that died before it synced
		t.Fatal(err)
	}
	if err := disk.MakeDir(f, "srv/data/log/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Crash(diskfault.Mode{}).ReadDir("srv/data/log/1"); err != nil {
		t.Errorf("after a power failure: %v", err)
	}

	for _, test := range []struct{ fault, want error }{
		{fs.ErrPermission, nil}, // others made what we may not read
		{syscall.EINVAL, nil},   // a folder of no device
		{syscall.EIO, syscall.EIO},
	} {
		f := diskfault.New()
		f.Inject(diskfault.Fault{On: diskfault.SyncDir, Path: "srv", Err: test.fault})
		if err := disk.MakeDir(f, "srv/data"); !errors.Is(err, test.want) {
			t.Errorf("where syncing the parent fails with %v: %v", test.fault, err)
		}
	}
	f = diskfault.New()
	f.Inject(diskfault.Fault{On: diskfault.Mkdir, Err: syscall.ENOSPC})
	if err := disk.MakeDir(f, "other"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("where making it fails: %v", err)
	}
	if err := disk.MakeDir(disk.OS{}, filepath.Join(t.TempDir(), "a", "b")); err != nil {
		t.Errorf("on a disk: %v", err)
	}
}

func TestOS(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	f, err := disk.OS{}.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), disk.OS{}.SyncDir(dir)); err != nil {
		t.Errorf("sync: %v", err)
	}
	if size, err := f.Size(); size != 4 || err != nil {
		t.Errorf("size %d, %v", size, err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := f.Size(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("size of a closed file: %v", err)
	}
	if err := f.Sync(); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("sync of a closed file: %v", err)
	}
	if free, err := (disk.OS{}).Free(dir); free <= 0 || err != nil {
		t.Errorf("%d bytes free, %v", free, err)
	}
	if _, err := (disk.OS{}).Free(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("free space of nothing: %v", err)
	}
	if err := (disk.OS{}).SyncDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("syncdir of nothing: %v", err)
	}
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	l, err := disk.OS{}.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (disk.OS{}).Lock(name); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = (disk.OS{}).Lock(name); err != nil {
		t.Fatalf("a lock after the first was let go: %v", err)
	}
	l.Close()
	if _, err := (disk.OS{}).Lock(filepath.Join(name, "below")); err == nil {
		t.Error("a lock below a file: no error")
	}
}

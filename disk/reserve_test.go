package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"millrace/disk"
	"millrace/disk/diskfault"
)

const mib = 1 << 20

func newReserve(t *testing.T, fs disk.FS, path string) *disk.Reserve {
	t.Helper()
	r, err := disk.NewReserve(fs, path, 4*mib, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(fs disk.FS, name string, n int) (int, error) {
	f, err := fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	done, err := f.Write(bytes.Repeat([]byte{7}, n))
	return done, errors.Join(err, f.Close())
}

func fillTo(t *testing.T, r *disk.Reserve, want int64) {
	t.Helper()
	if held, err := r.Fill(); err != nil || held != want {
		t.Fatalf("Fill left %d bytes in the reserve, want %d: %v", held, want, err)
	}
}

// What the reserve holds goes to those who ask through Rescue, and is left alone by those
// behind Guard until it has been taken back.
func TestReserve(t *testing.T) {
	fs := diskfault.New()
	fs.SetFree(10 * mib)
	r := newReserve(t, fs, "reserve")
	if free, err := r.Guard().Free("."); err != nil || free != 6*mib {
		t.Errorf("before it is filled the guard leaves %d bytes, %v", free, err)
	}
	fillTo(t, r, 4*mib)
	if free, err := r.Guard().Free("."); err != nil || free != 6*mib {
		t.Errorf("the guard leaves %d bytes, %v", free, err)
	}
	if n, err := write(r.Guard(), "log", 8*mib); !errors.Is(err, syscall.ENOSPC) || n != 6*mib {
		t.Errorf("the guard let %d bytes be written: %v", n, err)
	}
	if n, err := write(r.Rescue(), "flush", 3*mib); err != nil || n != 3*mib {
		t.Errorf("a flush of 3 MiB wrote %d bytes: %v", n, err)
	}
	if held, _ := r.Held(); held != mib {
		t.Errorf("%d bytes are held", held)
	}
	if n, err := write(r.Rescue(), "more", 3*mib); !errors.Is(err, syscall.ENOSPC) || n != mib {
		t.Errorf("beyond the reserve %d bytes were written: %v", n, err)
	}
	if err := fs.Remove("more"); err != nil {
		t.Fatal(err)
	}
	if n, err := write(r.Guard(), "log2", 1); !errors.Is(err, syscall.ENOSPC) || n != 0 {
		t.Errorf("room that was given up has been taken: %d, %v", n, err)
	}
	if err := fs.Remove("log"); err != nil {
		t.Fatal(err)
	}
	fillTo(t, r, 4*mib)
	if n, err := write(r.Guard(), "log2", mib); err != nil {
		t.Errorf("with room again %d bytes were written: %v", n, err)
	}
	if again := newReserve(t, fs, "reserve"); true {
		if held, size := again.Held(); held != 4*mib || size != held {
			t.Errorf("opened again it holds %d of %d", held, size)
		}
	}
}

// A start makes room before it writes, and takes back what it has not used.
func TestReserveMakeRoom(t *testing.T) {
	fs := diskfault.New()
	fs.SetFree(6 * mib)
	fillTo(t, newReserve(t, fs, "reserve"), 4*mib)
	fs.SetFree(0)
	for range 3 { // starts
		r := newReserve(t, fs, "reserve")
		if free, err := r.MakeRoom(3 * mib); err != nil || free < 2*mib {
			t.Fatalf("MakeRoom left %d bytes: %v", free, err)
		}
		if _, err := r.Fill(); err != nil {
			t.Fatal(err)
		}
		fs.SetFree(mib) // as before: nobody has used any of it
	}
	r, err := disk.NewReserve(fs, "reserve", mib, 0)
	if held, _ := r.Held(); err != nil || held != mib {
		t.Errorf("a smaller one holds %d bytes, %v", held, err)
	}
}

// The floor is for starts: whoever writes through Rescue doesn't get it, on a disk that
// others fill to the last byte, however often that happens.
func TestReserveFloor(t *testing.T) {
	fs := diskfault.New()
	fs.SetFree(6 * mib)
	open := func() *disk.Reserve {
		r, err := disk.NewReserve(fs, "reserve", 5*mib, 3*mib)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	fillTo(t, open(), 5*mib)
	fs.SetFree(0)
	for i := range 3 { // starts
		r := open()
		if free, err := r.MakeRoom(3 * mib); err != nil || free != 3*mib {
			t.Fatalf("start %d has %d bytes: %v", i, free, err)
		}
		if held, err := r.Fill(); err != nil || held < 3*mib {
			t.Fatalf("start %d took back %d bytes: %v", i, held, err)
		}
		want := 0 // after the first
		if i == 0 {
			want = 2 * mib
		}
		name := fmt.Sprint("flush", i)
		if n, err := write(r.Rescue(), name, 3*mib); !errors.Is(err, syscall.ENOSPC) || n != want {
			t.Errorf("at start %d a flush wrote %d bytes, want %d: %v", i, n, want, err)
		}
		if held, _ := r.Held(); held != 3*mib {
			t.Errorf("start %d leaves %d bytes", i, held)
		}
		fs.SetFree(0) // others take what is left
	}
}

// On a real file system the room is really taken.
func TestReserveOS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reserve")
	fillTo(t, newReserve(t, disk.OS{}, path), 4*mib)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks * 512; blocks < 4*mib || info.Size() != 4*mib {
		t.Errorf("it has %d bytes and takes %d", info.Size(), blocks)
	}
	if free, err := newReserve(t, disk.OS{}, path).MakeRoom(1 << 62); err != nil || free <= 0 {
		t.Errorf("MakeRoom left %d bytes: %v", free, err)
	}
	if info, err := os.Stat(path); err == nil && info.Size() != 0 {
		t.Errorf("%d bytes are left of it", info.Size())
	}
}

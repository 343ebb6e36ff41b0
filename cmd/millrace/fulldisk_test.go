package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, bytes int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(bytes)); err != nil {
		skipOrFail(t, "mount", "cannot mount a small disk: %v (MILLRACE_TEST_REQUIRE=mount would make this a failure)", err)
	}
	t.Cleanup(func() { // after the server has been stopped
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill has a file take all room of its disk but so much.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &s); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_, err = io.CopyN(file, zeros{}, int64(s.Bavail)*s.Bsize-leave)
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// noisyMeasures are n measures a second apart that hardly compress.
func noisyMeasures(from, n int) string {
	b := []byte{'['}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"timestamp":`...)
		b = strconv.AppendInt(b, 1_600_000_000+int64(from+i), 10)
		b = append(b, `,"value":`...)
		b = strconv.AppendFloat(b, rand.Float64(), 'g', -1, 64)
		b = append(b, '}')
	}
	return string(append(b, ']'))
}

// awaitShortLog waits until the log has been applied and trimmed.
func awaitShortLog(t *testing.T, data string, p *process) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(data, "log", "*.log"))
		if err != nil || len(files) == 0 {
			t.Fatalf("there is no log: %v", err)
		}
		if len(files) <= 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log of the full disk still has %d files\n%s", len(files), p.log)
		}
	}
}

// TestFullDisk: a disk that is filled through the server, and then by others to the last
// byte, refuses measures, loses none, and can be started on. The reserve lets what the
// log holds be flushed, and keeps what the next start needs; with room again the server
// goes on by itself.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 32<<20)
	data, foreign := filepath.Join(dir, "data"), filepath.Join(dir, "foreign")
	settings := []string{"MILLRACE_WORKER_FLUSH_BYTES=4MiB", "MILLRACE_INGEST_MIN_ROOM=4MiB",
		"MILLRACE_WORKER_FLUSH_INTERVAL=1h"}
	p := start(t, data, settings...)
	ids := []string{p.dailyMetric(t), p.newMetric(t, "", "daily"), p.newMetric(t, "", "daily")}
	fill(t, foreign, 10<<20) // so that the reserve has room for whatever the log can hold
	acked := make([]int, len(ids))
	var refusal answer
	for i := 0; refusal.status != 503; i++ {
		m := i % len(ids)
		refusal = p.ask(t, "POST", "/metric/"+ids[m]+"/measures", noisyMeasures(acked[m], 10_000))
		if refusal.status == 202 {
			acked[m] += 10_000
		} else if refusal.status != 503 || i > 500 {
			t.Fatalf("%d %s\n%s", refusal.status, refusal.body, p.log)
		}
	}
	retryAfter(t, refusal)
	if !strings.Contains(refusal.body, "the log has room for") {
		t.Errorf("%s", refusal.body)
	}
	t.Logf("%d measures were acknowledged", acked)
	fill(t, foreign, 0)
	for range 100 { // until the database has used what it has of its own
		a := p.ask(t, "POST", "/metric", `{"archive_policy_name":"daily"}`)
		if a.status == 503 {
			retryAfter(t, a)
			break
		}
		if a.status != 201 {
			t.Errorf("a metric on a full disk: %d %s", a.status, a.body)
		}
	}
	for _, stop := range []func(){func() { p.kill() }, func() { _ = p.terminate() }, func() { p.kill() }} {
		stop()
		fill(t, foreign, 0)
		p = start(t, data, append(settings, "MILLRACE_WORKER_FLUSH_INTERVAL=100ms")...)
		awaitShortLog(t, data, p)
		for m, id := range ids {
			if n := p.count(t, id); n != acked[m] {
				t.Errorf("on the full disk %d measures can be read, %d were acknowledged\n%s", n, acked[m], p.log)
			}
		}
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		a := p.ask(t, "POST", "/metric/"+ids[0]+"/measures", noisyMeasures(acked[0], 10))
		if a.status == 202 {
			break
		}
		if a.status != 503 || time.Now().After(deadline) {
			t.Fatalf("the disk has room, and: %d %s\n%s", a.status, a.body, p.log)
		}
	}
	acked[0] += 10
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		if info, err := os.Stat(filepath.Join(data, reserveName)); err == nil && info.Size() == startRoom+4<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the reserve has not been taken back\n%s", p.log)
		}
	}
	for m, id := range ids {
		if n := p.count(t, id); n != acked[m] {
			t.Errorf("%d measures can be read, %d were acknowledged", n, acked[m])
		}
	}
}

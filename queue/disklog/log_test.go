package disklog

import (
	"log/slog"
	"path/filepath"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/queue/queuetest"
)

// reopenable is a log that queuetest can open again.
// An openedLog is a Log; embedded, its name does not hide the method of that name.
type openedLog = Log

type reopenable struct {
	*openedLog
	fs     disk.FS
	config Config
}

func openLog(t testing.TB, fsys disk.FS, dir string, sacks int, config Config) *Log {
	t.Helper()
	l, err := tryOpen(t, fsys, dir, sacks, config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryOpen(t testing.TB, fsys disk.FS, dir string, sacks int, config Config) (*Log, error) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return Open(fsys, dir, sacks, config, log, noop.Meter{})
}

func (r reopenable) Reopen(t *testing.T) queuetest.Queue {
	r.openedLog = openLog(t, r.fs, r.dir, r.sacks, r.config)
	return r
}

// TestQueue runs the suite on a real disk, and then on one in memory, where files
// and memory change hands all the time.
func TestQueue(t *testing.T) {
	f := func(name string, config Config, disks func() disk.FS) {
		t.Run(name, func(t *testing.T) {
			queuetest.Run(t, func(t *testing.T, sacks int) queuetest.Queue {
				fs := disks()
				l := openLog(t, fs, filepath.Join(t.TempDir(), "log"), sacks, config)
				return reopenable{l, fs, config}
			})
		})
	}
	memory := func() disk.FS { return diskfault.New() }
	f("defaults", Config{}, func() disk.FS { return disk.OS{} })
	f("tiny segments", Config{SegmentBytes: 1000}, memory)
	f("no memory", Config{TailBytes: 1}, memory)
	f("tiny segments and no memory", Config{SegmentBytes: 1000, TailBytes: 1}, memory)
}

package disklog

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/disk/diskfault"
	"millrace/ingest"
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

// A new log begins above what was applied of the logs before it, whatever the clock says.
func TestNewLogBeginsAbove(t *testing.T) {
	above := ingest.Offset(time.Now().Add(time.Minute).UnixNano())
	l := openLog(t, disk.OS{}, filepath.Join(t.TempDir(), "log"), 2, Config{Above: above})
	defer l.Close()
	if base := l.Log().Base; base < above {
		t.Errorf("it begins at %d, want %d or more", base, above)
	}
	acked, err := appendTo(l, 0, 1, 1)
	if err != nil || acked[0].offset <= above {
		t.Errorf("a record is at %v, %v; want it above %d", acked, err, above)
	}
}

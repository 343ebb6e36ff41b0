package disklog

import (
	"fmt"
	"time"

	"millrace/disk"
	"millrace/ingest"
)

// Config tunes a Log. The zero value of a field means its default.
type Config struct {
	SegmentBytes int64         // how long a segment file grows at most; 64 MiB; at most 1 GiB
	MaxBytes     int64         // how much the log may hold; none: what the disk takes
	TailBytes    int64         // memory for records that readers have yet to fetch; 64 MiB
	RetryMin     time.Duration // pause before the log is reopened after an error; 100 ms
	RetryMax     time.Duration // and after many; 5 s

	// Deployment is the id that the log has to carry, and is given when it is new; none: any.
	Deployment string
	// MustExist refuses to make a log where there is none: the deployment has had one.
	MustExist bool
	// Above is a position that all of a new log's are above: what was applied of the logs
	// before it. (Their positions may be ahead of the clock by some seconds.)
	Above ingest.Offset
	// Rescue is the file system for what must be written even where a disk is full, so that
	// it can become less full: the manifest. None: the one that the log is on.
	Rescue disk.FS
	// Beside says that what is applied is stored on the log's own disk: what the log holds
	// needs about as much room there again before it can be forgotten.
	Beside bool
}

const (
	maxSegmentBytes = 1 << 30
	// A segment is cut when it has a quarter of what the log holds, and this much: a small
	// log keeps little that was applied, and a large one makes few files.
	minSegmentBytes = 1 << 20
	segmentShare    = 4
)

// segmentBytes is where a segment is cut in a log of that size.
func (c Config) segmentBytes(used int64) int64 {
	return min(c.SegmentBytes, max(minSegmentBytes, used/segmentShare))
}

// worthBytes is from what length on a segment that has been applied is ended for the room
// that it takes. A log that has next to none would else wait for it for ever: what has
// been applied stays while nothing more is taken, and nothing more is taken while it stays.
func (c Config) worthBytes() int64 { return min(minSegmentBytes, c.SegmentBytes) / 4 }

func (c Config) withDefaults() (Config, error) {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.TailBytes == 0 {
		c.TailBytes = 64 << 20
	}
	if c.RetryMin == 0 {
		c.RetryMin = 100 * time.Millisecond
	}
	if c.RetryMax == 0 {
		c.RetryMax = 5 * time.Second
	}
	if c.SegmentBytes < 0 || c.SegmentBytes > maxSegmentBytes {
		return c, fmt.Errorf("segments of %d bytes: want up to %d", c.SegmentBytes, maxSegmentBytes)
	}
	if c.MaxBytes < 0 || c.TailBytes < 0 || c.RetryMin < 0 || c.RetryMax < 0 {
		return c, fmt.Errorf("negative bound in %+v", c)
	}
	if c.MaxBytes > 0 { // the segment being written is never removed: it must not be all there is room for
		c.SegmentBytes = min(c.SegmentBytes, max(1, c.MaxBytes/4))
	}
	return c, nil
}

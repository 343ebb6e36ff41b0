package disklog

import (
	"fmt"
	"time"
)

// Config tunes a Log. The zero value of a field means its default.
type Config struct {
	SegmentBytes int64         // how long a segment file grows; 64 MiB; at most 1 GiB
	MaxBytes     int64         // how much the log may hold; none: what the disk takes
	Retain       time.Duration // how long a segment stays after all of it was applied; none
	TailBytes    int64         // memory for records that readers have yet to fetch; 64 MiB
	RetryMin     time.Duration // pause before the log is reopened after an error; 100 ms
	RetryMax     time.Duration // and after many; 5 s

	// SkipMissing goes on without what is missing or damaged, saying so in the log,
	// instead of refusing to. It is an operator's decision, for one start.
	SkipMissing bool
}

const maxSegmentBytes = 1 << 30

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
	if c.MaxBytes < 0 || c.TailBytes < 0 || c.Retain < 0 || c.RetryMin < 0 || c.RetryMax < 0 {
		return c, fmt.Errorf("negative bound in %+v", c)
	}
	if c.MaxBytes > 0 { // the segment being written is never removed: it must not be all there is room for
		c.SegmentBytes = min(c.SegmentBytes, max(1, c.MaxBytes/4))
	}
	return c, nil
}

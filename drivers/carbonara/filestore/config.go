package filestore

import "millrace/disk"

// Config is what may be chosen. The zero value is good.
type Config struct {
	MaxObject int64 // the largest object, in bytes; default 64 MiB

	// Background is the disk as housekeeping has it (carbonara.IsBackground), which can wait for
	// room; default: as everybody has it.
	Background disk.FS
}

func (c Config) withDefaults() Config {
	if c.MaxObject == 0 {
		c.MaxObject = 64 << 20
	}
	return c
}

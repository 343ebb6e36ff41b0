package filestore

// Config is what may be chosen. The zero value is good.
type Config struct {
	MaxObject int64 // the largest object, in bytes; default 64 MiB
}

func (c Config) withDefaults() Config {
	if c.MaxObject == 0 {
		c.MaxObject = 64 << 20
	}
	return c
}

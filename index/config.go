package index

import "time"

// A Config says how much the index keeps in memory. The zero value of a field
// means its default.
type Config struct {
	// CacheMetrics is how many metrics Lookup remembers, at about 50 bytes each; 2,097,152.
	CacheMetrics int
	// CacheMissing is how long Lookup remembers that a metric doesn't exist; 1 s;
	// negative: not at all. A metric that this Index creates is seen at once.
	CacheMissing time.Duration
	// Refresh is how often archive policies and rules are read again, in case
	// another process has changed them; 2 s; negative: never.
	Refresh time.Duration
	// Readers is how many connections read at a time; 4.
	Readers int
	// Timeout is how long a read may take, if its context allows more; 5 s.
	Timeout time.Duration
}

func (c Config) withDefaults() Config {
	setDefault(&c.CacheMetrics, 2<<20)
	setDefault(&c.CacheMissing, time.Second)
	setDefault(&c.Refresh, 2*time.Second)
	setDefault(&c.Readers, 4)
	setDefault(&c.Timeout, 5*time.Second)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

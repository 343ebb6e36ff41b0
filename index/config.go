package index

import "time"

// A Config says how much the index keeps in memory. The zero value of a field
// means its default.
type Config struct {
	// CacheMetrics is how many metrics Lookup remembers, at about 50 bytes each; 2,097,152.
	CacheMetrics int
	// CacheMissing is how long Lookup remembers that a metric doesn't exist, as long
	// as no metric is created; 10 s; negative: not at all.
	CacheMissing time.Duration
	// Refresh is how often the index asks what other processes have changed; 500 ms.
	// It bounds how long a metric that another process has deleted is still accepted, and an
	// archive policy that another has changed is still used. Negative: never.
	Refresh time.Duration
	// Believe is how long what is in memory is believed while the database can't be
	// asked what others have changed; 10 min.
	Believe time.Duration
	// Readers is how many connections read at a time; 4.
	Readers int
	// Timeout is how long a read may take, if its context allows more; 5 s.
	Timeout time.Duration
	// MaxDefinitions is how many definitions an archive policy may have; 64. Every
	// metric that is listed is listed with them.
	MaxDefinitions int
	// MaxLetters is how many dead letters there may be, of all processes; 1 Mi.
	MaxLetters int
	// MaxLetterBytes is how much they may take, about; 1 GiB.
	MaxLetterBytes int64
}

func (c Config) withDefaults() Config {
	setDefault(&c.CacheMetrics, 2<<20)
	setDefault(&c.CacheMissing, 10*time.Second)
	setDefault(&c.Refresh, 500*time.Millisecond)
	setDefault(&c.Believe, 10*time.Minute)
	setDefault(&c.Readers, 4)
	setDefault(&c.Timeout, 5*time.Second)
	setDefault(&c.MaxDefinitions, 64)
	setDefault(&c.MaxLetters, 1<<20)
	setDefault(&c.MaxLetterBytes, 1<<30)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

package index

import (
	"testing"
)

func TestPostgres(t *testing.T) {
	runIndex(t, func(t *testing.T) opener {
		url := postgres(t)
		return func(config Config) *Index { return openIndex(t, url, config) }
	})
}

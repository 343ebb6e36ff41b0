//go:build !race

package filestore_test

// underRace says that the race detector watches: tests of one goroutine are nothing to it.
const underRace = false

//go:build race

package carbonara

// underRace says that the race detector watches: tests of one goroutine are nothing to it.
const underRace = true

// Package benchmarks puts a running server under load and says what it took.
//
// [Run] is the load generator behind "millrace bench": clients that post measures of
// many metrics, as collectors do, as fast as they are answered. README.md has the
// scenarios, the commands that run them, and the figures that they gave.
package benchmarks

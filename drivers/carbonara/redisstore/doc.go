// Package redisstore keeps the objects of a carbonara.Store in Redis, or Valkey: alone,
// with Sentinels, or as a cluster.
//
// # Keys
//
//	PREFIX:{sack/3}/01J….parquet   an object: a string
//	PREFIX:{sack/3}~index          a hash: name → size, time of the change in ms, and version of a swapped one
//	PREFIX:{sack/3}~confirmed      written before WAIT, see below
//
// What is in braces, the first two elements of a name, decides the slot in a cluster: a
// sack is in one, so that one script can change its manifest, look at its segments and
// keep the index, which is what listings are made from.
//
// # Swaps
//
// A version is a random number that the swapper gives. A swap is one script: is the version
// the old one, are the objects that the swap adds there and whole, then write. It may be
// executed twice without harm: it knows its own version. That matters because the library
// repeats in a cluster what had no answer; elsewhere nothing is tried again.
//
// # What a fail-over loses
//
// Redis replicates after it has answered, so that a replica that takes over lacks the last
// changes: the store goes back. The store says so ([carbonara.Traits]), and who owns a sack
// finds out. WaitReplicas makes it rare: after each swap, and after a read of an object
// whose last swap had no clear outcome, the store waits until so many replicas have it.
// The wait is sent behind a script that looks whether the object is still that of the
// swap, on the same connection: what a WAIT on another connection confirms may be another
// server's history.
package redisstore

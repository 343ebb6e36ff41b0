// Package index knows which archive policies, archive policy rules and metrics
// exist. It keeps them in an SQL database and answers the hot questions from
// memory.
//
// Open returns an [Index] in SQLite, for one process, or in PostgreSQL, for many.
// Its tables are in migrations/, which only ever grow; dialect.go is all that
// differs between the databases, and in both one transaction writes at a time. Reads use a pool of
// connections; every change goes through one writer goroutine (writer.go), which
// commits whatever is waiting in one transaction and answers when that is
// durable. Archive policies and rules are held in memory as one immutable
// snapshot (snapshot.go), metrics in a bounded cache (cache.go): [Index.Lookup],
// which every accepted measure passes, sends SQL only for metrics that it has not
// met yet.
//
// Caches stay right across processes by a feed (feed.go): a transaction that deletes
// metrics or changes what is held in memory adds rows to it, numbered in the order
// of commits, and every process reads on from where it is, twice a second. What it
// can't read for too long it no longer believes.
package index

// Package disklog is the embedded log: one log of segment files for all sacks of a
// deployment, of which one process is both the writer and the reader.
//
//	Append ─► intake ─► writer: write, fdatasync ─► publish ─► tail (memory) ─► Fetch
//	 (many)               (one goroutine)              └─► index ─► files ──────┘
//
// Whoever appends while the disk is busy shares the next write and the next
// fdatasync. Readers see what has been synced and nothing else. FORMAT.md
// describes the files, and why each state that a crash can leave is told from damage.
//
// It is not built on a library. With the same group commit around them, 16 goroutines
// appending 4 KiB each to one log, tidwall/wal 1.2.1 did 15,000 to 17,000 records/s
// (3,300 with its own sync per call), hashicorp/raft-wal 0.4.0 14,000 to 19,000, and this
// 14,000 to 26,000: the disk decides, so speed is no reason. But tidwall/wal has no checksums
// and knows no file system but the real one, on which nobody can test a crash; and
// raft-wal drops the end of a log from the first bad frame on without a word, never
// checks an older segment, and keeps its list in a bbolt file of its own.
package disklog

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
// appending 4 KiB each, tidwall/wal 1.2.1 did 15,900 records/s (3,300 with its own
// sync per call) and hashicorp/raft-wal 0.4.0 17,100, so speed is no reason: LOGBENCH.
// But neither can be run on a file system that fails on command, and neither
// can carry the promise: tidwall/wal has no checksums; raft-wal drops a log's end from
// the first bad frame on without a word, checks no older segment, and needs a restart
// after a failed sync.
package disklog

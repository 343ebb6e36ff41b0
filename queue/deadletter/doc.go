// Package deadletter keeps dead letters on a disk: what was acknowledged and could
// not be applied, until an operator has dealt with it. [Letters] is the
// ingest.DeadLetters of a deployment, in a folder of its own, of one process.
//
//	Add, Remove ─► frames, written and synced ─► the last file ─► index (memory): id → place
//	List ─► index ─► files
//
// Files are only ever appended to. Memory holds where each letter is, not the
// letters. FORMAT.md describes the files, and why each state that a crash can
// leave is told from damage.
package deadletter

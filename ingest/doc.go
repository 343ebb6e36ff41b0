// Package ingest is the heart of Millrace: its nouns, the contracts between its
// halves, and the two machines that use them.
//
//	api ──► Acceptor ──► Appender ══ log, one partition per sack ══ Source ──► Worker ──► Driver
//
// A client's request becomes a [Batch]. The [Acceptor] checks it, cuts it into
// one [Record] per sack and appends these to the log; when the log has made them
// durable the client gets its 202 with a [Position]. A [Worker] follows the log,
// one goroutine per sack, and applies each record to a [Driver], which stores how
// far it has come atomically with the data. [Progress] is what both sides watch:
// it answers "has this position been applied?" and carries nudges to the worker. Where
// the worker is another process, [Progress.Follow] asks the driver instead.
//
// Read measure.go and method.go for the nouns, policy.go for what an archive
// policy means, record.go and queue.go for the log, driver.go for what a back-end
// promises. The package imports none of the others: they all import it.
package ingest

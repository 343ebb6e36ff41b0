// Package queue is the log between the two halves of Millrace: the record format
// that every log carries. The contracts of a log are ingest's (Appender, Source);
// package queuetest holds implementations to them, and disklog is one.
//
// FORMAT.md describes the bytes. A record begins with its version and a checksum,
// so that a worker which meets one that it can't read says why and puts it aside.
package queue

// Package gnocchi is the wire format of the v1 API: bytes in, nouns out, and
// back. It knows nothing of HTTP.
//
// Coming in: [ScanMeasures] and [ScanBatch] read the JSON of measures into a
// reusable [Batch] (scan.go is the fast path, slow.go says what is legal);
// [ParseTime], [ParseTimespan] and [ParseBool] read the many ways in
// which Gnocchi's clients write instants, durations and booleans. Going out:
// [Marshal] writes JSON as Gnocchi does, and [AppendRows] the rows of a read, with
// [AppendTime], [AppendFloat], [AppendString] and [AppendTimespan] for those who
// write it by hand.
package gnocchi

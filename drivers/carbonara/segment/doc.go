// Package segment is the codec of Carbonara's segments: Parquet files that are
// written once, looked up by ranged reads, and understood by every reader of
// Parquet. ../FORMAT.md says what is in them, and why.
//
// A segment is of one [Kind]. A [Writer] makes it in memory: [RawWriter],
// [StateWriter] or [SealedWriter]. [Open] reads where everything is, one read at the
// end of the file, and gives a [Reader], which is immutable and may be used
// concurrently. A Reader
//
//   - finds what a segment has of some metrics (FindRaw, FindState, FindSealed), with
//     one read per row group that may have something;
//   - scans all of it in order (ScanRaw, ScanState, ScanSealed, ScanSealedWithin), with
//     one row group in memory and the next one on its way;
//   - verifies it against its description (Verify).
//
// Scans give rows in runs; a run is valid until the next call of Next. The rows of a
// metric (sealed: of a metric and granularity) may come in several runs, cut
// anywhere. Finds take metrics (wants) ascending and unique and call visit in that
// order, zero or more times for each, with rows ascending in time; what visit gets
// is valid until it returns. A long series is read a piece at a time by wants with a
// limit: the next begins behind the last row of the one before.
//
// Where to read: schema.go is what columns there are, file.go how a file is put
// together out of the pages that columns.go and dictionary.go encode, footer.go what
// stands at its end; index.go reads that end, group.go fetches pages, and decode.go
// decodes them for find.go, scan.go and verify.go.
package segment

// Package carbonara keeps measures and their aggregates in immutable Parquet
// segments on any [Store]: a folder, S3, Redis. It is the driver behind most
// deployments; what aggregation means is package aggregate's.
//
// Raw first, sealed later. A flush writes only the new raw measures of a sack, as
// one segment. The aggregates of a bucket are computed once, when no measure can
// change the bucket any more (seal); those of the few open buckets are computed
// when somebody reads, by the same functions:
//
//	read = sealed rows ∪ aggregate(raw measures of unsealed buckets)
//
// Everything that a sack consists of is named by its manifest, and every change of
// it is one compare-and-swap of that manifest: the log's watermark moves together
// with the data. The number in the manifest that fences earlier owners is the epoch.
//
// Where to read: store.go is what a store promises; layout.go, manifest.go, entry.go
// and FORMAT.md what is stored; package segment is the Parquet codec. A
// [ingest.SackWriter] is a writer (writer.go): apply.go judges and buffers measures in
// a table (table.go), sink.go writes segments, commit.go swaps manifests and finds out
// what became of a swap whose answer was lost, or whether the store has gone back,
// maintain.go chooses among the housekeeping of rawmerge.go, seal.go, sealedmerge.go,
// purge.go and collect.go. read.go and sackread.go answer queries, from what is stored
// (view.go, cache.go) and in the owner's process from the table too (live.go);
// damage.go says what is damaged, check.go verifies a whole deployment, repair.go
// mends it.
package carbonara

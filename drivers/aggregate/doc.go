// Package aggregate is what aggregation means: pure functions from measures to
// the rows of aggregated series, for every driver and for the API alike.
//
// [Plan] computes any set of methods of one bucket in one go, [Series] one method
// over all buckets. [Resample] and [ResampleCalendar] aggregate rows once more, into
// longer buckets or into calendar groups. [Range] and [Oldest] are the rules of which
// rows were asked for and which have expired.
//
// A [Table] has several series side by side, what they lack being filled by
// [Table.Fill] or forbidden by [Table.Overlap]; [Evaluate] computes a tree of
// operations over it.
//
// Measures and rows are ascending in time, and no two have the same time, unless
// a function says otherwise. Values follow Gnocchi's rules: binary64 throughout,
// NaN sorts after every number, and sums run from left to right, so that equal
// measures give equal bits on every machine.
package aggregate

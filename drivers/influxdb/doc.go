// Package influxdb keeps measures in InfluxDB, 2.x or 1.8 (which serves the same HTTP
// API), so that they can be read there too, by whatever reads InfluxDB.
//
// # Schema
//
// A bucket (of 1.8: a database) has these measurements:
//
//	measures             a point per measure, at its time to the nanosecond
//	  tag metric         id of the metric; reads go by it alone
//	  tag name           of the metric when it was created
//	  tag resource       of its resource then, and
//	  tag resource_type  of that; what is empty is left out
//	  field value        float
//	  field special      integer, on points whose value InfluxDB has no number for: 1 is
//	                     NaN, 2 is +Inf, 3 is -Inf; their value is 5e-324, the smallest
//	                     number there is, which itself is written with special = 0
//	metrics              what metrics that have had measures are called now: a point per
//	                     metric and day, at its beginning, written over when that changes,
//	                     whether they still have measures or not
//	  tag metric
//	  fields             all texts, "" for nothing: name, resource, resource_type; project
//	                     and user of the resource, or else of who made the metric; and
//	                     attribute_<name> for each attribute of the resource's type
//	millrace_watermark   how far a sack has been applied
//	  tag sack
//	  field offset       integer; of several points the greatest counts
//	  field mark         JSON of the whole ingest.Watermark
//	  field sacks        integer: how many sacks the deployment has
//	  field deployment   its id
//	millrace_deleted     a point per deleted metric, some weeks long
//	  tag sack
//	  field metric       its id
//	  field offset       integer: of the record that deleted it
//
// The tags of a metric never change, whatever is renamed: in InfluxDB they are what
// makes two points the same, and a record that comes twice has to make the same points.
// So metrics says what they are called now, a while (Config.DescribeEvery) after it has
// changed; nothing waits for that, and reads don't use it. By its last points a dashboard
// finds measures by their present name:
//
//	called = from(bucket: "measures") |> range(start: -3d)
//	  |> filter(fn: (r) => r._measurement == "metrics") |> last()
//	  |> pivot(rowKey: ["metric"], columnKey: ["_field"], valueColumn: "_value")
//	  |> filter(fn: (r) => r.name == "cpu" and r.attribute_host == "web1") |> group(columns: ["metric"])
//	measured = from(bucket: "measures") |> range(start: -1h)
//	  |> filter(fn: (r) => r._measurement == "measures" and r._field == "value")
//	  |> keep(columns: ["_time", "_value", "metric"])
//	join(tables: {called: called, measured: measured}, on: ["metric"])
//
// In tags, a backslash is written as a slash and a control character as a space: line
// protocol has no safe way to say them.
//
// # Promises
//
// A point is durable when InfluxDB answers 204, and nothing else counts. The watermark
// is written after the data, as a point of its own, so a crash between the two brings
// records again, which changes nothing. For the same reason nobody is fenced: two owners
// of a sack write the same points. (One of them that had stood still for long could
// put back an older value of a timestamp that has been written again since; the log's
// order of such doubles is kept only while one process owns a sack.)
//
// Where a server syncs its write-ahead log only now and then, the watermark waits that
// long after the data (Config.FsyncDelay): they lie in different shards, each with a log of
// its own. What a server has lost all the same, Confirm notices.
//
// Two things differ from what an archive policy says: a measure is never too late, and
// what has expired is still there until the bucket's retention takes it. No read shows
// it: expiry by timespan, counted from the metric's newest bucket, is exact on each.
// While a flush is under way readers may see a part of it.
//
// A deleted metric's points are deleted: 2.x has an API for it, 1.8 is told in InfluxQL.
// The tombstone keeps measures out that were accepted before everybody had heard of it.
//
// # Reads
//
// InfluxDB 2.x aggregates count, sum, mean, min, max, first and last itself, with
// aggregateWindow, which answers the same to the bit; but not of a metric that has measures
// there is no number for in the range, nor before 1970, nor where a query wants so many rows
// at most. Rows, newest measure and measures without a number are one query where this process
// owns the sack and the range is about what the policy keeps; else they are asked for one
// after the other. Everything else is aggregated here, from the raw points of the range. What that
// saves BenchmarkRead measures:
//
//	go test ./drivers/influxdb -run '^$' -bench 'BenchmarkRead$'
package influxdb

// Package kafka is the log on Apache Kafka: one topic, one partition for each sack.
//
// [Open] checks the topic (topic.go), making it when there is none, and returns a
// [Log], which is both ends of it. What is appended gathers per partition for a few
// milliseconds and is produced with acks=all, one batch at a time (append.go): a batch
// whose answer was lost is tried again, and because records carry a producer and a
// sequence, what arrives twice, or late, counts once. Fetch reads from the place that
// the driver returned (fetch.go); where a log ends, whether it still is the one that
// was applied, and what waits in it is asked of the brokers in one request for all
// partitions (places.go).
//
// Which process is to own which sack is settled by a consumer group (group.go) with a
// sticky balancer (balancer.go); the offsets that its members commit are hints for
// those who wait, and nothing depends on them.
//
// Offsets given out are the partition's own plus the log's base, which lies above every
// watermark of earlier logs.
package kafka

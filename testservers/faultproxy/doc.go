// Package faultproxy stands between a client and a server and makes the network, or the
// server, bad: slow, broken, lying. [HTTP] knows requests and answers, for S3 and
// InfluxDB; [TCP] knows bytes, for Redis and Kafka. Both count what passes.
package faultproxy

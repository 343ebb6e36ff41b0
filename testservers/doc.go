// Package testservers starts the real servers that tests run against: PostgreSQL and
// PgBouncer, Redis and Valkey (alone, with Sentinel, as a cluster), MinIO, versitygw, moto
// and s3s-fs, Kafka, InfluxDB, Prometheus, Telegraf, Keystone, VictoriaMetrics and Gnocchi,
// as scripts/servers has installed them.
//
// A function with the server's name (Redis, MinIO, Kafka, …) gives the one server that all
// tests of a test binary share: it is started by the first that asks, and gone when the
// binary has ended, however it ends. A function that begins with New gives one that is the
// test's alone and goes with the test: for tests that kill it, fill it or slow it down.
// Every server listens on ports of 127.0.0.1 that were free and keeps its data in a
// temporary folder, which outlives Kill, Stop and Start.
//
// Clients are installed the same way, and found by NewClient.
//
// A server that isn't installed skips the test, saying so; where MILLRACE_TEST_REQUIRE (words
// divided by commas, or "all") names it, the test fails instead. The words are those of the functions'
// comments. With MILLRACE_TEST_INSTALL=1, or where it is required, it is installed first.
package testservers

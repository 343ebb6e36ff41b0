package main

import "testing"

// On InfluxDB a worker keeps little in memory, whatever the number of sacks; elsewhere as
// much as makes good segments; and always what the settings say.
func TestWorkerMemory(t *testing.T) {
	f := func(text string, flush, table, ahead size) {
		t.Helper()
		c, _, err := loadConfig(t, text)
		if err != nil {
			t.Fatal(err)
		}
		gotFlush, gotTable, gotAhead := c.workerMemory()
		if gotFlush != flush || gotTable != table || gotAhead != ahead {
			t.Errorf("%s: a flush of %s, tables of %s, %s ahead; want %s, %s, %s", text, gotFlush, gotTable, gotAhead, flush,
				table, ahead)
		}
	}
	const influx = "storage: {driver: influxdb, influxdb: {url: http://x, bucket: b}}\n"
	f("sacks: 16", 32<<20, 256<<20, 64<<20)
	f(influx, 2<<20, 32<<20, 16<<20)
	f(influx+"sacks: 128", 256<<10, 32<<20, 16<<20)
	f(influx+"sacks: 1024", 128<<10, 32<<20, 16<<20)
	f(influx+"worker: {table_bytes: 1MiB}\nsacks: 2", 512<<10, 1<<20, 16<<20)
	f(influx+"worker: {flush_bytes: 8MiB, table_bytes: 64MiB, fetch_ahead: 1MiB}", 8<<20, 64<<20, 1<<20)
	f(influx+"worker: {flush_bytes: 48MiB}", 48<<20, 48<<20, 16<<20) // tables hold a flush at least
	f("worker: {flush_bytes: 512MiB}\ningest: {min_room: 1GiB}", 512<<20, 512<<20, 64<<20)
}

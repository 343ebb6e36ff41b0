package main

import "cmp"

// What a worker keeps in memory where the settings leave it to the storage. Carbonara's
// segments are the better the larger they are. InfluxDB is given points in writes of some
// thousands, so that many more of them in memory win nothing; and after an outage all of it is
// full for a while.
const (
	flushBytes = 32 << 20
	tableBytes = 256 << 20
	fetchAhead = 64 << 20

	influxFlushBytes = 2 << 20 // a sack's: the points of some writes
	influxFlushLeast = 128 << 10
	influxTableBytes = 32 << 20
	influxFetchAhead = 16 << 20
)

// workerMemory is how many bytes of a sack are flushed, what those of all sacks may take, and
// what is read ahead of them. On InfluxDB sacks flush before all together are at their bound,
// where they would wait for each other.
func (c *config) workerMemory() (flush, table, ahead size) {
	if c.Storage.Driver != "influxdb" {
		return cmp.Or(c.Worker.FlushBytes, flushBytes), cmp.Or(c.Worker.TableBytes, max(tableBytes, c.Worker.FlushBytes)),
			cmp.Or(c.Worker.FetchAhead, fetchAhead)
	}
	table = cmp.Or(c.Worker.TableBytes, max(influxTableBytes, c.Worker.FlushBytes))
	share := max(influxFlushLeast, table/size(max(1, c.Sacks)))
	return cmp.Or(c.Worker.FlushBytes, min(influxFlushBytes, share, table)), table,
		cmp.Or(c.Worker.FetchAhead, influxFetchAhead)
}

func (c *config) flushBytes() size {
	flush, _, _ := c.workerMemory()
	return flush
}

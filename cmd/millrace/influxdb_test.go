package main

import (
	"math/rand/v2"
	"testing"

	"millrace/testservers"
)

// A loaded server on InfluxDB keeps the promise while InfluxDB is killed, and while it is
// killed itself. MILLRACE_TEST_INFLUX_CYCLES says how often (1).
func TestInfluxDB(t *testing.T) {
	for _, version := range []testservers.InfluxVersion{testservers.Influx2} {
		t.Run(string(version), func(t *testing.T) {
			server := testservers.NewInfluxDB(t, version)
			cycles := testNumber(t, "MILLRACE_TEST_INFLUX_CYCLES", 1)
			seed := testNumber(t, "MILLRACE_TEST_SEED", rand.Uint64())
			t.Logf("MILLRACE_TEST_SEED=%d", seed)
			b := backend{settings: []string{
				"MILLRACE_STORAGE_DRIVER=influxdb", "MILLRACE_STORAGE_INFLUXDB_URL=" + server.URL(), "MILLRACE_STORAGE_INFLUXDB_ORG=" + server.Org,
				"MILLRACE_STORAGE_INFLUXDB_BUCKET=" + server.Bucket(t, "millrace"), "MILLRACE_STORAGE_INFLUXDB_TOKEN=" + server.Token,
			}}
			s := &storeTrial{backend: b, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0))}
			s.settings = append(s.settings, "MILLRACE_WORKER_FLUSH_INTERVAL=200ms", "MILLRACE_LOG_LEVEL=warn")
			s.process = start(t, s.dir, s.settings...)
			s.oracles = newOracles(t, &s.process.server, seed)[:2]
			for range cycles {
				s.harm(t, "killed", gone(server.Process))
				s.kill(t)
			}
			total := 0
			for _, o := range s.oracles {
				total += o.total
				if err := o.verify(t.Context(), s.process.client, true); err != nil {
					t.Fatalf("at the end: %v\n%s", err, tail(s.process.log.String()))
				}
			}
			if total == 0 {
				t.Error("nothing was acknowledged")
			}
			if err := s.process.terminate(); err != nil {
				t.Error(err)
			}
			t.Logf("suite: ack oracle on %s: %d measures acknowledged while it, and the server, were killed %d times each, all as promised", server, total, cycles)
		})
	}
}

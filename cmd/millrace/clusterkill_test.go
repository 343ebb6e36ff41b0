package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// A victim is one of the processes of a deployment, its own or those that it stands on.
type victim struct {
	name string
	kill func() (revive func())
}

const frozen = "a worker frozen for longer than its session"

// TestClusterKill loads a deployment of two APIs and three workers, and kills, stops,
// freezes or cuts off any of them, the broker, the database or the storage at random
// moments, again and again. What was acknowledged is there, once, with the right value,
// whichever process is asked. MILLRACE_TEST_CLUSTER_CYCLES says how often,
// MILLRACE_TEST_CLUSTER_BROKERS how many brokers there are (1; of three, two hold what is
// acknowledged), and MILLRACE_TEST_SEED which harms. The first is always a worker that is frozen: when it goes on, it
// and another one take themselves for the owners of the same sacks.
func TestClusterKill(t *testing.T) {
	t.Run("Redis", func(t *testing.T) {
		redis := testservers.NewRedis(t, testservers.RedisFlavor, "--appendonly", "yes", "--appendfsync", "always")
		testClusterKill(t, sharedRedis(redis), 4)
	})
	t.Run("S3", func(t *testing.T) { testClusterKill(t, sharedS3(t, testservers.NewMinIO(t)), 4) })
	t.Run("InfluxDB", func(t *testing.T) {
		testClusterKill(t, sharedInflux(testservers.NewInfluxDB(t, testservers.Influx2)), 2)
	})
}

func testClusterKill(t *testing.T, storage sharedStorage, often uint64) {
	cycles := testNumber(t, "MILLRACE_TEST_CLUSTER_CYCLES", often)
	seed := testNumber(t, "MILLRACE_TEST_SEED", rand.Uint64())
	t.Logf("MILLRACE_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 7))
	postgres := testservers.NewPostgres(t)
	kafka, ways := kafkaBehindProxies(t, int(testNumber(t, "MILLRACE_TEST_CLUSTER_BROKERS", 1)))
	toStorage, err := faultproxy.NewTCP(storage.process.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = toStorage.Close() })
	c := clusterOn(t, postgres, kafka, storage, "MILLRACE_WORKER_FLUSH_INTERVAL=1s", "MILLRACE_LOG_LEVEL=warn")
	apis := []*process{c.start("api"), c.start("api")}
	// One worker's way to the brokers and another one's to the storage can be cut.
	reach := [][]string{{"MILLRACE_QUEUE_KAFKA_BROKERS=" + addrsOf(ways)}, storage.settings(toStorage.Addr), nil}
	var workers []*process
	for _, way := range reach {
		workers = append(workers, c.start("worker", way...))
	}
	oracles := newOracles(t, &apis[0].server, seed)
	restart := func(i int) { workers[i] = c.start("worker", reach[i]...) }
	victims := append(c.victims(random, postgres, kafka, storage, apis, workers, restart),
		cutOff("a worker cut off from the brokers", ways...),
		cutOff("a worker cut off from the storage", toStorage))
	fell := map[string]int{}
	for cycle := range cycles {
		stop, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		for i, o := range oracles {
			client := apis[i%2].client // while everything is restarted, also of what takes its place
			writing.Go(func() {
				for stop.Err() == nil && o.refused == nil {
					o.write(stop, client)
				}
			})
		}
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		v := victims[random.IntN(len(victims))]
		if cycle == 0 {
			v = victims[slices.IndexFunc(victims, func(v victim) bool { return v.name == frozen })]
		}
		fell[v.name]++
		revive := v.kill()
		time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
		cancel()
		writing.Wait()
		revive()
		full := cycle == cycles-1
		for i, o := range oracles {
			reader := apis[(i+1)%2]
			if o.refused != nil {
				t.Fatalf("cycle %d, %s: a good batch is refused: %v\n%s", cycle, v.name, o.refused, reader.log)
			}
			if err := o.verify(t.Context(), reader.client, full); err != nil {
				t.Fatalf("cycle %d, after %s: %v\n%s\n%s", cycle, v.name, err, reader.log, logsOf(workers))
			}
		}
	}
	total, unknown := 0, 0
	for _, o := range oracles {
		total += o.total
		unknown += o.unknown
	}
	if total == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("suite: ack oracle over Kafka, PostgreSQL and "+storage.process.String()+
		", two APIs and three workers: %d cycles (%v), %d measures acknowledged, %d of unknown outcome, all as promised; "+
		"%d times a worker found a sack of its own owned by somebody else",
		cycles, fell, total, unknown, strings.Count(logsOf(workers), "owned by somebody else"))
}

// cutOff is a process that no longer reaches a server which the others do reach, for
// longer than its session.
func cutOff(name string, ways ...*faultproxy.TCP) victim {
	return victim{name, func() func() {
		for _, way := range ways {
			way.Set(faultproxy.Mode{Cut: true})
		}
		time.Sleep(7 * time.Second)
		return func() {
			for _, way := range ways {
				way.Set(faultproxy.Mode{})
				way.ResetAll()
			}
		}
	}}
}

// kafkaBehindProxies is a Kafka of so many brokers, and the proxies before them.
func kafkaBehindProxies(t *testing.T, brokers int) (*testservers.KafkaServer, []*faultproxy.TCP) {
	t.Helper()
	var ways []*faultproxy.TCP
	before := func(_ int, upstream string) (string, error) {
		way, err := faultproxy.NewTCP(upstream)
		if err != nil {
			return "", err
		}
		t.Cleanup(func() { _ = way.Close() })
		ways = append(ways, way)
		return way.Addr, nil
	}
	return testservers.NewKafka(t, testservers.Kafka4, testservers.KafkaOptions{Brokers: brokers, Proxies: before}), ways
}

// addrsOf are the addresses of proxies, as a setting.
func addrsOf(ways []*faultproxy.TCP) string {
	var addrs []string
	for _, way := range ways {
		addrs = append(addrs, way.Addr)
	}
	return strings.Join(addrs, ",")
}

// victims are who may fall, and how. A process that is started again takes the place of
// the one that fell.
func (c *cluster) victims(random *rand.Rand, postgres *testservers.PostgresServer, kafka *testservers.KafkaServer,
	storage sharedStorage, apis, workers []*process, restartWorker func(i int)) []victim {
	pick := func(of []*process) int { return random.IntN(len(of)) }
	ends := func(kind string, of []*process, end func(p *process), restart func(i int)) victim {
		return victim{kind, func() func() {
			i := pick(of)
			end(of[i])
			return func() { restart(i) }
		}}
	}
	return []victim{
		ends("an API killed", apis, (*process).kill, func(i int) { apis[i] = c.start("api") }),
		ends("a worker killed", workers, (*process).kill, restartWorker),
		ends("a worker stopped", workers, func(p *process) { p.terminate() }, restartWorker),
		{frozen, func() func() {
			p := workers[pick(workers)]
			p.cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(7 * time.Second)
			return func() { p.cmd.Process.Signal(syscall.SIGCONT) }
		}},
		{"a broker killed", func() func() {
			broker := kafka.Brokers[random.IntN(len(kafka.Brokers))]
			broker.Kill()
			return func() { c.must(broker.Start()) }
		}},
		{"all restarted, one after the other", func() func() {
			for i, p := range apis {
				c.ends(p)
				apis[i] = c.startAt(p.base.Host, "api")
			}
			for i, p := range workers {
				c.ends(p)
				restartWorker(i)
			}
			return func() {}
		}},
		{"the database killed", func() func() {
			postgres.Kill()
			return func() { c.must(postgres.Start()) }
		}},
		{"the storage killed", func() func() {
			storage.process.Kill()
			return func() { c.must(storage.process.Start()) }
		}},
	}
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// logsOf are what processes have logged, each below its address.
func logsOf(processes []*process) string {
	all := map[string]string{}
	for _, p := range processes {
		all[p.base.Host] = p.log.String()
	}
	text := ""
	for _, host := range slices.Sorted(maps.Keys(all)) {
		text += fmt.Sprintf("== %s\n%s\n", host, all[host])
	}
	return text
}

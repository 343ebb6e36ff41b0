package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/ingest"
	"millrace/queue/kafka"
)

// fakeCluster is brokers in this process, which fail on command.
func fakeCluster(t *testing.T, options ...kfake.Opt) (*kfake.Cluster, kafka.Config) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.ClusterID("fake")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, kafka.Config{Brokers: c.ListenAddrs(), Topic: "measures", AcceptRisks: true, Deadline: 5 * time.Second}
}

// numbered is a record that says its number.
func numbered(n int) *ingest.Record {
	return &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: time.Unix(1_700_000_000, int64(n)).UTC(), Project: "p",
		Entries: []ingest.Entry{{Metric: ingest.MetricID{1}, Policy: "low",
			Measures: []ingest.Measure{{Time: int64(n), Value: float64(n)}}}}}
}

func appendOne(t testing.TB, l *kafka.Log, sack ingest.Sack, n int) (ingest.Offset, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := []ingest.Outgoing{{Sack: sack, Record: numbered(n)}}
	err := l.Append(ctx, out)
	return out[0].Offset, err
}

// mustAppend appends records of a sack and returns the watermark behind them.
func mustAppend(t testing.TB, l *kafka.Log, sack ingest.Sack, from, to int) ingest.Watermark {
	t.Helper()
	for n := from; n < to; n++ {
		if _, err := appendOne(t, l, sack, n); err != nil {
			t.Fatalf("record %d: %v", n, err)
		}
	}
	at := ingest.Watermark{Log: l.Log(), Offset: l.Log().Base}
	for _, d := range fetchAll(t, l, sack, at.Offset, to-from) {
		at.Take(&d)
	}
	return at
}

// fetchAll reads n records at least.
func fetchAll(t testing.TB, l *kafka.Log, sack ingest.Sack, from ingest.Offset, n int) (list []ingest.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(list) < n {
		var some ingest.Deliveries
		if err := l.Fetch(ctx, sack, from, &some); err != nil {
			t.Fatalf("cannot fetch from %d, having %d of %d: %v", from, len(list), n, err)
		}
		list = append(list, some.List...)
		from = list[len(list)-1].Offset + 1
	}
	return list
}

// applied are the numbers of the records that a worker would apply.
func applied(list []ingest.Delivery) (numbers []int) {
	var at ingest.Watermark
	for i := range list {
		if at.Take(&list[i]) {
			numbers = append(numbers, int(list[i].Record.Entries[0].Measures[0].Value))
		}
	}
	return numbers
}

// An answer that is lost after the append, or a replica that was too slow, makes the batch
// arrive twice: it counts once, and the client sees no error.
func TestLostAnswers(t *testing.T) {
	for _, lost := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		t.Run(lost.Message, func(t *testing.T) {
			cluster, config := fakeCluster(t)
			l := open(t, config, 1)
			mustAppend(t, l, 0, 0, 1)
			fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: lost, Count: 2})
			if _, err := appendOne(t, l, 0, 1); err != nil {
				t.Fatalf("%v", err)
			}
			if fault.Hits() != 2 {
				t.Errorf("%d answers were lost, want 2", fault.Hits())
			}
			mustAppend(t, l, 0, 2, 3)
			list := fetchAll(t, l, 0, l.Log().Base, 5) // the second one three times
			if got := applied(list); !slices.Equal(got, []int{0, 1, 2}) {
				t.Errorf("of %d records these count: %v, want 0 1 2", len(list), got)
			}
		})
	}
}

// A batch that was given up and arrives late, behind a newer value, does not bring the old
// one back.
func TestLateBatch(t *testing.T) {
	cluster, config := fakeCluster(t)
	config.Deadline = 300 * time.Millisecond
	l := open(t, config, 1)
	mustAppend(t, l, 0, 0, 1)
	var cut atomic.Bool
	var late atomic.Pointer[kmsg.ProduceRequest] // it is on its way
	cut.Store(true)
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !cut.Load() {
			return nil, nil, false
		}
		late.CompareAndSwap(nil, r.(*kmsg.ProduceRequest))
		return nil, errors.New("the connection is cut"), true
	})
	if _, err := appendOne(t, l, 0, 1); !errors.Is(err, ingest.ErrUnavailable) {
		t.Fatalf("the append returns %v, want ErrUnavailable", err)
	}
	cut.Store(false)
	mustAppendEventually(t, l, 0, 2)
	replay(t, cluster, late.Load())
	list := fetchAll(t, l, 0, l.Log().Base, 3)
	if got := applied(list); !slices.Equal(got, []int{0, 2}) {
		t.Errorf("of %d records these count: %v, want 0 2", len(list), got)
	}
}

// Leaders that move, replicas that are too few for a while, brokers that shed load: the
// request is tried again, and succeeds.
func TestTroubleThatPasses(t *testing.T) {
	for _, trouble := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable,
		kerr.UnknownServerError} {
		t.Run(trouble.Message, func(t *testing.T) {
			cluster, config := fakeCluster(t)
			l := open(t, config, 1)
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: trouble, Count: 3})
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: trouble, Count: 1})
			if _, err := appendOne(t, l, 0, 0); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("leaders move all the time", func(t *testing.T) {
		cluster, config := fakeCluster(t)
		config.Deadline = 20 * time.Second
		l := open(t, config, 2)
		done := make(chan struct{})
		var moving sync.WaitGroup
		moving.Go(func() {
			for n := int32(0); ; n++ {
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
					cluster.MoveTopicPartition("measures", n%2, n%3)
				}
			}
		})
		for n := range 40 {
			if _, err := appendOne(t, l, 0, n); err != nil {
				t.Errorf("record %d: %v", n, err)
			}
		}
		close(done)
		moving.Wait()
		if got := applied(fetchPatiently(t, l, 0, 40)); len(got) != 40 || !slices.IsSorted(got) {
			t.Errorf("applied %v", got)
		}
	})
}

// A topic that was just made is open once all of its partitions have leaders, however long
// that takes: who asks then where the log ends is told.
func TestLeadersOfNewTopic(t *testing.T) {
	cluster, config := fakeCluster(t)
	began := time.Now()
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: -1,
		When: func(kmsg.Request) bool { return time.Since(began) < 4*time.Second }})
	l := open(t, config, 4)
	if end, err := l.End(t.Context()); err != nil || len(end) != 4 {
		t.Errorf("%v, %v", end, err)
	}
}

// Brokers that refuse for long: the caller is answered within its deadline, what is not
// written is not acknowledged, and memory is bounded.
func TestBrokersGone(t *testing.T) {
	cluster, config := fakeCluster(t)
	config.Deadline, config.MaxPending = 500*time.Millisecond, 10_000
	l := open(t, config, 2)
	mustAppend(t, l, 0, 0, 1)
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{0},
		Err: kerr.NotEnoughReplicas, Count: -1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	var mu sync.Mutex
	refusedAtOnce, others := 0, 0
	for n := range 400 { // of about 100 bytes each
		wait.Go(func() {
			err := l.Append(ctx, []ingest.Outgoing{{Sack: 0, Record: numbered(1000 + n)}})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case !errors.Is(err, ingest.ErrUnavailable):
				t.Errorf("append returns %v, want ErrUnavailable", err)
			case strings.Contains(err.Error(), "bytes wait"):
				refusedAtOnce++
			default:
				others++
			}
		})
	}
	if _, err := appendOne(t, l, 1, 7); err != nil {
		t.Errorf("one sick partition stops what is for another: %v", err)
	}
	wait.Wait()
	if refusedAtOnce == 0 || others == 0 {
		t.Errorf("%d were refused at once and %d later: want some of both", refusedAtOnce, others)
	}
	fault.Remove()
	mustAppendEventually(t, l, 0, 2)
}

// mustAppendEventually appends a record, again and again while the log is unavailable.
func mustAppendEventually(t *testing.T, l *kafka.Log, sack ingest.Sack, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := appendOne(t, l, sack, n)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// fetchPatiently reads n records at least, whatever errors pass by.
func fetchPatiently(t *testing.T, l *kafka.Log, sack ingest.Sack, n int) (list []ingest.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	from := l.Log().Base
	for len(list) < n && ctx.Err() == nil {
		var some ingest.Deliveries
		if err := l.Fetch(ctx, sack, from, &some); err == nil {
			list = append(list, some.List...)
			from = list[len(list)-1].Offset + 1
		}
	}
	return list
}

// replay has a produce request reach the partition's leader now.
func replay(t *testing.T, cluster *kfake.Cluster, r *kmsg.ProduceRequest) {
	t.Helper()
	// topics by name
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.MaxVersions(kversion.V2_8_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r.Acks, r.TimeoutMillis = -1, 5000
	answer, err := client.Broker(int(cluster.LeaderFor("measures", 0))).Request(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

func wantCheck(t *testing.T, l *kafka.Log, at ingest.Watermark, want error, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var err error
	for { // until what is not certain is
		if err = l.Check(ctx, 0, at); !errors.Is(err, ingest.ErrUnavailable) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if !errors.Is(err, want) {
		t.Errorf("Check returns %v, want %v", err, want)
		return
	}
	for _, text := range says {
		if err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

// A log that is not the one we knew is always noticed.
func TestAnotherTopic(t *testing.T) {
	anew := func(t *testing.T, records int) (*kafka.Log, ingest.Watermark, *kafka.Log) {
		t.Helper()
		cluster, config := fakeCluster(t)
		l := open(t, config, 1)
		at := mustAppend(t, l, 0, 0, 5)
		wantCheck(t, l, at, nil)
		if err := cluster.DeleteTopic("measures"); err != nil {
			t.Fatal(err)
		}
		if err := cluster.CreateTopic("measures", 1, nil); err != nil {
			t.Fatal(err)
		}
		other := open(t, config, 1)
		for n := range records {
			if _, err := appendOne(t, other, 0, 100+n); err != nil {
				t.Fatal(err)
			}
		}
		return l, at, other
	}
	t.Run("made anew with fewer records", func(t *testing.T) {
		_, at, other := anew(t, 3)
		wantCheck(t, other, at, ingest.ErrForeign, "topic measures, partition 0", "ends at offset 3", "applied up to 5")
		var dst ingest.Deliveries
		if err := other.Fetch(t.Context(), 0, at.Offset, &dst); !errors.Is(err, ingest.ErrForeign) {
			t.Errorf("Fetch returns %v, want ErrForeign", err)
		}
	})
	for _, n := range []int{5, 9} {
		t.Run(fmt.Sprintf("made anew with %d records", n), func(t *testing.T) {
			_, at, other := anew(t, n)
			wantCheck(t, other, at, ingest.ErrForeign, "topic measures, partition 0", "another record at offset 4")
		})
	}
	t.Run("an acceptor that stays", func(t *testing.T) {
		l, _, _ := anew(t, 0)
		var err error
		for range 20 {
			if _, err = appendOne(t, l, 0, 50); err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), "gave out offset") {
			t.Errorf("the append returns %v, want an alarm", err)
		}
		if _, err := appendOne(t, l, 0, 51); !errors.Is(err, ingest.ErrUnavailable) {
			t.Errorf("and later %v, want ErrUnavailable", err)
		}
	})
	t.Run("retention ate what was not applied", func(t *testing.T) {
		cluster, config := fakeCluster(t)
		l := open(t, config, 1)
		at := mustAppend(t, l, 0, 0, 3)
		mustAppend(t, l, 0, 3, 6)
		if err := cluster.DeleteRecords("measures", 0, 5); err != nil {
			t.Fatal(err)
		}
		wantCheck(t, l, at, ingest.ErrGone, "topic measures, partition 0", "begins at offset 5", "read from 3")
		var dst ingest.Deliveries
		if err := l.Fetch(t.Context(), 0, at.Offset, &dst); !errors.Is(err, ingest.ErrGone) {
			t.Errorf("Fetch returns %v, want ErrGone", err)
		}
	})
	t.Run("retention ate exactly what was applied", func(t *testing.T) {
		cluster, config := fakeCluster(t)
		l := open(t, config, 1)
		at := mustAppend(t, l, 0, 0, 3)
		mustAppend(t, l, 0, 3, 6)
		if err := cluster.DeleteRecords("measures", 0, 3); err != nil {
			t.Fatal(err)
		}
		wantCheck(t, l, at, nil)
	})
	t.Run("offsets are missing in the midst", func(t *testing.T) {
		cluster, config := fakeCluster(t)
		l := open(t, config, 1)
		mustAppend(t, l, 0, 0, 3)
		writeTransaction(t, cluster, "measures") // its marker is no record, and takes an offset
		if _, err := appendOne(t, l, 0, 5); err != nil {
			t.Fatal(err)
		}
		fetchAll(t, l, 0, l.Log().Base, 4) // what comes before is sound
		var dst ingest.Deliveries
		err := l.Fetch(t.Context(), 0, l.Log().Base+4, &dst)
		if !errors.Is(err, ingest.ErrGone) || !strings.Contains(err.Error(),
			"topic measures, partition 0 goes on at offset 5 behind 4") {
			t.Errorf("Fetch returns %v, want ErrGone", err)
		}
	})
}

// writeTransaction has a stranger write one record and commit it.
func writeTransaction(t *testing.T, cluster *kfake.Cluster, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.TransactionalID("stranger"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic,
		Value: []byte("no record of ours")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

// The topic is looked at before anything is written to it.
func TestTopicIsChecked(t *testing.T) {
	refuses := func(name string, partitions int32, settings map[string]string, accept bool, want string) {
		t.Run(name, func(t *testing.T) {
			cluster, config := fakeCluster(t)
			config.AcceptRisks = accept
			if err := cluster.CreateTopic("measures", partitions, settings); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			l, err := tryOpen(ctx, t, config, 4)
			if err == nil {
				defer l.Close()
			}
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("opens with %v, want %q", err, want)
			}
		})
	}
	sound := map[string]string{"min.insync.replicas": "2", "message.timestamp.type": "LogAppendTime",
		"max.message.bytes": "4000000", "retention.ms": "-1"}
	with := func(name, value string) map[string]string {
		m := map[string]string{}
		for k, v := range sound {
			m[k] = v
		}
		m[name] = value
		return m
	}
	refuses("sound", 4, sound, false, "")
	refuses("more partitions", 6, sound, false, "")
	refuses("fewer partitions", 3, sound, true, "3 partitions, and 4 sacks")
	refuses("fewer partitions: the way", 3, sound, true, "kafka-topics.sh --alter --topic measures --partitions 4")
	const command = "kafka-configs.sh --alter --entity-type topics --entity-name measures --add-config "
	wrong := func(name, setting, value string, accept bool, says, better string) {
		refuses(name, 4, with(setting, value), accept, says)
		refuses(name+": the way", 4, with(setting, value), accept, command+setting+"="+better)
	}
	wrong("small messages", "max.message.bytes", "500000", true, "max.message.bytes is 500000", "2002112")
	wrong("one in sync", "min.insync.replicas", "1", false, "min.insync.replicas is 1", "2")
	wrong("unclean elections", "unclean.leader.election.enable", "true", false,
		"unclean.leader.election.enable is true", "false")
	wrong("compacted", "cleanup.policy", "compact", false, "cleanup.policy is compact", "delete")
	wrong("short retention", "retention.ms", "3600000", false, "retention.ms is 1h0m0s", "604800000")
	wrong("retention by size", "retention.bytes", "1000000", false, "retention.bytes is 1000000", "-1")
	wrong("clients' clocks", "message.timestamp.type", "CreateTime", false, "message.timestamp.type is CreateTime",
		"LogAppendTime")
	refuses("known risks", 4, with("min.insync.replicas", "1"), true, "")
}

// Of a sack whose watermark is of the log before, what waits is all that the topic holds: a
// process that applies nothing counts it so, and sees nothing amiss.
func TestBacklogAfterAnotherLog(t *testing.T) {
	_, config := fakeCluster(t)
	config.Replication, config.MinInSync = 1, 1
	l := open(t, config, 4)
	mustAppend(t, l, 1, 0, 3)
	for _, from := range []ingest.Offset{0, base - 5, base} {
		empty, err := l.Backlog(t.Context(), 0, from)
		if err != nil || empty.Records != 0 || empty.End != base {
			t.Errorf("behind %d an empty sack has %+v: %v", from, empty, err)
		}
		b, err := l.Backlog(t.Context(), 1, from)
		if err != nil || b.Records != 3 || b.From != base || b.End != base+3 || b.Oldest.IsZero() {
			t.Errorf("behind %d wait %+v: %v", from, b, err)
		}
	}
}

// What the brokers don't allow is told at once, and not tried again until the start gives up.
func TestRightsAreMissing(t *testing.T) {
	denied := kerr.TopicAuthorizationFailed.Code
	for name, c := range map[string]struct {
		made   bool // the topic is there
		answer func(kmsg.Request) kmsg.Response
		want   string
	}{
		"to make the topic": {false, func(r kmsg.Request) kmsg.Response {
			answer := r.ResponseKind().(*kmsg.CreateTopicsResponse)
			answer.Topics = []kmsg.CreateTopicsResponseTopic{{Topic: "measures", ErrorCode: denied}}
			return answer
		}, "cannot make it with"},
		"to read its settings": {true, func(r kmsg.Request) kmsg.Response {
			answer := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
			answer.Resources = []kmsg.DescribeConfigsResponseResource{{ErrorCode: denied,
				ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "measures"}}
			return answer
		}, "the right DescribeConfigs"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, config := fakeCluster(t)
			key := kmsg.CreateTopics
			if c.made {
				key = kmsg.DescribeConfigs
				if err := cluster.CreateTopic("measures", 4, nil); err != nil {
					t.Fatal(err)
				}
			}
			cluster.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				return c.answer(r), nil, true
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := tryOpen(ctx, t, config, 4)
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("opens with %v, want %q", err, c.want)
			}
		})
	}
}

// A topic that must exist is not made.
func TestTopicMustExist(t *testing.T) {
	_, config := fakeCluster(t)
	config.MustExist = true
	for range 2 {
		if _, err := tryOpen(t.Context(), t, config, 4); !errors.Is(err, kafka.ErrNoTopic) {
			t.Fatalf("opens with %v, want %v", err, kafka.ErrNoTopic)
		}
	}
}

// A broker that comes late, and for a moment doesn't know the topic that must exist, is given
// that moment: however long it was awaited before, the topic isn't taken for deleted.
func TestTopicKnownLate(t *testing.T) {
	cluster, config := fakeCluster(t)
	open(t, config, 4)
	config.MustExist = true
	var isUp atomic.Bool
	cluster.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, errors.New("it is not up"), !isUp.Load()
	})
	unknown := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.UnknownTopicOrPartition, Count: -1})
	go func() {
		time.Sleep(2500 * time.Millisecond)
		isUp.Store(true)
		time.Sleep(1500 * time.Millisecond)
		unknown.Remove()
	}()
	if _, err := tryOpen(t.Context(), t, config, 4); err != nil {
		t.Error(err)
	}
}

// A broker that takes its time slows down nobody's acknowledgement but by its own time:
// what waits goes together. One that takes longer than the deadline leaves the outcome
// open: the caller hears so in time, and can send it again.
func TestSlowBroker(t *testing.T) {
	cluster, config := fakeCluster(t)
	config.Deadline = 2 * time.Second
	l := open(t, config, 1)
	var slow atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if d := time.Duration(slow.Load()); d > 0 {
			cluster.SleepControl(func() { time.Sleep(d) })
		}
		return nil, nil, false
	})
	burst := func(from, n int) (failed int64) {
		var wait sync.WaitGroup
		var failures atomic.Int64
		for i := range n {
			wait.Go(func() {
				switch _, err := appendOne(t, l, 0, from+i); {
				case errors.Is(err, ingest.ErrUnavailable):
					failures.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		return failures.Load()
	}
	slow.Store(int64(300 * time.Millisecond))
	began := time.Now()
	if failed := burst(0, 100); failed > 0 {
		t.Errorf("%d of 100 records failed on a broker that takes 0.3 s", failed)
	}
	t.Logf("100 records at 0.3 s each request took %s", time.Since(began))

	slow.Store(int64(2500 * time.Millisecond))
	began = time.Now()
	if failed := burst(100, 20); failed != 20 {
		t.Errorf("%d of 20 records failed on a broker that takes longer than the deadline, want all", failed)
	}
	t.Logf("20 records were answered after %s", time.Since(began))
	slow.Store(0)
	for n := 100; n < 120; n++ { // as clients do who heard "unknown"
		mustAppendEventually(t, l, 0, n)
	}
	position, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counted := make(map[int]int)
	for _, n := range applied(fetchAll(t, l, 0, l.Log().Base, int(position[0]-l.Log().Base))) {
		counted[n]++
	}
	for n := range 120 {
		if counted[n] == 0 || n < 100 && counted[n] > 1 {
			t.Errorf("record %d counts %d times", n, counted[n])
		}
	}
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// A request costs a broker and a client more than the few records that a batch of one
// sack often has, and what one POST brings is for every sack. So batches that come at the
// same moment, of partitions which one broker leads, go in one request. They share its
// fate as long as it is on its way, so a partition whose last batch failed goes alone,
// until one succeeds: it holds nobody up (see partition.tryProduce).

const (
	// gather is how long a request waits for what else is about to be sent to its broker.
	gather = 500 * time.Microsecond
	// requestsPerBroker bounds the requests on their way to one broker; meanwhile the next
	// grows. One that takes long, since a replica does, doesn't hold up those behind it.
	requestsPerBroker = 8
	// sharedTimeout is how long a broker may wait for the replicas of one partition before
	// it answers for all of a request: well below what an acknowledgement may take.
	sharedTimeout = 2 * time.Second
	// leadersFor is how long it is believed who leads which partition.
	leadersFor = time.Second
)

// errAlone says that a batch has to be sent in a request of its own.
var errAlone = errors.New("to be sent alone")

// A sender puts what is sent to one broker at the same time into one request.
type sender struct {
	log *Log

	mu      sync.Mutex
	leaders []int // of each partition, the broker's id; below 0: not known
	asked   time.Time
	queues  map[int]*sendQueue // by broker
}

// A sendQueue is what waits for a request to one broker.
type sendQueue struct {
	waiting  []*sending
	gathered bool          // somebody sends what waits
	slots    chan struct{} // of the requests on their way
}

// A sending is a batch on its way.
type sending struct {
	partition int
	records   protocol.RecordReader
	base      int64
	appended  time.Time // by the broker's clock; zero: not said
	done      chan error
}

func newSender(l *Log) *sender { return &sender{log: l, queues: map[int]*sendQueue{}} }

// send returns when the batch has been written, or why not: errAlone means that it has
// not been tried.
func (s *sender) send(ctx context.Context, b *sending) error {
	leader, err := s.leaderOf(ctx, b.partition)
	if err != nil {
		return err
	}
	b.done = make(chan error, 1)
	s.mu.Lock()
	q := s.queues[leader]
	if q == nil {
		q = &sendQueue{slots: make(chan struct{}, requestsPerBroker)}
		s.queues[leader] = q
	}
	q.waiting = append(q.waiting, b)
	if !q.gathered {
		q.gathered = true
		s.log.running.Go(func() { s.flush(q) })
	}
	s.mu.Unlock()
	select {
	case err := <-b.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush sends what waits, and what comes meanwhile.
func (s *sender) flush(q *sendQueue) {
	time.Sleep(gather)
	q.slots <- struct{}{}
	s.mu.Lock()
	batches := q.waiting
	q.waiting, q.gathered = nil, false
	s.mu.Unlock()
	defer func() { <-q.slots }()
	ctx, cancel := context.WithTimeout(context.Background(), s.log.config.Request)
	defer cancel()
	failures := s.produce(ctx, min(sharedTimeout, s.log.config.Request/2), batches)
	if slices.ContainsFunc(failures, func(err error) bool { return err != nil }) {
		s.forget()
	}
	for i, b := range batches {
		if _, foreign := errors.AsType[*produce.Error](failures[i]); foreign {
			failures[i] = errAlone // it has not been sent: they have several leaders, or none
		}
		b.done <- failures[i]
	}
}

// sendAlone sends a batch in a request of its own.
func (s *sender) sendAlone(ctx context.Context, b *sending) error {
	ctx, cancel := context.WithTimeout(ctx, s.log.config.Request)
	defer cancel()
	deadline, _ := ctx.Deadline()
	return s.produce(ctx, time.Until(deadline)/2, []*sending{b})[0]
}

// produce sends one request, for whose replicas a broker waits so long, and says what
// became of each batch.
func (s *sender) produce(ctx context.Context, wait time.Duration, batches []*sending) []error {
	l := s.log
	partitions := make([]produce.RequestPartition, len(batches))
	for i, b := range batches {
		partitions[i] = produce.RequestPartition{Partition: int32(b.partition),
			RecordSet: protocol.RecordSet{Attributes: protocol.Attributes(l.codec) & 0x7, Records: b.records}}
	}
	answer, err := l.client.Transport.RoundTrip(ctx, l.client.Addr, &produce.Request{
		Acks: int16(kafka.RequireAll), Timeout: int32(wait.Milliseconds()),
		Topics: []produce.RequestTopic{{Topic: l.config.Topic, Partitions: partitions}},
	})
	if err != nil {
		return slices.Repeat([]error{err}, len(batches))
	}
	found := make(map[int]*produce.ResponsePartition, len(batches))
	for _, topic := range answer.(*produce.Response).Topics {
		for i := range topic.Partitions {
			found[int(topic.Partitions[i].Partition)] = &topic.Partitions[i]
		}
	}
	failures := make([]error, len(batches))
	for i, b := range batches {
		failures[i] = b.take(found[b.partition])
	}
	return failures
}

// take keeps what a broker answered for a batch.
func (b *sending) take(p *produce.ResponsePartition) error {
	switch {
	case p == nil:
		return fmt.Errorf("the broker's answer leaves out partition %d", b.partition)
	case p.ErrorCode != 0:
		return kafka.Error(p.ErrorCode)
	case len(p.RecordErrors) > 0:
		return errors.New(p.RecordErrors[0].BatchIndexErrorMessage)
	}
	b.base = p.BaseOffset
	if p.LogAppendTime > 0 {
		b.appended = time.UnixMilli(p.LogAppendTime)
	}
	return nil
}

// leaderOf returns the broker that leads a partition, or errAlone when that is not known.
func (s *sender) leaderOf(ctx context.Context, partition int) (int, error) {
	s.mu.Lock()
	fresh := time.Since(s.asked) < leadersFor
	if fresh {
		defer s.mu.Unlock()
		return s.leader(partition)
	}
	s.asked = time.Now() // others go on with what is known
	s.mu.Unlock()
	answer, err := s.log.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{s.log.config.Topic}})
	leaders := make([]int, s.log.sacks)
	for i := range leaders {
		leaders[i] = -1
	}
	if err == nil {
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if p.Error == nil && p.ID < len(leaders) && p.Leader.Host != "" {
					leaders[p.ID] = p.Leader.ID
				}
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaders = leaders
	return s.leader(partition)
}

// leader is of what is known. The caller holds mu.
func (s *sender) leader(partition int) (int, error) {
	if partition >= len(s.leaders) || s.leaders[partition] < 0 {
		return 0, errAlone
	}
	return s.leaders[partition], nil
}

// forget has the next batch ask who leads what.
func (s *sender) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.leaders = time.Time{}, nil
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"millrace/ingest"
	"millrace/queue"
)

// An appending is one call of Append: it ends with its last record.
type appending struct {
	left atomic.Int64
	once sync.Once
	done chan error // capacity 1
}

func (a *appending) finished(err error) {
	if err != nil {
		a.once.Do(func() { a.done <- err })
	}
	if a.left.Add(-1) == 0 {
		a.once.Do(func() { a.done <- nil })
	}
}

// A pending record waits to be produced.
type pending struct {
	value []byte
	out   *ingest.Outgoing // gets its offset; nobody's once the call has ended
	call  *appending
}

// Append returns when every record is on all in-sync replicas, or when ctx ends: then
// they may still be on their way, and it is safe to append them again.
func (l *Log) Append(ctx context.Context, out []ingest.Outgoing) error {
	if len(out) == 0 {
		return ctx.Err()
	}
	// A caller that gives up takes its records back: what is on its way writes into ours.
	mine := make([]ingest.Outgoing, len(out))
	copy(mine, out)
	call := &appending{done: make(chan error, 1)}
	call.left.Store(int64(len(out)))
	for i := range mine {
		if s := int(mine[i].Sack); s < 0 || s >= l.sacks {
			return fmt.Errorf("cannot append to sack %d: there are %d", s, l.sacks)
		}
		if mine[i].Record.Size() > ingest.MaxRecord { // else nothing is written of any
			if _, err := queue.AppendRecord(nil, mine[i].Record); err != nil {
				return err
			}
		}
	}
	for i := range mine {
		if err := l.partitions[mine[i].Sack].put(&mine[i], call); err != nil {
			call.finished(err)
		}
	}
	select {
	case err := <-call.done:
		if err != nil {
			return err
		}
		for i := range out {
			out[i].Offset = mine[i].Offset
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A partition gathers what is to be written to one partition, and writes it: one batch
// at a time, so that a batch which is tried again can't overtake the next.
type partition struct {
	log    *Log
	number int

	mu       sync.Mutex
	sequence uint64
	list     []pending
	bytes    int64 // of list and of what is on its way
	wake     chan struct{}
	shutting bool
	broken   error // set when the topic turns out to be another one: nothing is taken any more

	last  int64 // own offset of the last record written; -1: none
	alone bool  // the last batch failed: the next one shares no request. The run goroutine's.
}

func newPartition(l *Log, number int) *partition {
	return &partition{log: l, number: number, wake: make(chan struct{}, 1), last: -1}
}

// put encodes a record behind those that wait, and numbers it.
func (p *partition) put(out *ingest.Outgoing, call *appending) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.broken != nil:
		return p.broken
	case p.shutting:
		return fmt.Errorf("%w: it is closed", ingest.ErrUnavailable)
	case p.bytes > p.log.config.MaxPending:
		return fmt.Errorf("%w: %d bytes wait for %s", ingest.ErrUnavailable, p.bytes, p.log.where(p.number))
	}
	r := *out.Record
	r.Producer, r.Sequence = p.log.producer, p.sequence+1
	value, err := queue.AppendRecord(nil, &r)
	if err != nil {
		return err
	}
	p.sequence++
	p.list = append(p.list, pending{value, out, call})
	p.bytes += int64(len(value))
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// shut takes nothing more in; what waits is still written.
func (p *partition) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shutting = true
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run writes batches until the log is closed and nothing waits.
func (p *partition) run() {
	for {
		<-p.wake
		p.linger()
		for {
			batch, last := p.take()
			if len(batch) == 0 {
				if last {
					return
				}
				break
			}
			p.write(batch)
		}
	}
}

// linger lets a batch gather, but for a log that is being closed.
func (p *partition) linger() {
	timer := time.NewTimer(p.log.config.Linger)
	defer timer.Stop()
	for {
		p.mu.Lock()
		full := p.bytes >= int64(p.log.config.BatchBytes)
		p.mu.Unlock()
		if full {
			return
		}
		select {
		case <-timer.C:
			return
		case <-p.wake:
		case <-p.log.closing.Done():
			return
		}
	}
}

// take removes the next batch from the list; last says that there will be no more.
func (p *partition) take() (batch []pending, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes, n := 0, 0
	for n < len(p.list) {
		size := len(p.list[n].value) + recordOverhead
		if n > 0 && bytes+size > p.log.config.BatchBytes {
			break
		}
		bytes += size
		n++
	}
	batch = p.list[:n:n]
	p.list = p.list[n:]
	return batch, p.shutting && len(p.list) == 0
}

// write produces a batch, trying until it is written or Deadline has passed, and tells
// everybody.
func (p *partition) write(batch []pending) {
	bytes := 0
	for i := range batch {
		bytes += len(batch[i].value)
	}
	began := time.Now()
	base, err := p.produce(batch)
	p.log.metrics.produced(len(batch), bytes, time.Since(began), err)
	p.mu.Lock()
	p.bytes -= int64(bytes)
	p.mu.Unlock()
	for i := range batch {
		if err == nil {
			batch[i].out.Offset = p.log.offset(base + int64(i))
		}
		batch[i].call.finished(err)
	}
}

// produce returns the partition's own offset of the batch's first record.
func (p *partition) produce(batch []pending) (base int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.log.config.Deadline)
	defer cancel()
	pause := 20 * time.Millisecond
	for try := 1; ; try++ {
		base, err = p.tryProduce(ctx, batch)
		if err == nil {
			return base, p.advance(base, len(batch))
		}
		if !isTransient(err) {
			break
		}
		p.log.metrics.retried()
		select {
		case <-ctx.Done():
			return 0, p.failed(err, try)
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
	return 0, p.failed(err, 1)
}

func (p *partition) failed(err error, tries int) error {
	err = unavailable(fmt.Errorf("cannot write to %s, tried %d times: %w", p.log.where(p.number), tries, err))
	p.log.alarms.warn(p.log, "cannot write to a partition", "partition", p.number, "err", err)
	return err
}

// tryProduce sends a batch, with those of other partitions unless the last one failed.
func (p *partition) tryProduce(ctx context.Context, batch []pending) (int64, error) {
	b := &sending{partition: p.number, records: recordsOf(batch)}
	err := errAlone
	if !p.alone {
		err = p.log.sender.send(ctx, b)
	}
	if errors.Is(err, errAlone) {
		b.records = recordsOf(batch) // what was encoded before has been read
		err = p.log.sender.sendAlone(ctx, b)
	}
	if p.alone = err != nil; p.alone {
		return 0, err
	}
	if !b.appended.IsZero() {
		p.log.alarms.clock(p.log, time.Since(b.appended))
	}
	return b.base, nil
}

func recordsOf(batch []pending) kafka.RecordReader {
	records := make([]kafka.Record, len(batch))
	for i := range batch {
		records[i].Value = kafka.NewBytes(batch[i].value)
	}
	return kafka.NewRecordReader(records...)
}

// advance holds a batch's place against the last one's: a partition that goes back is
// not the one that it was, and its offsets name other records already.
func (p *partition) advance(base int64, n int) error {
	p.mu.Lock()
	last := p.last
	p.last = max(last, base+int64(n)-1)
	p.mu.Unlock()
	if base > last {
		p.log.places.saw(p.number, 0, base+int64(n))
		return nil
	}
	err := fmt.Errorf("%w: %s gave out offset %d after %d: it was made anew, or has lost its end; nothing more is "+
		"accepted",
		ingest.ErrUnavailable, p.log.where(p.number), base, last)
	p.log.log.Error("ALARM: the log has gone back", "topic", p.log.config.Topic, "partition", p.number, "offset", base,
		"last", last)
	p.log.metrics.alarm("went_back")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = err
	return err
}

// Expect says how far the log has been applied, and so what it has given out at least: an
// offset below that is the sign of another topic under the same name, and refused.
func (l *Log) Expect(applied ingest.Position) {
	for s, at := range applied {
		if at > l.id.Base && s < len(l.partitions) {
			p := l.partitions[s]
			p.mu.Lock()
			p.last = max(p.last, l.own(at)-1)
			p.mu.Unlock()
		}
	}
}

// isTransient says whether trying again can help: everything but what blames the
// request itself.
func isTransient(err error) bool {
	if e, ok := errors.AsType[kafka.Error](err); ok {
		switch e {
		case kafka.MessageSizeTooLarge, kafka.InvalidMessage, kafka.InvalidRequiredAcks, kafka.TopicAuthorizationFailed,
			kafka.ClusterAuthorizationFailed, kafka.SASLAuthenticationFailed, kafka.UnsupportedCompressionType,
			kafka.InvalidRecord:
			return false
		}
		return true
	}
	return true // the network, a deadline, no leader
}

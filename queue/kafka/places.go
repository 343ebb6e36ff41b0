package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"millrace/ingest"
)

// places is where partitions begin and end, as the brokers said last.
type places struct {
	mu    sync.Mutex
	at    []place
	asked time.Time // when the brokers were asked for all of them

	asking sync.Mutex // one asks, and those who came meanwhile use its answer
}

// A place is of one partition: own offsets.
type place struct{ first, end int64 }

// saw remembers what an answer to a fetch has said along the way.
func (p *places) saw(partition int, first, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if partition < len(p.at) {
		p.at[partition] = place{max(p.at[partition].first, first), max(p.at[partition].end, end)}
	}
}

// ends returns where every partition begins and ends, as it was after since at least.
// It is one request, shared by those who ask at the same time.
func (l *Log) ends(ctx context.Context, since time.Time) ([]place, error) {
	p := &l.places
	if known := p.known(since); known != nil {
		return known, nil
	}
	p.asking.Lock()
	defer p.asking.Unlock()
	if known := p.known(since); known != nil {
		return known, nil
	}
	for deadline := time.Now().Add(moveTime); ; {
		began := time.Now()
		at, err := l.askEnds(ctx)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.at, p.asked = at, began
			return append([]place(nil), at...), nil
		}
		if ctx.Err() != nil || began.After(deadline) {
			return nil, err
		}
		select { // a leader that moves, or has just been chosen, is known to all after a moment
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// moveTime is how long brokers may disagree about who leads a partition before that is an
// answer.
const moveTime = 2 * time.Second

// askEnds asks the brokers where every partition begins and ends, in one request.
func (l *Log) askEnds(ctx context.Context) ([]place, error) {
	var offsets []kafka.OffsetRequest
	for s := range l.sacks {
		offsets = append(offsets, kafka.FirstOffsetOf(s), kafka.LastOffsetOf(s))
	}
	answer, err := l.client.ListOffsets(ctx,
		&kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{l.config.Topic: offsets}})
	if err != nil {
		return nil, unavailable(fmt.Errorf("cannot ask where topic %s ends: %w", l.config.Topic, err))
	}
	at := make([]place, l.sacks)
	found := 0
	for _, o := range answer.Topics[l.config.Topic] {
		if o.Error != nil {
			return nil, unavailable(fmt.Errorf("cannot ask where %s ends: %w", l.where(o.Partition), o.Error))
		}
		if o.Partition < l.sacks {
			at[o.Partition] = place{o.FirstOffset, o.LastOffset}
			found++
		}
	}
	if found < l.sacks {
		return nil, unavailable(fmt.Errorf("topic %s has %d partitions, and %d sacks need one each", l.config.Topic, found,
			l.sacks))
	}
	return at, nil
}

func (p *places) known(since time.Time) []place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil || p.asked.Before(since) {
		return nil
	}
	return append([]place(nil), p.at...)
}

// placesOf returns where one partition begins and ends now.
func (l *Log) placesOf(ctx context.Context, partition int) (first, end int64, err error) {
	at, err := l.ends(ctx, time.Now())
	if err != nil {
		return 0, 0, err
	}
	return at[partition].first, at[partition].end, nil
}

// End returns, for every sack, the watermark of all that was acknowledged before the
// call; 0 for a sack without records.
func (l *Log) End(ctx context.Context) (ingest.Position, error) {
	at, err := l.ends(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	position := make(ingest.Position, l.sacks)
	for s := range at {
		if at[s].end > 0 {
			position[s] = l.offset(at[s].end)
		}
	}
	return position, nil
}

// backlogAge is how old the ends may be that a backlog is counted by.
const backlogAge = 2 * time.Second

// oldest remembers when the first waiting records were accepted, so that a sack which
// stands still is asked about once.
type oldest struct {
	mu sync.Mutex
	of map[ingest.Sack]waiting
}

type waiting struct {
	from     ingest.Offset
	accepted time.Time
	bytes    int64 // of the record, to guess at the others
}

// Backlog counts the records at or after from by the partition's end, not older than
// two seconds, and guesses at their bytes by the first. That one is fetched, once. Like
// Fetch it fails with ingest.ErrGone and ErrForeign where the topic has no such place: also
// a process that reads nothing can tell. A watermark of a log before this one stands for
// its beginning: all of that log has been applied, or was given up.
func (l *Log) Backlog(ctx context.Context, sack ingest.Sack, from ingest.Offset) (ingest.Backlog, error) {
	at, err := l.ends(ctx, time.Now().Add(-backlogAge))
	if err != nil {
		return ingest.Backlog{}, err
	}
	if from < l.id.Base {
		from = 0
	}
	place := at[sack]
	own := l.from(sack, from)
	if from > 0 && (own < place.first || own > place.end) { // or the ends are older than from
		err := l.outOfRange(ctx, sack, own)
		if errors.Is(err, ingest.ErrGone) || errors.Is(err, ingest.ErrForeign) {
			return ingest.Backlog{}, err
		}
	}
	own, end := max(own, place.first), l.offset(place.end)
	if own >= place.end {
		return ingest.Backlog{From: max(from, end), End: max(from, end)}, nil
	}
	b := ingest.Backlog{Records: place.end - own, From: l.offset(own), End: end}
	first, err := l.firstWaiting(ctx, sack, l.offset(own))
	if err != nil {
		return b, nil // how many is known all the same
	}
	b.Bytes, b.Oldest = max(first.bytes, 1)*b.Records, first.accepted
	return b, nil
}

func (l *Log) firstWaiting(ctx context.Context, sack ingest.Sack, from ingest.Offset) (waiting, error) {
	l.oldest.mu.Lock()
	known, ok := l.oldest.of[sack]
	l.oldest.mu.Unlock()
	if ok && known.from == from {
		return known, nil
	}
	var one ingest.Deliveries
	if err := l.fetch(ctx, sack, l.own(from), 1, &one); err != nil {
		return waiting{}, err
	}
	if len(one.List) == 0 {
		return waiting{}, errors.New("nothing was handed out")
	}
	d := &one.List[0]
	first := waiting{from: from, accepted: d.Record.AcceptedAt, bytes: int64(d.Record.Size()) / 2}
	l.oldest.mu.Lock()
	defer l.oldest.mu.Unlock()
	if l.oldest.of == nil {
		l.oldest.of = make(map[ingest.Sack]waiting)
	}
	l.oldest.of[sack] = first
	return first, nil
}

// Applied does nothing: Kafka forgets by its retention.
func (l *Log) Applied(ingest.Sack, ingest.Offset) {}

// Check reads the last record applied again and compares it. It may be missing only
// where the partition begins exactly behind it.
func (l *Log) Check(ctx context.Context, sack ingest.Sack, at ingest.Watermark) error {
	first, end, err := l.placesOf(ctx, int(sack))
	if err != nil {
		return err
	}
	own := l.from(sack, at.Offset)
	if own < first || own > end {
		return l.outOfRange(ctx, sack, own)
	}
	last := l.own(at.Last.Offset)
	if at.Last == (ingest.Fingerprint{}) || last < first {
		return nil
	}
	var found ingest.Deliveries
	if err := l.fetch(ctx, sack, last, 1, &found); err != nil {
		return err
	}
	if len(found.List) == 0 {
		return unavailable(fmt.Errorf("%s does not hand out offset %d", l.where(int(sack)), last))
	}
	if got := ingest.FingerprintOf(&found.List[0]); got != at.Last {
		l.metrics.alarm("fingerprint")
		return fmt.Errorf("%s has another record at offset %d than the one that was applied: it was made anew, or has "+
			"lost its end: %w",
			l.where(int(sack)), last, ingest.ErrForeign)
	}
	return nil
}

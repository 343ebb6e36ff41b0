package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/segmentio/kafka-go"

	"millrace/ingest"
	"millrace/queue"
)

const (
	fetchWait  = 500 * time.Millisecond // how long a broker may wait for something to come
	fetchBytes = 1 << 20                // of payload in one Fetch, roughly; at least one record
)

// Fetch waits for records of the sack at or after from. It fails with ingest.ErrGone
// when the topic no longer holds that place, and with ingest.ErrForeign when it ends
// before it: it is not the log that it was.
func (l *Log) Fetch(ctx context.Context, sack ingest.Sack, from ingest.Offset, dst *ingest.Deliveries) error {
	dst.Reset()
	own := l.from(sack, from)
	if own < 0 {
		return fmt.Errorf("cannot fetch %s from offset %d: the log begins at %d: %w", l.where(int(sack)), from, l.id.Base,
			ingest.ErrGone)
	}
	limit := fetchBytes
	if dst.Limit > 0 {
		limit = min(limit, dst.Limit)
	}
	for {
		err := l.fetch(ctx, sack, own, int64(limit), dst)
		if err != nil || len(dst.List) > 0 {
			return err
		}
		if l.closing.Err() != nil {
			return fmt.Errorf("%w: it is closed", ingest.ErrUnavailable)
		}
	}
}

// fetch asks once. An answer without records is no error.
func (l *Log) fetch(ctx context.Context, sack ingest.Sack, own, limit int64, dst *ingest.Deliveries) error {
	answer, err := l.client.Fetch(ctx, &kafka.FetchRequest{
		Topic: l.config.Topic, Partition: int(sack), Offset: own,
		MinBytes: 1, MaxBytes: limit, MaxWait: fetchWait,
	})
	if err := ended(ctx, err); err != nil {
		return err
	}
	if err == nil {
		err = answer.Error
	}
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return l.outOfRange(ctx, sack, own)
	}
	if err != nil {
		return unavailable(fmt.Errorf("cannot fetch %s from offset %d: %w", l.where(int(sack)), own, err))
	}
	l.places.saw(int(sack), answer.LogStartOffset, answer.HighWatermark)
	return l.read(sack, own, answer.Records, dst)
}

// ended returns ctx's error if ctx has ended, also where its deadline has reached a
// connection a moment before.
func ended(ctx context.Context, err error) error {
	const moment = 50 * time.Millisecond
	if deadline, ok := ctx.Deadline(); ok && errors.Is(err, os.ErrDeadlineExceeded) && time.Until(deadline) < moment {
		<-ctx.Done()
	}
	return ctx.Err()
}

// read decodes records, leaving out those of the batch that come before the place asked
// for. A gap between two offsets is what was lost: a topic without transactions and
// compaction has none.
func (l *Log) read(sack ingest.Sack, next int64, records kafka.RecordReader, dst *ingest.Deliveries) error {
	decoder := l.decoders.Get().(*queue.Decoder)
	defer l.decoders.Put(decoder)
	var value []byte
	for {
		record, err := records.ReadRecord()
		if err != nil {
			if errors.Is(err, io.EOF) || len(dst.List) > 0 { // a batch cut off at the limit is read next time
				break
			}
			return unavailable(fmt.Errorf("cannot read a batch of %s at offset %d: %w", l.where(int(sack)), next, err))
		}
		value, err = appendValue(value[:0], record)
		if err != nil {
			return unavailable(err)
		}
		if record.Offset < next {
			continue
		}
		if record.Offset > next {
			if len(dst.List) > 0 { // what came before the gap is sound
				break
			}
			l.metrics.alarm("gap")
			return fmt.Errorf("%s goes on at offset %d behind %d: %w", l.where(int(sack)), record.Offset, next, ingest.ErrGone)
		}
		// What can't be decoded says so in its delivery.
		_ = decoder.Decode(dst, l.offset(record.Offset), value)
		next++
	}
	l.metrics.fetched.Add(context.Background(), int64(len(dst.List)))
	return nil
}

// appendValue appends a record's value, and closes what it was read from.
func appendValue(dst []byte, r *kafka.Record) ([]byte, error) {
	if r.Key != nil {
		r.Key.Close()
	}
	if r.Value == nil {
		return dst, nil
	}
	defer r.Value.Close()
	n := r.Value.Len()
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	_, err := io.ReadFull(r.Value, dst[at:])
	return dst, err
}

// outOfRange says what it means that the topic doesn't hold a place.
func (l *Log) outOfRange(ctx context.Context, sack ingest.Sack, own int64) error {
	first, end, err := l.placesOf(ctx, int(sack))
	switch {
	case err != nil:
		return err
	case own < first:
		l.metrics.alarm("gone")
		return fmt.Errorf("%s begins at offset %d, and is to be read from %d: what was not applied is gone (its "+
			"retention?): %w",
			l.where(int(sack)), first, own, ingest.ErrGone)
	case own > end:
		l.metrics.alarm("went_back")
		return fmt.Errorf("%s ends at offset %d, and was applied up to %d: it was made anew, or has lost its end: %w",
			l.where(int(sack)), end, own, ingest.ErrForeign)
	}
	// a follower that is behind
	return unavailable(fmt.Errorf("%s does not hand out offset %d yet", l.where(int(sack)), own))
}

package disklog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"millrace/disk/diskfault"
	"millrace/ingest"
)

// An ackedRecord is one that Append has acknowledged.
type ackedRecord struct {
	sack   ingest.Sack
	offset ingest.Offset
	number int
}

const crashSacks = 2

var crashConfig = Config{SegmentBytes: 1200, RetryMin: time.Millisecond, RetryMax: time.Millisecond}

func numbered(n int) *ingest.Record {
	return &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: time.Unix(0, int64(n)).UTC(), Project: "p",
		Entries: []ingest.Entry{
			{Metric: ingest.MetricID{15: byte(n)}, Policy: "low", Measures: []ingest.Measure{{Time: int64(n),
				Value: float64(n)}}}}}
}

func numberOf(d ingest.Delivery) int {
	if d.Err != nil || len(d.Record.Entries) == 0 {
		return -1
	}
	return int(d.Record.Entries[0].Measures[0].Value)
}

// appendTo appends n records to a sack in one call, numbered from first on.
func appendTo(l *Log, sack ingest.Sack, first, n int) ([]ackedRecord, error) {
	out := make([]ingest.Outgoing, n)
	for i := range out {
		out[i] = ingest.Outgoing{Sack: sack, Record: numbered(first + i)}
	}
	if err := l.Append(context.Background(), out); err != nil {
		return nil, err
	}
	var acked []ackedRecord
	for i, o := range out {
		acked = append(acked, ackedRecord{sack, o.Offset, first + i})
	}
	return acked, nil
}

// drain fetches everything of a sack from a place on.
func drain(t *testing.T, l *Log, sack ingest.Sack, from ingest.Offset) []ackedRecord {
	t.Helper()
	var (
		got []ackedRecord
		buf ingest.Deliveries
	)
	for {
		if b, _ := l.Backlog(t.Context(), sack, from); b.Records == 0 {
			return got
		}
		if err := l.Fetch(t.Context(), sack, from, &buf); err != nil {
			t.Fatalf("Fetch(%d, %d): %v", sack, from, err)
		}
		for _, d := range buf.List {
			if d.Err != nil {
				t.Fatalf("record at %d: %v", d.Offset, d.Err)
			}
			got = append(got, ackedRecord{sack, d.Offset, numberOf(d)})
			from = d.Offset + 1
		}
	}
}

// checkAcked opens what is left and looks for everything that was acknowledged; then
// it uses the log.
func checkAcked(t *testing.T, fs *diskfault.FS, acked []ackedRecord) {
	t.Helper()
	l := openLog(t, fs, "data/log", crashSacks, crashConfig)
	var last ingest.Offset
	for s := range ingest.Sack(crashSacks) {
		from := l.forgottenOf(s)
		got := drain(t, l, s, from)
		for _, want := range acked {
			if want.sack == s && want.offset >= from && !slices.Contains(got, want) {
				t.Errorf("acknowledged and lost: %+v; there is %+v", want, got)
			}
		}
		if !slices.IsSortedFunc(got, func(a, b ackedRecord) int { return a.number - b.number }) {
			t.Errorf("out of order: %+v", got)
		}
		for _, g := range got {
			last = max(last, g.offset)
		}
	}
	for _, a := range acked {
		last = max(last, a.offset)
	}
	more, err := appendTo(l, 1, 500, 2)
	if err != nil {
		t.Fatalf("cannot append after the crash: %v", err)
	}
	if more[0].offset <= last {
		t.Errorf("new offset %d, and there was one at %d", more[0].offset, last)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, fs, "data/log", crashSacks, crashConfig)
	defer l.Close()
	if got := drain(t, l, 1, more[0].offset); !slices.Equal(got, more) {
		t.Errorf("after a second start there is %+v, want %+v", got, more)
	}
	if _, err := Verify(t.Context(), fs, "data/log"); err != nil {
		t.Error(err)
	}
}

func (l *Log) forgottenOf(s ingest.Sack) ingest.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forgotten[s]
}

// TestCrashAnywhere cuts the power at every operation that changes the disk while
// a log is made, written, rolled, truncated, closed and opened again.
func TestCrashAnywhere(t *testing.T) {
	diskfault.Explore(t, func(fs *diskfault.FS) (acked []ackedRecord) {
		number := 0
		for range 2 {
			l, err := tryOpen(t, fs, "data/log", crashSacks, crashConfig)
			if err != nil {
				return acked
			}
			for i := range 6 {
				more, err := appendTo(l, ingest.Sack(i%crashSacks), number, 1+3*(i%3))
				if err != nil {
					break
				}
				acked = append(acked, more...)
				number += 20
			}
			for s := range ingest.Sack(crashSacks) {
				l.mu.Lock()
				upTo := l.last[s]
				l.mu.Unlock()
				l.Applied(s, upTo)
			}
			if err := l.forget(); err != nil {
				t.Log(err)
			}
			if err := l.Close(); err != nil {
				return acked
			}
		}
		return acked
	}, checkAcked)
}

// TestCrashWhileRecovering: a crash of the restart after a crash. Every place of
// either is tried, and every mode, but not each with each.
func TestCrashWhileRecovering(t *testing.T) {
	for first := 8; first < 26; first++ {
		t.Run(fmt.Sprint("first crash at ", first), func(t *testing.T) {
			for i, mode := range diskfault.Modes(uint64(first)) {
				for second := 1 + (first+i)%3; second < 24; second += 3 {
					fs := diskfault.New()
					fs.CrashAt(first)
					acked := appendUntilCrash(t, fs, 0)
					fs = fs.Crash(mode)
					fs.CrashAt(second)
					acked = append(acked, appendUntilCrash(t, fs, 100)...)
					modes := diskfault.Modes(uint64(second))
					again := modes[(second/3+i)%len(modes)]
					checkAcked(t, fs.Crash(again), acked)
					if t.Failed() {
						t.Fatalf("first %s, then at %d %s", mode, second, again)
					}
				}
			}
		})
	}
}

func appendUntilCrash(t *testing.T, fs *diskfault.FS, number int) (acked []ackedRecord) {
	l, err := tryOpen(t, fs, "data/log", crashSacks, crashConfig)
	if err != nil {
		return nil
	}
	defer l.Close()
	for i := range 4 {
		more, err := appendTo(l, ingest.Sack(i%crashSacks), number+10*i, 4)
		if err != nil {
			break
		}
		acked = append(acked, more...)
	}
	return acked
}

// TestKilled: a process that is killed loses nothing, and what the next one shows
// to readers survives a power cut, synced or not by the first.
func TestKilled(t *testing.T) {
	for _, failing := range []bool{false, true} {
		for _, mode := range diskfault.Modes(1) {
			t.Run(fmt.Sprintf("sync fails %t/%s", failing, mode), func(t *testing.T) {
				fs := diskfault.New()
				l := openLog(t, fs, "data/log", crashSacks, Config{RetryMin: time.Hour})
				acked, err := appendTo(l, 0, 0, 3)
				if err != nil {
					t.Fatal(err)
				}
				if failing { // the bytes are in the page cache, and the next fdatasync will lie
					undo := fs.Inject(diskfault.Fault{On: diskfault.Sync, Err: errors.New("EIO")})
					if _, err := appendTo(l, 0, 10, 3); !errors.Is(err, ingest.ErrUnavailable) {
						t.Fatalf("Append returned %v, want ErrUnavailable", err)
					}
					undo()
				}
				fs = fs.Restart()
				l.Close()
				l = openLog(t, fs, "data/log", crashSacks, crashConfig)
				shown := drain(t, l, 0, 0)
				for _, want := range acked {
					if !slices.Contains(shown, want) {
						t.Errorf("acknowledged and lost: %+v", want)
					}
				}
				checkAcked(t, fs.Crash(mode), shown)
				l.Close()
			})
		}
	}
}

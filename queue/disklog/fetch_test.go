package disklog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"millrace/disk/diskfault"
	"millrace/ingest"
	"millrace/queue"
)

// appendRaw appends a payload that no encoder made.
func appendRaw(t *testing.T, l *Log, sack ingest.Sack, payload []byte) {
	t.Helper()
	r := &appendRequest{done: make(chan error, 1)}
	r.buf = append(make([]byte, frameHeaderLen), payload...)
	r.buf = append(r.buf, make([]byte, paddedLen(len(payload))-len(payload))...)
	r.frames = []pendingFrame{{0, frameHeader{sum: payloadSum(r.buf[frameHeaderLen:]), length: uint32(len(payload)),
		sack: uint32(sack)}}}
	if err := l.intake.put(r); err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

// TestUnreadable: a record that can't be decoded comes with its bytes, between its
// neighbours, from memory and from the file.
func TestUnreadable(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "log", 1, Config{})
	later := append([]byte{queue.Version + 1}, "a record of tomorrow"...)
	appendTo(l, 0, 0, 1)
	appendRaw(t, l, 0, later)
	appendTo(l, 0, 1, 1)
	for _, from := range []string{"memory", "file"} {
		var buf ingest.Deliveries
		if err := l.Fetch(t.Context(), 0, 0, &buf); err != nil {
			t.Fatal(err)
		}
		if len(buf.List) != 3 || numberOf(buf.List[0]) != 0 || numberOf(buf.List[2]) != 1 {
			t.Fatalf("from %s: %+v", from, buf.List)
		}
		if d := buf.List[1]; !errors.Is(d.Err, queue.ErrVersion) || !bytes.Equal(d.Raw, later) {
			t.Errorf("from %s: the unreadable one is %+v", from, d)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(t.Context(), fs, "log")
		if err != nil || report.Records != 3 || report.Unreadable != 1 || report.Torn != 0 || report.Segments != 1 ||
			report.Sacks != 1 {
			t.Errorf("Verify found %+v, %v", report, err)
		}
		l = openLog(t, fs, "log", 1, Config{})
	}
	l.Close()
}

// TestEveryPath fetches the same records from memory, from files and from files
// whose index was dropped: what comes is the same, and the backlog agrees.
func TestEveryPath(t *testing.T) {
	const sacks = 3
	for _, config := range []Config{{}, {TailBytes: 1}, {TailBytes: chunkLen + 2000},
		{SegmentBytes: 300 << 10, TailBytes: 1}} {
		fs := diskfault.New()
		l := openLog(t, fs, "log", sacks, config)
		rng := rand.New(rand.NewPCG(3, 4))
		var all [sacks][]ackedRecord
		for n := range 400 {
			s := ingest.Sack(rng.IntN(sacks))
			r := numbered(n)
			r.Trace = strings.Repeat("t", rng.IntN(20)*rng.IntN(1000))
			out := []ingest.Outgoing{{Sack: s, Record: r}}
			if err := l.Append(t.Context(), out); err != nil {
				t.Fatal(err)
			}
			all[s] = append(all[s], ackedRecord{s, out[0].Offset, n})
		}
		for round := range 3 {
			for s, want := range all {
				if got := drain(t, l, ingest.Sack(s), 0); !slices.Equal(got, want) {
					t.Fatalf("%+v, round %d: sack %d has %d records, want %d", config, round, s, len(got), len(want))
				}
				for i := 0; i < len(want); i += 7 {
					if b, _ := l.Backlog(t.Context(), ingest.Sack(s), want[i].offset); b.Records != int64(len(want)-i) {
						t.Fatalf("%+v, round %d: backlog of sack %d from record %d is %d, want %d", config, round, s, i, b.Records,
							len(want)-i)
					}
				}
			}
			l.mu.Lock()
			for _, seg := range l.segments { // drop what can be dropped
				if seg != l.active && seg.index != nil {
					l.frames -= seg.index.frames
					seg.index = nil
				}
			}
			l.mu.Unlock()
			if b, _ := l.Backlog(t.Context(), 0, all[0][len(all[0])/2].offset); b.Records < 1 ||
				b.Records > int64(len(all[0])) || b.Bytes < 1 {
				t.Errorf("%+v: the estimate is %d records of %d bytes", config, b.Records, b.Bytes)
			}
			if round == 0 {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = openLog(t, fs, "log", sacks, config)
			}
		}
		l.mu.Lock()
		frames := 0
		for _, seg := range l.segments {
			if seg.index != nil {
				frames += seg.index.frames
			}
		}
		if frames != l.frames {
			t.Errorf("%+v: %d frames are counted, and %d are indexed", config, l.frames, frames)
		}
		l.mu.Unlock()
		l.Close()
	}
}

// TestTailIsBounded: memory holds recent records up to its limit, and less when they
// have been applied.
func TestTailIsBounded(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "log", 1, Config{TailBytes: 4 << 20})
	defer l.Close()
	r := numbered(1)
	r.Entries[0].Measures = make([]ingest.Measure, 50_000)
	var last ingest.Offset
	for range 20 {
		out := []ingest.Outgoing{{Record: r}}
		if err := l.Append(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		last = out[0].Offset
	}
	held := func() int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		var sum int64
		for _, c := range l.tail.chunks {
			sum += int64(len(c.buf))
		}
		return sum
	}
	if got := held(); got > 5<<20 || got < 3<<20 {
		t.Errorf("the tail holds %d bytes, the limit being 4 MiB", got)
	}
	l.Applied(0, last+1)
	if got := held(); got != chunkLen {
		t.Errorf("the tail holds %d bytes when everything is applied, want one chunk", got)
	}
}

func TestAppendOfAnotherSack(t *testing.T) {
	l := openLog(t, diskfault.New(), "log", 2, Config{})
	defer l.Close()
	for _, sack := range []ingest.Sack{-1, 2} {
		if err := l.Append(t.Context(), []ingest.Outgoing{{Sack: sack, Record: numbered(1)}}); err == nil {
			t.Errorf("Append to sack %d succeeded", sack)
		}
		if err := l.Fetch(t.Context(), sack, 0, new(ingest.Deliveries)); err == nil {
			t.Errorf("Fetch of sack %d succeeded", sack)
		}
		l.Applied(sack, 1)
	}
	if err := l.Append(t.Context(), nil); err != nil {
		t.Errorf("Append of nothing: %v", err)
	}
}

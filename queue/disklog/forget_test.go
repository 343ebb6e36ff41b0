package disklog

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"millrace/disk/diskfault"
	"millrace/ingest"
)

func segmentCount(l *Log) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments)
}

// TestForget: segments go when the slowest sack has applied all of them, to the last
// record, and offsets stay what they were.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := diskfault.New()
		config := Config{SegmentBytes: 1} // every group has its segment
		l := openLog(t, fs, "log", 3, config)
		var acked []ackedRecord
		for n := range 6 {
			more, err := appendTo(l, ingest.Sack(n%2), n, 1) // sack 2 has none, and holds nobody up
			if err != nil {
				t.Fatal(err)
			}
			acked = append(acked, more...)
		}
		expect := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if got := segmentCount(l); got != want {
				t.Errorf("%s: %d segments, want %d", when, got, want)
			}
		}
		l.Applied(0, acked[4].offset+1) // all of sack 0
		expect("sack 1 is behind: only its predecessor can go", 5)
		l.Applied(1, acked[1].offset)
		expect("the watermark is at the record, not behind it", 5)
		l.Applied(1, acked[1].offset+1)
		expect("it is behind the record", 3)
		l.Applied(1, 0)
		expect("the watermark went back", 3)
		l.Applied(1, acked[3].offset)
		expect("the next one has not been applied", 3)
		l.Applied(1, acked[3].offset+1)
		expect("it has", 1)

		end, _ := l.End(t.Context())
		if want := (ingest.Position{acked[4].offset + 1, acked[5].offset + 1, 0}); !slices.Equal(end, want) {
			t.Errorf("End is %v, want %v", end, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, fs, "log", 3, config)
		if again, _ := l.End(t.Context()); !slices.Equal(again, end) {
			t.Errorf("after a restart End is %v, want %v", again, end)
		}
		l.Applied(1, acked[5].offset+1)
		expect("the newest stays", 1)
		more, err := appendTo(l, 0, 7, 1)
		if err != nil || more[0].offset <= acked[5].offset {
			t.Errorf("new offset %d after %d, %v", more[0].offset, acked[5].offset, err)
		}
		expect("until another begins", 1)
		if files, err := listSegments(fs, "log"); err != nil || len(files) != 1 {
			t.Errorf("%d files, %v", len(files), err)
		}
		if used, _ := l.Room(); used > 2*(fileHeaderLen+88) {
			t.Errorf("%d bytes are used", used)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSpentSegmentIsRoom: where a log has little room, what has been applied gives it back
// although it is in the newest segment. Nothing would be taken for ever otherwise: what
// asks for room before it appends would wait for an append.
func TestSpentSegmentIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		l := openLog(t, diskfault.New(), "log", 1, Config{MaxBytes: most})
		end := ingest.Offset(0)
		for range 30 { // shorter than a segment, longer than is worth giving back
			acked, err := appendTo(l, 0, 1, 50)
			if err != nil {
				t.Fatal(err)
			}
			end = acked[len(acked)-1].offset + 1
		}
		used, free := l.Room()
		if used < most/16 || used+free != most || segmentCount(l) != 1 {
			t.Fatalf("%d bytes used, %d free, of %d; %d segments", used, free, most, segmentCount(l))
		}
		l.Applied(0, end-1)
		if again, _ := l.Room(); again != used {
			t.Errorf("%d bytes used where one record has not been applied, %d before", again, used)
		}
		l.Applied(0, end)
		if used, free := l.Room(); used > 0 || free != most {
			t.Errorf("all of it has been applied: %d bytes used, %d free", used, free)
		}
		if _, err := appendTo(l, 0, 1, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if used, free := l.Room(); used > 2*(fileHeaderLen+88) || used+free != most || segmentCount(l) != 1 {
			t.Errorf("after the next append: %d bytes used, %d free; %d segments", used, free, segmentCount(l))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestForgetFails: a disk that can't write the manifest keeps the segments, for a while.
func TestForgetFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := diskfault.New()
		l := openLog(t, fs, "log", 1, Config{SegmentBytes: 1})
		for n := range 3 {
			if _, err := appendTo(l, 0, n, 1); err != nil {
				t.Fatal(err)
			}
		}
		undoWrite := fs.Inject(diskfault.Fault{On: diskfault.Write, Path: "log.json.new", Err: errIO})
		undoRemove := fs.Inject(diskfault.Fault{On: diskfault.Remove, Err: errIO})
		end, _ := l.End(t.Context())
		l.Applied(0, end[0])
		synctest.Wait()
		if got := segmentCount(l); got != 3 {
			t.Errorf("%d segments without a manifest that says so", got)
		}
		undoWrite()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := segmentCount(l); got != 1 {
			t.Errorf("%d segments, want 1", got)
		}
		undoRemove()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, fs, "log", 1, Config{})
		if files, err := listSegments(fs, "log"); err != nil || len(files) != 1 {
			t.Errorf("%d files after a restart, %v: what could not be removed is", len(files), err)
		}
		l.Close()
	})
}

// TestGone: the log knows what it can't deliver, and what it can although it begins
// later.
func TestGone(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "log", 3, Config{SegmentBytes: 1})
	var acked []ackedRecord
	for n := range 4 {
		more, err := appendTo(l, ingest.Sack(n/3), n, 1) // three of sack 0, one of sack 1
		if err != nil {
			t.Fatal(err)
		}
		acked = append(acked, more...)
	}
	l.Applied(0, acked[1].offset+1)
	for segmentCount(l) > 2 {
		time.Sleep(time.Millisecond)
	}
	check := func(sack ingest.Sack, from ingest.Offset, gone bool) {
		t.Helper()
		l.mu.Lock()
		err := l.check(sack, from)
		l.mu.Unlock()
		if errors.Is(err, ingest.ErrGone) != gone || !gone && err != nil {
			t.Errorf("sack %d from %d: %v, want gone to be %t", sack, from, err, gone)
		}
		if gone {
			var buf ingest.Deliveries
			if err := l.Fetch(t.Context(), sack, from, &buf); !errors.Is(err, ingest.ErrGone) {
				t.Errorf("Fetch(%d, %d) = %v, want ErrGone", sack, from, err)
			}
		}
	}
	for run := range 2 {
		end := l.segments[len(l.segments)-1].end()
		check(0, 0, true)               // its first records were removed
		check(0, acked[1].offset, true) // so was this one
		check(0, acked[1].offset+1, false)
		check(0, acked[2].offset, false)
		check(1, 0, false) // the first of sack 1 is there
		check(2, 0, false) // sack 2 never had any
		check(1, acked[3].offset+1, false)
		check(1, end+1, true) // beyond the end: the log lost it
		check(1, 1<<62, true)
		check(1, 77, true) // from another log
		check(1, -1, true)
		check(0, acked[2].offset+200, true) // between two segments
		if run == 0 {
			l.Close()
			l = openLog(t, fs, "log", 3, Config{SegmentBytes: 1})
		}
	}
	// What was beyond the end still is when the log has gone on.
	end := l.segments[len(l.segments)-1].end()
	if _, err := appendTo(l, 1, 9, 1); err != nil {
		t.Fatal(err)
	}
	check(1, end+1, true)
	l.Close()
	var buf ingest.Deliveries
	if err := l.Fetch(t.Context(), 1, 0, &buf); !errors.Is(err, ingest.ErrUnavailable) {
		t.Errorf("Fetch of a closed log returned %v", err)
	}
}

// TestRestartsWithoutRecords leave nothing behind.
func TestRestartsWithoutRecords(t *testing.T) {
	fs := diskfault.New()
	var last ingest.Offset
	for n := range 5 {
		for range 3 {
			l := openLog(t, fs, "log", 1, Config{})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		l := openLog(t, fs, "log", 1, Config{})
		more, err := appendTo(l, 0, n, 1)
		if err != nil || more[0].offset <= last {
			t.Fatalf("offset %d after %d, %v", more[0].offset, last, err)
		}
		last = more[0].offset
		if files, _ := listSegments(fs, "log"); len(files) != n+1 {
			t.Errorf("%d files after %d runs with records", len(files), n+1)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

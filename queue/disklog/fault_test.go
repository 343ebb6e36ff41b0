package disklog

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"millrace/disk/diskfault"
	"millrace/ingest"
)

var errIO = errors.New("input/output error")

// TestSickDisk: whatever fails, nothing is acknowledged that is not there, nothing
// that was is lost, and the log heals itself, in a new file.
func TestSickDisk(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault diskfault.Fault
	}{
		{"write", diskfault.Fault{On: diskfault.Write, Path: "*.log", Err: errIO}},
		{"half a write", diskfault.Fault{On: diskfault.Write, Path: "*.log", Err: errIO, Half: true}},
		{"full", diskfault.Fault{On: diskfault.Write, Err: syscall.ENOSPC, Half: true}},
		{"sync", diskfault.Fault{On: diskfault.Sync, Path: "*.log", Err: errIO}},
		{"reading back", diskfault.Fault{On: diskfault.Sync | diskfault.Read, Path: "*.log", Err: errIO}},
		{"reading back what is wrong", diskfault.Fault{On: diskfault.Sync | diskfault.Read, Path: "*.log", Err: errIO,
			Flip: true}},
		{"everything", diskfault.Fault{Err: errIO, On: ^diskfault.Kind(0)}},
		{"manifest", diskfault.Fault{On: diskfault.Sync, Err: errIO, Skip: 2}},
		{"names", diskfault.Fault{On: diskfault.SyncDir | diskfault.Sync, Err: errIO, Skip: 1}},
		{"rename", diskfault.Fault{On: diskfault.Rename | diskfault.Write, Err: errIO}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testSickDisk(t, test.fault) })
		})
	}
}

func testSickDisk(t *testing.T, fault diskfault.Fault) {
	fs := diskfault.New()
	l := openLog(t, fs, "data/log", crashSacks, Config{SegmentBytes: 500})
	var acked []ackedRecord
	add := func() error {
		more, err := appendTo(l, 0, 10*len(acked), 2)
		acked = append(acked, more...)
		return err
	}
	for round := range 3 {
		for range 2 {
			if err := add(); err != nil {
				t.Fatal(err)
			}
		}
		undo := fs.Inject(fault)
		for err := add(); err == nil; err = add() { // some faults wait for the next segment
			if len(acked) > 100 {
				t.Fatal("the fault does not show")
			}
		}
		if err := add(); !errors.Is(err, ingest.ErrUnavailable) || ingest.IsPermanent(err) {
			t.Errorf("Append on a sick disk returned %v, want ErrUnavailable", err)
		}
		time.Sleep(time.Minute)
		if err := add(); !errors.Is(err, ingest.ErrUnavailable) && fault.On&diskfault.Sync != 0 && fault.Skip == 0 {
			t.Errorf("a minute later Append returned %v, want ErrUnavailable", err)
		}
		undo()
		time.Sleep(5 * time.Second) // the longest pause
		if err := add(); err != nil {
			t.Errorf("round %d: Append on a healed disk returned %v", round, err)
		}
		for _, want := range acked {
			if got := drain(t, l, 0, 0); !slices.Contains(got, want) {
				t.Fatalf("acknowledged and lost: %+v; there is %+v", want, got)
			}
		}
	}
	if got := drain(t, l, 0, 0); !slices.Equal(got, acked) {
		t.Errorf("there is %+v, want %+v", got, acked)
	}
	files, err := listSegments(fs, "data/log")
	if err != nil || len(files) > len(acked) {
		t.Errorf("%d files, %v", len(files), err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, mode := range diskfault.Modes(5) {
		checkAcked(t, fs.Crash(mode), acked)
	}
}

// TestEveryoneWaitingIsTold: those who wait behind a failing group fail with it.
func TestEveryoneWaitingIsTold(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "data/log", 1, Config{})
	if _, err := appendTo(l, 0, 0, 1); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fs.Inject(diskfault.Fault{On: diskfault.Sync, Err: errIO, Many: 1, Call: func(diskfault.Op) {
		once.Do(func() { close(held) })
		<-release
	}})
	errs := make(chan error)
	appendOne := func() {
		_, err := appendTo(l, 0, 1, 1)
		errs <- err
	}
	go appendOne()
	<-held
	for range 5 {
		go appendOne()
	}
	for l.intake.size() < 5*88 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	for range 6 {
		if err := <-errs; !errors.Is(err, ingest.ErrUnavailable) || !errors.Is(err, errIO) {
			t.Errorf("Append returned %v, want ErrUnavailable and the reason", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestSlowSync: appends share the next sync while one is slow, a caller who gives up
// is let go, and too many bytes waiting are refused at once.
func TestSlowSync(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "data/log", 1, Config{})
	if _, err := appendTo(l, 0, 0, 1); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	undo := fs.Inject(diskfault.Fault{On: diskfault.Sync, Many: 1, Call: func(diskfault.Op) {
		close(held)
		<-release
	}})
	defer undo()
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error)
	go func() { given <- l.Append(ctx, []ingest.Outgoing{{Record: numbered(1)}}) }()
	<-held
	cancel()
	if err := <-given; err != context.Canceled {
		t.Errorf("cancelled Append returned %v", err)
	}
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if _, err := appendTo(l, 0, 2+n, 1); err != nil {
				t.Error(err)
			}
		})
	}
	for l.intake.size() < 20*88 {
		time.Sleep(time.Millisecond)
	}
	large := numbered(0)
	large.Entries[0].Measures = make([]ingest.Measure, 100_000)
	out := slices.Repeat([]ingest.Outgoing{{Record: large}}, 80)
	if err := l.Append(t.Context(), out); !errors.Is(err, ingest.ErrUnavailable) {
		t.Errorf("Append of 70 MB behind a slow sync returned %v, want ErrUnavailable", err)
	}
	syncs := fs.Ops()
	close(release)
	wg.Wait()
	if got := fs.Ops() - syncs; got > 3 { // one write, one sync, and the one held
		t.Errorf("20 appends took %d operations, want one write and one sync", got)
	}
	if got := drain(t, l, 0, 0); len(got) != 22 {
		t.Errorf("there are %d records, want 22: what nobody waits for is written too", len(got))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestFullLog(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "data/log", 1, Config{MaxBytes: 2000})
	n := 0
	for ; ; n++ {
		if _, err := appendTo(l, 0, n, 1); err != nil {
			if !errors.Is(err, ingest.ErrUnavailable) || !strings.Contains(err.Error(), "2000") {
				t.Errorf("Append to a full log returned %v", err)
			}
			break
		}
	}
	used, free := l.Room()
	if n < 10 || used > 2000 || used < 1800 || free != 2000-used {
		t.Errorf("%d records fit, %d bytes are used and %d free", n, used, free)
	}
	end, _ := l.End(t.Context())
	l.Applied(0, end[0])
	for {
		if _, err := appendTo(l, 0, n, 1); err == nil {
			break
		}
		time.Sleep(time.Millisecond) // the janitor is at it
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseWhileSick(t *testing.T) {
	fs := diskfault.New()
	l := openLog(t, fs, "data/log", crashSacks, Config{RetryMin: time.Hour})
	acked, err := appendTo(l, 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	undo := fs.Inject(diskfault.Fault{On: diskfault.Sync, Err: io.ErrClosedPipe})
	if _, err := appendTo(l, 0, 1, 1); !errors.Is(err, ingest.ErrUnavailable) {
		t.Errorf("Append returned %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("Close could not write the manifest and says nothing")
	}
	undo()
	for _, mode := range diskfault.Modes(9) {
		checkAcked(t, fs.Crash(mode), acked)
	}
}

// TestFullDisk: a disk that fills up refuses, keeps what it has, and goes on when
// there is room again, without files piling up meanwhile.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := diskfault.New()
		fs.SetFree(minFree + 10_000)
		l := openLog(t, fs, "data/log", crashSacks, Config{})
		big := numbered(0)
		big.Entries[0].Measures = slices.Repeat(big.Entries[0].Measures, 30_000)
		n := 0
		for ; l.Append(t.Context(), []ingest.Outgoing{{Record: big}}) == nil; n++ {
		}
		if _, free := l.Room(); n == 0 || free > 1<<20 {
			t.Errorf("%d records fit, and %d bytes are free", n, free)
		}
		before := segmentCount(l)
		time.Sleep(time.Hour)
		if _, err := appendTo(l, 0, 1, 1); !errors.Is(err, ingest.ErrUnavailable) {
			t.Errorf("Append on a full disk returned %v, want ErrUnavailable", err)
		}
		if files, err := listSegments(fs, "data/log"); err != nil || len(files) != before {
			t.Errorf("%d files after an hour, %d before, %v", len(files), before, err)
		}
		fs.SetFree(100 << 20)
		time.Sleep(5 * time.Second)
		if _, err := appendTo(l, 0, 1, 1); err != nil {
			t.Errorf("with room again Append returned %v", err)
		}
		if b, _ := l.Backlog(t.Context(), 0, 0); b.Records != int64(n+1) {
			t.Errorf("there are %d records, want %d", b.Records, n+1)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

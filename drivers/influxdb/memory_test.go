package influxdb_test

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/influxdb"
	"millrace/ingest"
)

// A slowInflux takes its time for a write, and counts what is on its way to it.
type slowInflux struct {
	swallower
	enough chan struct{} // closed when writes may end

	mu                   sync.Mutex
	writes, bytes, lines int64 // now
	most, mostBytes      int64 // at one time
}

func (s *slowInflux) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/api/v2/write" {
		return s.swallower.RoundTrip(r)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	points := int64(strings.Count(string(text), "measures,"))
	if points == 0 { // a watermark
		return s.swallower.RoundTrip(r)
	}
	s.count(1, int64(len(text)))
	<-s.enough
	s.count(-1, -int64(len(text)))
	s.mu.Lock()
	s.lines += points
	s.mu.Unlock()
	return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func (s *slowInflux) count(writes, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes, s.bytes = s.writes+writes, s.bytes+bytes
	s.most, s.mostBytes = max(s.most, s.writes), max(s.mostBytes, s.bytes)
}

func (s *slowInflux) now() (writes, lines int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes, s.lines
}

// However many sacks have something to write, as after an outage, no more is encoded and on
// its way than so many batches of so many bytes.
func TestBytesInFlight(t *testing.T) {
	const sacks, perSack, writes, batchBytes = 32, 6000, 3, 64 << 10
	s := &slowInflux{enough: make(chan struct{})}
	d := open(t, influxdb.Config{URL: "http://influxdb", Org: "o", Bucket: "b", Token: "t", Sacks: sacks, Transport: s,
		MaxWrites: writes, BatchBytes: batchBytes}, anyPolicy{}, allKnown{})
	group, ctx := errgroup.WithContext(t.Context())
	for sack := range ingest.Sack(sacks) {
		w, _, err := d.Open(ctx, sack)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		group.Go(func() error {
			list := fleet(60, perSack/60, 1)
			for i := range list {
				list[i].Offset = ingest.Offset(i)
			}
			if _, err := w.Apply(ctx, list); err != nil {
				return err
			}
			_, err := w.Flush(ctx, ingest.Watermark{Offset: ingest.Offset(len(list))})
			return err
		})
	}
	deadline := time.Now().Add(time.Minute)
	for { // until as many are on their way as ever will be
		if now, _ := s.now(); now >= writes {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the writes don't begin")
		}
		time.Sleep(time.Millisecond)
	}
	close(s.enough)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, lines := s.now(); lines != sacks*perSack {
		t.Errorf("%d points were written, want %d", lines, sacks*perSack)
	}
	const line = 200 // the longest of these
	if s.most != writes || s.mostBytes > writes*(batchBytes+line) || s.mostBytes < writes*batchBytes/2 {
		t.Errorf("%d writes of %d bytes were on their way at the same time, want %d of %d each at most", s.most, s.mostBytes,
			writes, batchBytes+line)
	}
}

// What a writer says that it buffers, by which its worker bounds the memory of all, is what
// it takes.
func TestBuffered(t *testing.T) {
	d := open(t, influxdb.Config{URL: "http://influxdb", Org: "o", Bucket: "b", Token: "t", Sacks: 1,
		Transport: swallower{}}, anyPolicy{}, allKnown{})
	const metrics = 600
	for _, measures := range []int{1, 100, 500} {
		w, _, err := d.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		list := fleet(metrics, 500, measures)
		for i := range list {
			list[i].Offset = ingest.Offset(i)
		}
		before := heap()
		for first := 0; first < len(list); first += 10 {
			if _, err := w.Apply(t.Context(), list[first:min(first+10, len(list))]); err != nil {
				t.Fatal(err)
			}
		}
		took, said := heap()-before, w.Buffered()
		if took > said*5/4 || took < said/2 {
			t.Errorf("300,000 measures, %d of a metric in a record, take %d bytes; the writer says %d", measures, took, said)
		}
		if _, err := w.Flush(t.Context(), ingest.Watermark{Offset: ingest.Offset(len(list))}); err != nil {
			t.Fatal(err)
		}
		if w.Buffered() != 0 {
			t.Errorf("after a flush %d bytes are buffered", w.Buffered())
		}
		runtime.KeepAlive(list)
		_ = w.Close()
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

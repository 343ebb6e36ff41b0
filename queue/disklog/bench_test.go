package disklog

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"millrace/disk"
	"millrace/ingest"
)

// benchDir is a folder on the file system of the sources: the temporary one may be
// memory.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(".", "bench-*.test")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "log")
}

func benchRecord(entries, measures int) *ingest.Record {
	now := time.Now()
	r := &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: now, Project: "bench"}
	for range entries {
		e := ingest.Entry{Metric: ingest.NewMetricID(), Policy: "medium"}
		for i := range measures {
			e.Measures = append(e.Measures, ingest.Measure{Time: now.UnixNano() + int64(i)*1e10, Value: float64(i)})
		}
		r.Entries = append(r.Entries, e)
	}
	return r
}

// BenchmarkAppend has 16 goroutines append at once: records of 4 KiB, and what a
// POST of 1,000 metrics says to 16 sacks.
func BenchmarkAppend(b *testing.B) {
	f := func(name string, sacks, entries int) {
		b.Run(name, func(b *testing.B) {
			l := openLog(b, disk.OS{}, benchDir(b), 16, Config{})
			defer l.Close()
			record := benchRecord(entries, 1)
			work := make(chan struct{}, b.N)
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					out := make([]ingest.Outgoing, sacks)
					for range work {
						for s := range out {
							out[s] = ingest.Outgoing{Sack: ingest.Sack(s), Record: record}
						}
						if err := l.Append(context.Background(), out); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N*sacks)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(b.N*sacks*entries)/b.Elapsed().Seconds(), "measures/s")
		})
	}
	f("4KiB", 1, 151)
	f("16x63", 16, 63)
}

// BenchmarkFetch reads and decodes what is in the log, from memory and from files.
func BenchmarkFetch(b *testing.B) {
	f := func(name string, config Config) {
		b.Run(name, func(b *testing.B) {
			const sacks, posts, entries = 16, 200, 63
			l := openLog(b, disk.OS{}, benchDir(b), sacks, config)
			defer l.Close()
			record := benchRecord(entries, 1)
			for range posts {
				out := make([]ingest.Outgoing, sacks)
				for s := range out {
					out[s] = ingest.Outgoing{Sack: ingest.Sack(s), Record: record}
				}
				if err := l.Append(context.Background(), out); err != nil {
					b.Fatal(err)
				}
			}
			end, _ := l.End(context.Background())
			var buf ingest.Deliveries
			b.ReportAllocs()
			for b.Loop() {
				for s := range ingest.Sack(sacks) {
					for from := ingest.Offset(0); from < end[s]; from = buf.List[len(buf.List)-1].Offset + 1 {
						if err := l.Fetch(context.Background(), s, from, &buf); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			measures := float64(b.N) * sacks * posts * entries
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/measures, "ns/measure")
			b.ReportMetric(measures/b.Elapsed().Seconds(), "measures/s")
		})
	}
	f("memory", Config{})
	f("files", Config{TailBytes: 1, SegmentBytes: 1 << 20})
}

// BenchmarkOpen reads a log of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	dir := benchDir(b)
	l := openLog(b, disk.OS{}, dir, 16, Config{})
	record := benchRecord(1000, 30)
	out := make([]ingest.Outgoing, 16)
	for used := int64(0); used < 64<<20; used, _ = l.Room() {
		for s := range out {
			out[s] = ingest.Outgoing{Sack: ingest.Sack(s), Record: record}
		}
		if err := l.Append(context.Background(), out); err != nil {
			b.Fatal(err)
		}
	}
	used, _ := l.Room()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(used)
	for b.Loop() {
		l := openLog(b, disk.OS{}, dir, 16, Config{})
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

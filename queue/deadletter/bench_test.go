package deadletter

import (
	"fmt"
	"path/filepath"
	"testing"

	"millrace/disk"
	"millrace/ingest"
)

// benchLetter is what a metric leaves whose policy is gone: ten measures.
func benchLetter(n int) ingest.DeadLetter {
	l := numbered(1)
	l.ID, l.Offset = ingest.DeadLetterID(ingest.Sack(n%16), ingest.Offset(n), 0), ingest.Offset(n)
	l.Measures = make([]ingest.Measure, 10)
	return l
}

func benchLetters(b *testing.B, fsys disk.FS, dir string, n int) *Letters {
	b.Helper()
	l := mustOpen(b, fsys, dir, Config{})
	list := make([]ingest.DeadLetter, 0, 1000)
	for i := range n {
		list = append(list, benchLetter(i))
		if len(list) == cap(list) || i == n-1 {
			if err := l.Add(b.Context(), list); err != nil {
				b.Fatal(err)
			}
			list = list[:0]
		}
	}
	return l
}

// BenchmarkAdd adds letters to 100,000 others on a real disk.
func BenchmarkAdd(b *testing.B) {
	for _, size := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("%d a call", size), func(b *testing.B) {
			l := benchLetters(b, disk.OS{}, filepath.Join(b.TempDir(), "dead"), 100_000)
			n := 100_000
			list := make([]ingest.DeadLetter, size)
			b.ReportAllocs()
			for b.Loop() {
				for i := range list {
					list[i] = benchLetter(n)
					n++
				}
				if err := l.Add(b.Context(), list); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "letters/s")
		})
	}
}

// BenchmarkList lists pages of 100 of 100,000.
func BenchmarkList(b *testing.B) {
	l := benchLetters(b, disk.OS{}, filepath.Join(b.TempDir(), "dead"), 100_000)
	after := ""
	b.ReportAllocs()
	for b.Loop() {
		page, err := l.List(b.Context(), after, 100)
		if err != nil {
			b.Fatal(err)
		}
		if after = ""; len(page) == 100 {
			after = page[99].ID
		}
	}
	b.ReportMetric(float64(b.N*100)/b.Elapsed().Seconds(), "letters/s")
}

// BenchmarkOpen reads 100,000 letters.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "dead")
	benchLetters(b, disk.OS{}, dir, 100_000).Close()
	b.ReportAllocs()
	for b.Loop() {
		l, err := Open(disk.OS{}, dir, Config{})
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
	b.ReportMetric(float64(b.N*100_000)/b.Elapsed().Seconds(), "letters/s")
}

// BenchmarkRewrite copies 100,000 letters.
func BenchmarkRewrite(b *testing.B) {
	l := benchLetters(b, disk.OS{}, filepath.Join(b.TempDir(), "dead"), 100_000)
	b.SetBytes(l.bytes)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.compact(); err != nil {
			b.Fatal(err)
		}
	}
}

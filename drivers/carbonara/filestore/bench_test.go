package filestore

import (
	"fmt"
	"testing"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// What Put and Swap take is the disk's two flushes; what Read takes is open, size,
// read and close.

func BenchmarkPut(b *testing.B) {
	s := open(b, disk.OS{}, b.TempDir(), Config{})
	data := make([]byte, 20<<10)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if err := s.Put(b.Context(), fmt.Sprintf("sack/1/%d", i), data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSwap(b *testing.B) {
	s := open(b, disk.OS{}, b.TempDir(), Config{})
	data := make([]byte, 20<<10)
	b.ReportAllocs()
	var version carbonara.Version
	for b.Loop() {
		var err error
		if version, err = s.Swap(b.Context(), manifest, version, data, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := open(b, disk.OS{}, b.TempDir(), Config{})
	if err := s.Put(b.Context(), "sack/1/x", make([]byte, 20<<10)); err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name   string
		ranges []carbonara.Range
	}{
		{"20KiB", nil},
		{"2x4KiB", []carbonara.Range{{Off: 0, Len: 4 << 10}, {Off: 12 << 10, Len: 4 << 10}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Read(b.Context(), "sack/1/x", "", bench.ranges); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

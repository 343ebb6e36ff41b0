package segment

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
)

func roundTripDelta(t *testing.T, values []int64) []byte {
	t.Helper()
	packed := appendDelta([]byte("x"), values)[1:]
	got, err := new(delta.BinaryPackedEncoding).DecodeInt64(nil, packed)
	if err != nil || !slices.Equal(values, got) {
		t.Errorf("%d values: got %v, %v, want %v", len(values), got, err, values)
	}
	return packed
}

// The library reads what this package packs.
func TestDelta(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	roundTripDelta(t, []int64{math.MinInt64, math.MaxInt64, math.MinInt64, 0})
	for _, n := range []int{0, 1, 2, 32, 33, 34, 97, 128, 129, 130, 161, 257, 4096} {
		for width := range 65 {
			values := make([]int64, n)
			for i := range values {
				if width > 0 {
					values[i] = int64(rng.Uint64() >> (64 - width))
				}
			}
			roundTripDelta(t, values)
		}
	}
}

// The end of a page takes no more bits per value than the rest of it.
func TestDeltaEnd(t *testing.T) {
	const start = 1_700_000_000_000_000
	values := make([]int64, 1+deltaBlock+1) // one value in the second block
	for i := range values {
		values[i] = start + int64(i)*1_000_000_000
	}
	values[len(values)-1] += 3
	if packed := roundTripDelta(t, values); len(packed) > 40 {
		t.Errorf("%d bytes for values at equal distances", len(packed))
	}
	theirs, err := new(delta.BinaryPackedEncoding).EncodeInt64(nil, values)
	if err != nil || len(theirs) < 100 {
		t.Errorf("the library packs them into %d bytes now (%v): use it", len(theirs), err)
	}
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte("0123456789abcdef01234567"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var values []int64
		for ; len(data) >= 8; data = data[8:] {
			values = append(values, int64(binary.LittleEndian.Uint64(data)))
		}
		roundTripDelta(t, values)
	})
}

func BenchmarkDelta(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	values := make([]int64, 4096)
	for i := range values {
		values[i] = int64(i)*1_000_000 + rng.Int64N(1000)
	}
	var packed []byte
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			packed = appendDelta(packed[:0], values)
		}
		b.SetBytes(int64(8 * len(values)))
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			packed, _ = new(delta.BinaryPackedEncoding).EncodeInt64(packed, values)
		}
		b.SetBytes(int64(8 * len(values)))
	})
}

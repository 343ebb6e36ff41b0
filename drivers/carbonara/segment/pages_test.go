package segment

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

func TestPageHeader(t *testing.T) {
	f := func(h pageHeader, want string) {
		t.Helper()
		got := h.append([]byte("x"))
		if got[0] != 'x' || hex.EncodeToString(got[1:]) != want {
			t.Errorf("got %x, want %s", got[1:], want)
		}
		parsed, rest, err := parsePageHeader(append(got[1:], "rest"...))
		if err != nil || parsed != h || string(rest) != "rest" {
			t.Errorf("got %+v, %q, %v", parsed, rest, err)
		}
		// The library reads the same.
		var theirs format.PageHeader
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), got[1:], &theirs); err != nil {
			t.Fatal(err)
		}
		ours := pageHeader{theirs.Type, int(theirs.UncompressedPageSize), int(theirs.CompressedPageSize), uint32(theirs.CRC),
			int(theirs.DataPageHeader.V.NumValues + theirs.DictionaryPageHeader.V.NumValues),
			max(theirs.DataPageHeader.V.Encoding, theirs.DictionaryPageHeader.V.Encoding)}
		if ours != h {
			t.Errorf("the library reads %+v", theirs)
		}
	}
	f(pageHeader{format.DataPage, 1, 2, 3, 4, format.ByteStreamSplit}, "15001502150415061c15081512150615060000")
	f(pageHeader{format.DataPage, 1 << 30, 0, 1 << 31, 0, format.Plain},
		"1500158080808008150015ffffffff0f1c15001500150615060000")
	f(pageHeader{format.DictionaryPage, 300, 300, 0, 18, format.Plain}, "150415d80415d80415003c152415000000")
}

func TestRuns(t *testing.T) {
	f := func(width int, want []rowRun, packed string) {
		t.Helper()
		w := newSpanWriter(nil)
		rows := 0
		for _, r := range want {
			rows += int(r.rows)
		}
		got := w.appendRuns(nil, want, rows, width)
		if hex.EncodeToString(got) != packed {
			t.Errorf("got %x, want %s", got, packed)
		}
		runs, err := decodeRuns(nil, got, width, rows)
		if err != nil || !slices.Equal(ends(want), runs) {
			t.Errorf("got %v, %v, want %v", runs, err, ends(want))
		}
	}
	f(0, []rowRun{{0, 5}}, "0a")
	f(1, []rowRun{{1, 5}}, "0a01")
	f(1, []rowRun{{1, 64}, {0, 128}}, "8001018002"+"00")
	f(9, []rowRun{{0, 100}, {256, 1}}, "c801000002"+"0001")
	f(1, []rowRun{{1, 1}, {0, 1}, {1, 1}, {0, 1}, {1, 1}, {0, 1}, {1, 1}, {0, 1}}, "0355")

	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		width, rows := 1+rng.IntN(20), 0
		var want []rowRun
		for range 1 + rng.IntN(50) {
			want = append(want, rowRun{uint32(rng.IntN(1 << width)), int32(1 + rng.IntN(1+rng.IntN(20)))})
			rows += int(want[len(want)-1].rows)
		}
		got, err := decodeRuns(nil, newSpanWriter(nil).appendRuns(nil, want, rows, width), width, rows)
		if err != nil || !slices.Equal(ends(want), got) {
			t.Fatalf("width %d: got %v, %v, want %v", width, got, err, want)
		}
	}
}

// ends turns runs into what a reader makes of them.
func ends(runs []rowRun) (list []pageRun) {
	end := int32(0)
	for _, r := range runs {
		end += r.rows
		if n := len(list); n > 0 && list[n-1].entry == r.entry {
			list[n-1].end = end
			continue
		}
		list = append(list, pageRun{r.entry, end})
	}
	return list
}

func FuzzPage(f *testing.F) {
	f.Add(uint8(columnPolicy), uint8(format.RLEDictionary), uint16(8), []byte{1, 3, 0x55})
	f.Add(uint8(columnTime), uint8(format.DeltaBinaryPacked), uint16(1), []byte{0x80, 1, 4, 1, 2})
	f.Add(uint8(columnDouble), uint8(format.Plain), uint16(2), []byte{2, 0, 0, 0, 3, 1, 0, 1, 2, 3, 4, 5, 6, 7})
	f.Add(uint8(columnMetric), uint8(format.Plain), uint16(1), make([]byte, 16))
	f.Fuzz(func(t *testing.T, kind, encoding uint8, rows uint16, payload []byte) {
		if rows == 0 {
			return // No page is empty.
		}
		c := columnReader{entries: 2}
		err := guarded(func() error { return c.decode(columnKind(kind), format.Encoding(encoding), payload, int(rows)) })
		if err != nil {
			return
		}
		c.fillRuns()
		switch columnKind(kind) {
		case columnMetric, columnPolicy, columnSpan:
			if n := len(c.runs); n == 0 || int(c.runs[n-1].end) != int(rows) {
				t.Errorf("runs %v of %d rows", c.runs, rows)
			}
		case columnTime, columnInt, columnCount:
			if len(c.ints) != int(rows) {
				t.Errorf("%d values, not %d", len(c.ints), rows)
			}
		case columnMeasure, columnDouble:
			if (columnKind(kind) == columnMeasure || c.present != nil) && len(c.doubles) != int(rows) {
				t.Errorf("%d values, not %d", len(c.doubles), rows)
			}
		}
	})
}

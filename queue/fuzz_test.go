package queue

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// FuzzDecode: no bytes make the decoder panic or take much memory, and what it
// understands it can say again.
func FuzzDecode(f *testing.F) {
	for _, r := range golden {
		f.Add(encode(f, &r))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reseal(data) // else nothing gets past the checksum
		var (
			d    Decoder
			into ingest.Deliveries
		)
		if err := d.Decode(&into, 1, data); err != nil {
			if got := into.List[0]; got.Err != err || !bytes.Equal(got.Raw, data) || len(into.Measures) != 0 ||
				len(into.Entries) != 0 {
				t.Fatalf("the delivery of a bad record is %+v", got)
			}
			return
		}
		if most := len(data) / minMeasureLen; len(into.Measures) > most {
			t.Fatalf("%d measures out of %d bytes", len(into.Measures), len(data))
		}
		r := into.List[0].Record
		again, err := decode(encode(t, &r))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again.Record, bits); diff != "" {
			t.Fatalf("record differs the second time (-first +second):\n%s", diff)
		}
	})
}

// FuzzRoundTrip makes a record of bytes: 17 each give a measure and where it belongs.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("seventeen bytes each, seventeen bytes"), int64(0), "project", "")
	f.Add([]byte{}, int64(math.MaxInt64), "", "trace")
	f.Fuzz(func(t *testing.T, data []byte, at int64, project, trace string) {
		r := &ingest.Record{Kind: ingest.RecordMeasures, Project: project, Trace: trace}
		if at != noTime {
			r.AcceptedAt = time.Unix(0, at).UTC()
		}
		for ; len(data) >= 17; data = data[17:] {
			if n := len(r.Entries); n == 0 || data[0] >= 128 {
				r.Entries = append(r.Entries, ingest.Entry{Metric: id(data[0]), Policy: string(data[1 : 1+data[0]%4])})
			}
			e := &r.Entries[len(r.Entries)-1]
			if data[0]%5 > 0 {
				e.Measures = append(e.Measures, ingest.Measure{
					Time:  int64(binary.LittleEndian.Uint64(data[1:])),
					Value: math.Float64frombits(binary.LittleEndian.Uint64(data[9:]))})
			}
		}
		got := encode(t, r)
		if len(got) > r.Size() {
			t.Fatalf("%d bytes, more than Size's %d", len(got), r.Size())
		}
		back, err := decode(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*r, back.Record, bits); diff != "" {
			t.Fatalf("record differs (-want +got):\n%s", diff)
		}
	})
}

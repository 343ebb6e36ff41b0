package ingest

import "testing"

// A driver that reads live hears how far the log was taken, also where the last records
// of it count for nothing.
func TestReaching(t *testing.T) {
	f := func(live bool, at, to Offset, list []Offset, want ...Offset) {
		t.Helper()
		var deliveries []Delivery
		for _, o := range list {
			deliveries = append(deliveries, Delivery{Offset: o, Record: Record{Kind: RecordMeasures}})
		}
		got := (&tenure{live: live, at: Watermark{Offset: at}}).reaching(deliveries, to)
		if len(got) != len(want) {
			t.Fatalf("%d deliveries, want %d", len(got), len(want))
		}
		for i, d := range got {
			if d.Offset != want[i] || (d.Record.Kind == RecordNudge) != (i >= len(list)) {
				t.Errorf("delivery %d: %+v, want offset %d", i, d, want[i])
			}
		}
	}
	f(true, 5, 8, []Offset{5, 6, 7}, 5, 6, 7)
	f(true, 5, 8, []Offset{5, 6}, 5, 6, 7)
	f(true, 5, 8, nil, 7)
	f(true, 8, 8, nil)
	f(false, 5, 8, []Offset{5}, 5)
	f(false, 5, 8, nil)
}

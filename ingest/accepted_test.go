package ingest

import (
	"testing"
	"time"
)

// A record may lack the time of its acceptance. Then nothing can be told to be ahead
// of it, and its age counts from the start.
func TestRecordWithoutAcceptedAt(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		b.log.put(0, Delivery{Record: Record{Kind: RecordMeasures, Entries: []Entry{
			{Metric: metricN(1), Policy: "low", Measures: []Measure{{time.Now().UnixNano(), 7}}},
		}}})
		b.run()
		b.wait(2 * time.Second)
		b.wantValues(0, 7)
		if letters, _ := b.letters.List(t.Context(), "", 10); len(letters) != 0 {
			t.Errorf("dead letters: %+v", letters)
		}
	})
}

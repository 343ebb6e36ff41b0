//go:build !race

package carbonara

import (
	"testing"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// Expired rows leave the store as time goes on in the data, in tiers that no merge
// would touch as well.
func TestExpiredRowsGo(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 50, MergeWidth: 4})
	id := ingest.NewMetricID()
	most := int64(0)
	for i := range int64(3000) { // 30,000 s of data, of which 10 s buckets are kept for 1,000 s
		s.measure(id, 100_000+10*i, 1)
		if i%10 == 9 {
			s.flush()
			s.maintain()
		}
		rows := int64(0)
		for _, seg := range s.manifest().of(segment.Sealed) {
			rows += seg.Rows
		}
		most = max(most, rows-i/6) // minutes are kept for ever
	}
	if most > 600 { // 100 are visible
		t.Errorf("up to %d rows of 10 s buckets were kept", most)
	}
	if rows := s.counts(id, 10*time.Second); len(rows) != 100 {
		t.Errorf("%d rows are visible, want 100", len(rows))
	}
}

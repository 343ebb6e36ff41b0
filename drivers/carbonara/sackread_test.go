package carbonara

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func TestJoinPieces(t *testing.T) {
	rows := func(times ...int64) (p piece) {
		for _, t := range times {
			p = append(p, ingest.Measure{Time: t, Value: float64(t)})
		}
		return p
	}
	f := func(want piece, pieces ...piece) {
		t.Helper()
		if diff := cmp.Diff(want, joinPieces(pieces)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	f(rows(1, 2, 3, 4, 5), rows(1, 2), rows(3, 4, 5))
	f(rows(1, 2, 3, 4, 5), rows(4, 5), rows(1), rows(2, 3)) // in the order of merges
	f(rows(1, 2, 3, 4, 5, 6), rows(1, 4), rows(6), rows(2, 3, 5))
	f(rows(1, 2, 3, 4, 5, 6), rows(1, 2, 6), rows(3), rows(4, 5)) // one lies within another
}

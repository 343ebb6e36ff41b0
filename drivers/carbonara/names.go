package carbonara

import (
	"time"

	"github.com/oklog/ulid/v2"
)

// newName names a segment: ULIDs sort by the time at which they were made, and no
// two are equal.
func newName(now time.Time) string {
	return ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String() + ".parquet"
}

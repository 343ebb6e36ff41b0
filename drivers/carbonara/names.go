package carbonara

import (
	"crypto/rand"
	"time"

	"github.com/oklog/ulid/v2"
)

// segmentSuffix ends the names of segments, and of nothing else.
const segmentSuffix = ".parquet"

// newName names a segment. ULIDs sort by the time at which they were made, to the
// millisecond, and no two are equal, whichever processes made them.
func newName(now time.Time) string {
	at := max(0, now.UnixMilli()) // a clock may say 1969
	return ulid.MustNew(uint64(at), rand.Reader).String() + segmentSuffix
}

// newID returns an identity that nothing else has ever had.
func newID() string { return rand.Text() }

package carbonara

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"millrace/ingest"
)

// segmentSuffix ends the names of segments, and of nothing else.
const segmentSuffix = ".parquet"

// newName names a segment, by a ULID and the log offsets that it covers: [from, to).
// ULIDs sort by the time at which they were made, to the millisecond, and no two are
// equal, whichever processes made them. The offsets are for the day on which the
// manifest is lost.
func newName(now time.Time, from, to ingest.Offset) string {
	at := max(0, now.UnixMilli()) // a clock may say 1969
	return fmt.Sprintf("%s-%d-%d%s", ulid.MustNew(uint64(at), rand.Reader), from, to, segmentSuffix)
}

// offsetsOf returns the offsets in a segment's name; false when it has none.
func offsetsOf(name string) (from, to ingest.Offset, ok bool) {
	parts := strings.Split(strings.TrimSuffix(name, segmentSuffix), "-")
	if len(parts) != 3 {
		return 0, 0, false
	}
	a, err := strconv.ParseInt(parts[1], 10, 64)
	b, err2 := strconv.ParseInt(parts[2], 10, 64)
	return ingest.Offset(a), ingest.Offset(b), err == nil && err2 == nil && a <= b
}

// newID returns an identity that nothing else has ever had.
func newID() string { return rand.Text() }

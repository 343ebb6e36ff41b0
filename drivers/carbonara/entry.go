package carbonara

import (
	"context"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// An entry is a segment as the manifest lists it: one immutable Parquet object, and
// what pruning needs to know of it.
type entry struct {
	Name         string `json:"name"` // inside the sack's folder: "<ulid>.parquet"
	segment.Info        // of its rows

	Measures int64         `json:"measures,omitempty"` // raw: how many measures were flushed into it or its parents
	From     ingest.Offset `json:"from_offset"`        // raw: the log offsets that it covers, [From, To)
	To       ingest.Offset `json:"to_offset"`          // state: it covers everything before To
	Level    int           `json:"level,omitempty"`    // tier of merging
	// the same in neighbours that were written as one and cut for their size
	Run string `json:"run,omitempty"`
	// Slot, of a sealed segment: how wide the slots of time are by which its kind is cut; 0: it isn't.
	Slot time.Duration `json:"slot,omitempty"`
	// Stale, of a sealed segment: all rows of a slot, and of others half of the rows, have
	// expired when the sack's newest measure is this new; 0: never.
	Stale int64 `json:"stale,omitempty"`
}

// A source lets the codec read the objects of a store.
type source struct{ store Store }

func (s source) ReadRanges(ctx context.Context, name string, ranges []segment.Range) ([][]byte, int64, error) {
	contents, err := s.store.Read(ctx, name, "", ranges)
	return contents.Data, contents.Size, err
}

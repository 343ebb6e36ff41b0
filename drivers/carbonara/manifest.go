package carbonara

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// layoutVersion is the version of the layout, the manifests and the segments.
const layoutVersion = 2

// A manifest is everything that a sack consists of; see FORMAT.md. One that has
// been committed is never changed: the next one is a clone.
type manifest struct {
	Format     int    `json:"format"`
	Deployment string `json:"deployment"` // the layout's
	Version    uint64 `json:"version"`    // grows with every swap
	Epoch      uint64 `json:"epoch"`      // one more with every owner
	// random: of the owner. Epochs order owners, and repeat when a store went back
	Tenure     string           `json:"tenure"`
	Swap       string           `json:"swap"`     // random: of this swap, so that no two manifests are equal
	Applied    ingest.Watermark `json:"applied"`  // every record before it is in the segments
	Segments   []entry          `json:"segments"` // raw ones in the order of the log
	Tombstones []tombstone      `json:"tombstones,omitempty"`
	Garbage    []garbage        `json:"garbage,omitempty"`
	LastSeal   lastSeal         `json:"last_seal"`
	Checksum   string           `json:"checksum,omitempty"` // always empty: encode adds it

	unknown error // it has fields that this program doesn't know, and would strip
}

// lastSeal says what the last seal left, for choosing the next one's moment.
type lastSeal struct {
	At      time.Time `json:"at"`
	RawRows int64     `json:"raw_rows"`
}

// A tombstone keeps metrics deleted: those of one archive policy that were deleted
// between two flushes.
type tombstone struct {
	At      time.Time         `json:"at"`
	Policy  string            `json:"archive_policy,omitempty"` // empty when the sack had nothing of the metrics
	Metrics []ingest.MetricID `json:"metrics"`
}

// garbage is a segment that the manifest no longer uses and readers of older
// manifests may.
type garbage struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

func (m *manifest) clone() *manifest {
	c := *m
	c.Segments = slices.Clone(m.Segments)
	c.Tombstones = slices.Clone(m.Tombstones)
	c.Garbage = slices.Clone(m.Garbage)
	return &c
}

// of returns the segments of one kind, in their order.
func (m *manifest) of(k segment.Kind) []entry {
	var list []entry
	for _, s := range m.Segments {
		if s.Kind == k {
			list = append(list, s)
		}
	}
	return list
}

func (m *manifest) rawRows() int64 {
	n := int64(0)
	for i := range m.Segments {
		if m.Segments[i].Kind == segment.Raw {
			n += m.Segments[i].Rows
		}
	}
	return n
}

// deleted is the set of the metrics that have a tombstone.
func (m *manifest) deleted() map[ingest.MetricID]bool {
	set := make(map[ingest.MetricID]bool)
	for _, t := range m.Tombstones {
		for _, id := range t.Metrics {
			set[id] = true
		}
	}
	return set
}

// uncovered counts the raw rows that opening the sack would have to scan.
func (m *manifest) uncovered() int64 {
	covered := ingest.Offset(-1)
	for _, s := range m.Segments {
		if s.Kind == segment.State {
			covered = max(covered, s.To)
		}
	}
	rows := int64(0)
	for _, s := range m.Segments {
		if s.Kind == segment.Raw && s.To > covered {
			rows += s.Rows
		}
	}
	return rows
}

// replace takes segments out, puts others in the place of the first of them, and
// remembers the old ones as garbage. It fails if one of the old ones is not there.
func (m *manifest) replace(old, new []entry, now time.Time) error {
	gone := make(map[string]bool, len(old))
	for _, s := range old {
		gone[s.Name] = true
		m.Garbage = append(m.Garbage, garbage{s.Name, now})
	}
	kept := make([]entry, 0, len(m.Segments)-len(old)+len(new))
	placed := false
	for _, s := range m.Segments {
		switch {
		case !gone[s.Name]:
			kept = append(kept, s)
		case !placed:
			kept = append(kept, new...)
			placed = true
		}
	}
	if !placed {
		kept = append(kept, new...)
	}
	if len(m.Segments)-len(old) != len(kept)-len(new) {
		return errors.New("BUG: segments to be replaced have been replaced before")
	}
	m.Segments = kept
	return nil
}

// additions are the segments that a manifest names and the one before it didn't.
func (m *manifest) additions(sack ingest.Sack, before *manifest) (adds []Addition) {
	named := before.names()
	for _, s := range m.Segments {
		if !named[s.Name] {
			adds = append(adds, Addition{sackPrefix(sack) + s.Name, s.Bytes})
		}
	}
	return adds
}

func (m *manifest) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("BUG: cannot encode a manifest: " + err.Error())
	}
	return checksummed(b)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumLength is that of the checksum's field, with what ends the object.
const checksumLength = len(`,"checksum":"00000000"}`)

// checksummed adds the last field to a JSON object: the CRC-32C of what stands
// before it. A flipped bit in an offset would lose or double measures in silence.
func checksummed(object []byte) []byte {
	object = object[:len(object)-1]
	return fmt.Appendf(object, ",\"checksum\":\"%08x\"}\n", crc32.Checksum(object, castagnoli))
}

// isSound says whether a manifest's checksum is right.
func isSound(data []byte) bool {
	n := len(data) - checksumLength - 1
	return n > 0 && bytes.Equal(data, checksummed(slices.Concat(data[:n], []byte("}"))))
}

func decodeManifest(data []byte) (*manifest, error) {
	m := new(manifest)
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if unknown := strict.Decode(m); unknown != nil {
		m = new(manifest)
		if err := json.Unmarshal(data, m); err != nil {
			return nil, fmt.Errorf("it is damaged: not a manifest: %w", err)
		}
		m.unknown = fmt.Errorf("%w, and would lose something: %w", ingest.ErrNewer, unknown)
	}
	switch {
	case m.Format > layoutVersion:
		return nil, fmt.Errorf("manifest has format %d, this program knows %d: %w", m.Format, layoutVersion, ingest.ErrNewer)
	case m.Format < layoutVersion:
		return nil, fmt.Errorf("manifest has format %d, this program knows %d", m.Format, layoutVersion)
	case !isSound(data):
		return nil, errors.New("it is damaged: its checksum is another")
	}
	m.Checksum = ""
	for _, s := range m.Segments {
		switch s.Kind {
		case segment.Raw, segment.State, segment.Sealed:
		default:
			return nil, fmt.Errorf("segment %s is of the unknown kind %q", s.Name, s.Kind)
		}
	}
	return m, nil
}

func sackPrefix(sack ingest.Sack) string { return "sack/" + strconv.Itoa(int(sack)) + "/" }

func manifestName(sack ingest.Sack) string { return sackPrefix(sack) + "manifest.json" }

// readManifest returns the sack's manifest as it is now and its version; ErrUnchanged
// when that is unless, and an error that is ErrNotFound when there is none. (Every sack
// of a deployment has one, from the beginning.)
func readManifest(ctx context.Context, store Store, sack ingest.Sack, unless Version) (*manifest, Version, error) {
	name := manifestName(sack)
	got, err := store.Read(ctx, name, unless, nil)
	switch {
	case errors.Is(err, ErrUnchanged):
		return nil, unless, err
	case errors.Is(err, ErrNotFound):
		err = fmt.Errorf("%s is missing: put it back, or let check --repair make a new one of what the sack's folder "+
			"holds: %w", name, err)
		return nil, "", &damagedError{name, err}
	case err != nil:
		return nil, "", fmt.Errorf("cannot read %s: %w", name, err)
	}
	m, err := decodeManifest(got.Data[0])
	if err == nil {
		return m, got.Version, nil
	}
	if err = fmt.Errorf("cannot read %s: %w", name, err); !errors.Is(err, ingest.ErrNewer) {
		err = &damagedError{name, err}
	}
	return nil, "", err
}

package disklog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"millrace/disk"
	"millrace/ingest"
)

// The names of a log's files: the manifest and the lock. Segments are named after
// their base: 16 hexadecimal digits and segmentSuffix. A file that is to replace
// another has newSuffix until it is durable.
const (
	manifestName  = "log.json"
	lockName      = "lock"
	segmentSuffix = ".log"
	newSuffix     = ".new"
)

// A manifest says which segments the log consists of. A rename replaces it: what
// it does not list does not count.
type manifest struct {
	Format     int             `json:"format"`
	ID         string          `json:"id"`
	Deployment string          `json:"deployment,omitempty"` // the id of the deployment that the log is of
	Sacks      int             `json:"sacks"`
	Origin     int64           `json:"origin"`         // every position of the log is after it
	Forgotten  []ingest.Offset `json:"forgotten"`      // per sack: the watermark of the records that were removed
	Segments   []listedSegment `json:"segments"`       // oldest first
	Lost       []span          `json:"lost,omitempty"` // ascending
}

type listedSegment struct {
	File    string  `json:"file"`
	Bytes   int64   `json:"bytes,omitempty"`   // of the file, that count; 0: it was being written
	Records []int64 `json:"records,omitempty"` // per sack, in those bytes
}

// A span is a range of positions whose records nobody has any more: the end of a segment
// that a crash or damage cut off, or what a repair gave up. Offsets inside are no reason
// for alarm: what had been applied of it was, and new records come behind it.
type span struct {
	From ingest.Offset `json:"from"` // the first one
	To   ingest.Offset `json:"to"`   // behind the last one
}

// maxTail is more than a segment ever has behind its end, and less than what two segments
// are apart at least.
const maxTail = baseGap / 2

func segmentName(base int64) string { return fmt.Sprintf("%016x%s", base, segmentSuffix) }

// segmentBase is the inverse of segmentName.
func segmentBase(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 16, 64)
	return base, err == nil && segmentName(base) == name
}

// append writes the manifest: a line of JSON, then a line with its CRC-32C.
func (m *manifest) append(dst []byte) []byte {
	start := len(dst)
	line, err := json.Marshal(m)
	if err != nil {
		panic("BUG: cannot marshal the manifest: " + err.Error())
	}
	dst = append(append(dst, line...), '\n')
	return fmt.Appendf(dst, "crc32c %08x\n", crc32.Checksum(dst[start:], castagnoli))
}

func parseManifest(data []byte) (*manifest, error) {
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(rest) != fmt.Sprintf("crc32c %08x\n", crc32.Checksum(data[:len(line)+1], castagnoli)) {
		return nil, errors.New("its checksum is wrong")
	}
	m := new(manifest)
	if err := json.Unmarshal(line, m); err != nil {
		return nil, err
	}
	if m.Format != formatVersion {
		if m.Format > formatVersion {
			return nil, fmt.Errorf("its format is %d, and this program knows %d: %w", m.Format, formatVersion, ingest.ErrNewer)
		}
		return nil, fmt.Errorf("its format is %d, and this program knows %d", m.Format, formatVersion)
	}
	if len(m.Forgotten) != m.Sacks {
		return nil, fmt.Errorf("it has %d watermarks for %d sacks", len(m.Forgotten), m.Sacks)
	}
	if m.Sacks < 1 {
		return nil, fmt.Errorf("it has %d sacks", m.Sacks)
	}
	last := m.Origin
	for i, s := range m.Segments {
		base, ok := segmentBase(s.File)
		if !ok || base <= last || s.Bytes != 0 && s.Bytes < fileHeaderLen || s.Bytes == 0 && i < len(m.Segments)-1 ||
			len(s.Records) != 0 && len(s.Records) != m.Sacks {
			return nil, fmt.Errorf("its segment %d makes no sense: %+v", i, s)
		}
		last = base
	}
	return m, nil
}

// readManifest returns fs.ErrNotExist when there is no log.
func readManifest(fsys disk.FS, dir string) (*manifest, error) {
	file, err := fsys.Open(filepath.Join(dir, manifestName))
	if isMissing(err) {
		if bases, listErr := listSegments(fsys, dir); listErr == nil && len(bases) > 0 {
			return nil, &DamageError{manifestName, -1, fmt.Sprintf("it is missing, and there are %d segments", len(bases))}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the log's manifest: %w", err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("cannot read the log's manifest: %w", err)
	}
	const most = 1 << 30 // far beyond any; it bounds what a strange file makes us allocate
	data := make([]byte, min(size, most))
	if err := readAt(file, data, 0); err != nil {
		return nil, fmt.Errorf("cannot read the log's manifest: %w", err)
	}
	m, err := parseManifest(data)
	if errors.Is(err, ingest.ErrNewer) {
		return nil, fmt.Errorf("cannot read the log's manifest: %w", err)
	}
	if err != nil {
		return nil, &DamageError{manifestName, -1, err.Error()}
	}
	return m, nil
}

// write makes the manifest durable. After an error either the old or the new one
// is in force.
func (m *manifest) write(fsys disk.FS, dir string) error {
	if err := replaceFile(fsys, dir, manifestName, m.append(nil)); err != nil {
		return fmt.Errorf("cannot write the log's manifest: %w", err)
	}
	return nil
}

// replaceFile makes a file durable at once: it is the old one or the new.
func replaceFile(fsys disk.FS, dir, name string, data []byte) error {
	path := filepath.Join(dir, name)
	if err := writeFile(fsys, path+newSuffix, data); err != nil {
		return err
	}
	if err := fsys.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

func writeFile(fsys disk.FS, name string, data []byte) error {
	file, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	err = writeAndSync(file, data)
	return errors.Join(err, file.Close())
}

// writeAndSync returns nil when data is durable.
func writeAndSync(file disk.File, data []byte) error {
	n, err := file.Write(data)
	if err != nil {
		return err
	}
	if n < len(data) {
		return io.ErrShortWrite
	}
	return file.Sync()
}

// listSegments returns the bases of the segment files in the folder, ascending.
func listSegments(fsys disk.FS, dir string) ([]int64, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the log's folder: %w", err)
	}
	var bases []int64
	for _, e := range entries {
		if base, ok := segmentBase(e.Name()); ok {
			bases = append(bases, base)
		}
	}
	return bases, nil // names of 16 digits sort like the numbers
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

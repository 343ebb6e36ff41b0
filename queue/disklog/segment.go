package disklog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"millrace/disk"
	"millrace/ingest"
)

// A segment is one file of the log, as memory knows it. Log.mu guards what changes.
type segment struct {
	name   string
	header fileHeader
	size   int64         // bytes of the file that count: all of it has been acknowledged
	sacks  []sackSummary // per sack
	index  *segmentIndex // nil when it was dropped; reading the file brings it back

	fetched int64 // Log.fetches when it was last fetched from
}

// A sackSummary is what a segment holds of one sack.
type sackSummary struct {
	records, bytes int64
	first, last    ingest.Offset
}

// A segmentIndex says where the frames of each sack are, in order.
type segmentIndex struct {
	sacks  [][]frameAt
	frames int
}

type frameAt struct {
	at     uint32 // byte of the file
	length uint32 // of the payload
}

func newSegment(name string, header fileHeader) *segment {
	return &segment{
		name: name, header: header, size: fileHeaderLen, sacks: make([]sackSummary, header.sacks),
		index: &segmentIndex{sacks: make([][]frameAt, header.sacks)},
	}
}

// end is the position behind the segment.
func (s *segment) end() ingest.Offset { return ingest.Offset(s.header.base + s.size) }

// base is the position of its first byte.
func (s *segment) base() ingest.Offset { return ingest.Offset(s.header.base) }

// note takes a frame into summary and index. The size is the caller's.
func (s *segment) note(sack ingest.Sack, at int64, length int) {
	position := ingest.Offset(s.header.base + at)
	sum := &s.sacks[sack]
	if sum.records == 0 {
		sum.first = position
	}
	sum.last = position
	sum.records++
	sum.bytes += int64(length)
	if s.index != nil {
		s.index.add(sack, at, length)
	}
}

// counts is how many records of each sack there are.
func (s *segment) counts() []int64 {
	counts := make([]int64, len(s.sacks))
	for i := range s.sacks {
		counts[i] = s.sacks[i].records
	}
	return counts
}

func (x *segmentIndex) add(sack ingest.Sack, at int64, length int) {
	x.sacks[sack] = append(x.sacks[sack], frameAt{uint32(at), uint32(length)})
	x.frames++
}

// from returns the frames of a sack at or after a position.
func (s *segment) from(sack ingest.Sack, from ingest.Offset) []frameAt {
	frames := s.index.sacks[sack]
	i := sort.Search(len(frames), func(i int) bool { return s.base()+ingest.Offset(frames[i].at) >= from })
	return frames[i:]
}

// backlog counts the sack's records at or after from. Without an index it is
// estimated from how much of the segment is behind from.
func (s *segment) backlog(sack ingest.Sack, from ingest.Offset) (records, bytes int64) {
	sum := &s.sacks[sack]
	switch {
	case sum.records == 0 || from > sum.last:
		return 0, 0
	case from <= sum.first:
		return sum.records, sum.bytes
	case s.index == nil:
		share := float64(sum.last-from+1) / float64(sum.last-sum.first+1)
		return max(1, int64(share*float64(sum.records))), max(1, int64(share*float64(sum.bytes)))
	}
	for _, f := range s.from(sack, from) {
		records++
		bytes += int64(f.length)
	}
	return records, bytes
}

// createSegment makes a new segment's file durable and returns it open for
// writing. It does not count until a manifest lists it.
func createSegment(fsys disk.FS, dir string, sacks int, base int64) (*segment, disk.File, error) {
	var salt [8]byte
	rand.Read(salt[:])
	seg := newSegment(segmentName(base), fileHeader{sacks: sacks, base: base, salt: binary.LittleEndian.Uint64(salt[:])})
	file, err := fsys.OpenFile(filepath.Join(dir, seg.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot create log file %s: %w", seg.name, err)
	}
	if err = writeAndSync(file, seg.header.append(nil)); err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot create log file %s: %w", seg.name, err), file.Close())
	}
	return seg, file, nil
}

// verify reads a segment back up to its size, and says whether it is sound.
func (s *segment) verify(fsys disk.FS, dir string) error {
	file, err := fsys.Open(filepath.Join(dir, s.name))
	if err != nil {
		return fmt.Errorf("cannot read log file %s back: %w", s.name, err)
	}
	defer file.Close()
	scan, err := newScanner(file, s.name, s.header.sacks, s.size)
	for err == nil {
		_, err = scan.next()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

package disklog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"millrace/disk"
	"millrace/ingest"
)

// A RepairConfig says what a log has to be after its repair.
type RepairConfig struct {
	Sacks      int          // how many the deployment has
	Deployment string       // its id; none: not known
	Log        ingest.LogID // which log it has; zero: not known
	// Applied is how far each sack has been applied, 0: not at all; none: not known. Where the
	// log does not go on there, what is between is given up.
	Applied    []ingest.Offset
	Quarantine string // folder for copies of what was damaged; made when it is needed
}

// A RepairReport says what a repair has done.
type RepairReport struct {
	Kept      int64    // records that the log has now
	Lost      []int64  // per sack: records that were there for certain and are not any more
	LostBytes int64    // of files, in which records may have been that nobody can count
	Aside     []string // files in the quarantine
	Notes     []string // what was found and done, a sentence each
}

// Changed says whether anything was repaired.
func (r *RepairReport) Changed() bool { return len(r.Notes) > 0 }

// Repair makes a damaged log one that opens, once and because an operator asks for it. It
// keeps every frame that is whole, at its place, and copies the files that are damaged
// to the quarantine before it changes anything. A log that is sound stays as it is. It fails
// with disk.ErrLocked while a process has the log open, and does nothing to a log of
// another deployment or of a newer version.
func Repair(ctx context.Context, fsys disk.FS, dir string, c RepairConfig) (_ RepairReport, err error) {
	r := &repair{ctx: ctx, fs: fsys, dir: dir, config: c}
	r.Lost = make([]int64, c.Sacks)
	if err := disk.MakeDir(fsys, dir); err != nil {
		return r.RepairReport, fmt.Errorf("cannot repair the log in %s: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return r.RepairReport, fmt.Errorf("cannot lock the log in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := r.run(); err != nil {
		return r.RepairReport, fmt.Errorf("cannot repair the log in %s: %w", dir, err)
	}
	return r.RepairReport, nil
}

// A repair is one that goes on.
type repair struct {
	RepairReport
	ctx    context.Context
	fs     disk.FS
	dir    string
	config RepairConfig
	next   manifest // what the log is to be
	ends   int64    // where the last segment of next ends, if next doesn't say so
	remove []string // files that it has no longer
}

func (r *repair) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *repair) run() error {
	m, err := r.manifest()
	if err != nil {
		return err
	}
	if m.Sacks != r.config.Sacks {
		return fmt.Errorf("it has %d sacks, and %d are configured", m.Sacks, r.config.Sacks)
	}
	if want := r.config.Deployment; want != "" && m.Deployment != "" && m.Deployment != want {
		return fmt.Errorf("it is of deployment %s, and this is deployment %s: %w", m.Deployment, want, ingest.ErrForeign)
	}
	r.next = *m
	r.next.Segments = nil
	listed, err := r.found(m)
	if err != nil {
		return err
	}
	for i, seg := range listed {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		limit := int64(maxClock)
		if i+1 < len(listed) {
			limit, _ = segmentBase(listed[i+1].File)
		}
		if err := r.segment(seg, limit); err != nil {
			return err
		}
	}
	r.meet()
	if !r.Changed() {
		return nil
	}
	if err := r.next.write(r.fs, r.dir); err != nil {
		return err
	}
	for _, name := range r.remove {
		if err := r.fs.Remove(filepath.Join(r.dir, name)); err != nil && !isMissing(err) {
			return fmt.Errorf("cannot remove damaged log file %s, of which there is a copy now: %w", name, err)
		}
	}
	return nil
}

// meet has the log go on where each sack ends.
func (r *repair) meet() {
	if len(r.config.Applied) != r.next.Sacks {
		return
	}
	var segments []*segment
	for _, s := range r.next.Segments {
		base, _ := segmentBase(s.File)
		size := s.Bytes
		if size == 0 {
			size = r.ends
		}
		segments = append(segments, &segment{name: s.File, header: fileHeader{base: base}, size: size})
	}
	r.next.Forgotten = slices.Clone(r.next.Forgotten)
	for s, at := range r.config.Applied {
		if forgotten := r.next.Forgotten[s]; at < forgotten {
			r.next.Forgotten[s] = max(0, at)
			r.note("the storage has sack %d up to %d, and the log has removed its records up to %d as applied: "+
				"those between are lost, and nobody can count them", s, at, forgotten)
		}
		if at < ingest.Offset(r.next.Origin) || slices.ContainsFunc(r.next.Lost,
			func(l span) bool { return at >= l.From && at < l.To }) {
			continue // the worker begins at the origin
		}
		if n := len(segments); n > 0 && r.next.Segments[n-1].Bytes == 0 && at > segments[n-1].end() &&
			at < segments[n-1].base()+maxTail {
			continue // the next start finds where it was cut off
		}
		if _, err := checkPlace(at, 0, ingest.Offset(r.next.Origin), segments, nil); err != nil {
			r.note("the storage has sack %d up to %d, and of the log it is said: %v; the sack goes on with what comes next", s,
				at, err)
			r.next.Lost = append(r.next.Lost, span{at, at + 1})
		}
	}
}

// manifest reads the manifest, or makes what takes its place.
func (r *repair) manifest() (*manifest, error) {
	m, err := readManifest(r.fs, r.dir)
	if err == nil {
		return m, nil
	}
	_, damaged := errors.AsType[*DamageError](err)
	fresh := newManifest(r.config.Sacks, r.config.Deployment)
	if isMissing(err) {
		r.note("the log was missing, and a new one takes its place: what the old one held and had not applied is lost, " +
			"and nobody can count it")
		return fresh, nil
	}
	if !damaged {
		return nil, err
	}
	if err := r.putAside(manifestName); err != nil && !isMissing(err) {
		return nil, err
	}
	bases, listErr := listSegments(r.fs, r.dir)
	if listErr != nil {
		return nil, listErr
	}
	if id, ok := strings.CutPrefix(r.config.Log.ID, idPrefix); ok {
		fresh.ID, fresh.Origin = id, int64(r.config.Log.Base)
	}
	for _, base := range bases {
		fresh.Origin = min(fresh.Origin, base-1)
		fresh.Segments = append(fresh.Segments, listedSegment{File: segmentName(base)})
	}
	r.note("%v: a new manifest lists the %d segments that are there; one that is not can't be missed", err, len(bases))
	return fresh, nil
}

// found returns the listed segments and those that are there although the manifest, being
// out of date, does not list them.
func (r *repair) found(m *manifest) ([]listedSegment, error) {
	listed := slices.Clone(m.Segments)
	bases, err := listSegments(r.fs, r.dir)
	if err != nil {
		return nil, err
	}
	last, listedEnd := m.Origin, m.Origin
	if n := len(listed); n > 0 {
		last, _ = segmentBase(listed[n-1].File)
		listedEnd = last + maxTail
	}
	for _, base := range bases {
		if base > last && base >= listedEnd {
			r.note("segment %s is newer than the manifest, which did not list it: it is part of the log again",
				segmentName(base))
			listed = append(listed, listedSegment{File: segmentName(base)})
		}
	}
	return listed, nil
}

// A stretch is a part of a segment file, without a gap.
type stretch struct {
	from, to int64   // bytes of the file
	records  []int64 // per sack
}

// segment takes a segment into the new manifest: as it is, or what is whole of it.
func (r *repair) segment(listed listedSegment, limit int64) error {
	base, _ := segmentBase(listed.File)
	scan, err := r.open(listed)
	if damage, ok := errors.AsType[*DamageError](err); ok {
		r.giveUp(listed, damage)
		r.lose(base+1, min(base+maxTail, limit))
		if err := r.putAside(listed.File); err != nil && !isMissing(err) {
			return err
		}
		r.remove = append(r.remove, listed.File)
		return nil
	}
	if err != nil {
		return err
	}
	defer scan.file.Close()
	whole, gaps, err := r.survey(scan, listed)
	if err != nil {
		return err
	}
	for _, s := range whole {
		for _, n := range s.records {
			r.Kept += n
		}
	}
	if len(gaps) == 0 {
		r.add(listed, whole)
		return nil
	}
	if err := r.putAside(listed.File); err != nil {
		return err
	}
	r.report(listed, whole, gaps)
	for i, gap := range gaps {
		to := base + gap.to
		if i == len(gaps)-1 && gap.to >= scan.end {
			to = min(base+maxTail, limit)
		}
		r.lose(base+gap.from+1, to)
	}
	return r.keep(scan, listed, whole)
}

// add lists a segment as it is. Its end is for the next start to find, where that may be;
// only the last one may lack it.
func (r *repair) add(listed listedSegment, whole []stretch) {
	r.endLast()
	r.ends = fileHeaderLen
	if n := len(whole); n > 0 {
		r.ends = whole[n-1].to
	}
	r.next.Segments = append(r.next.Segments, listed)
}

// endLast says where the last segment that was listed ends: another follows.
func (r *repair) endLast() {
	if n := len(r.next.Segments); n > 0 && r.next.Segments[n-1].Bytes == 0 {
		r.next.Segments[n-1].Bytes = r.ends
	}
}

// open opens a segment file for reading, having put its header right if only that is wrong.
func (r *repair) open(listed listedSegment) (*scanner, error) {
	file, err := r.fs.Open(filepath.Join(r.dir, listed.File))
	if isMissing(err) {
		return nil, &DamageError{listed.File, -1, "it is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open log file %s: %w", listed.File, err)
	}
	scan, err := r.scanner(file, listed)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return scan, nil
}

func (r *repair) scanner(file disk.File, listed listedSegment) (*scanner, error) {
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("cannot read log file %s: %w", listed.File, err)
	}
	end := int64(-1)
	if listed.Bytes > 0 {
		end = min(listed.Bytes, size)
	}
	scan, err := newScanner(file, listed.File, r.config.Sacks, end)
	damage, ok := errors.AsType[*DamageError](err)
	if !ok || size <= fileHeaderLen {
		return scan, err
	}
	if fixErr := r.mendHeader(file, size, listed.File); fixErr != nil {
		return nil, errors.Join(damage, fixErr)
	}
	mended, err := r.fs.Open(filepath.Join(r.dir, listed.File))
	if err != nil {
		return nil, fmt.Errorf("cannot open log file %s: %w", listed.File, err)
	}
	if scan, err = newScanner(mended, listed.File, r.config.Sacks, end); err != nil {
		return nil, errors.Join(err, mended.Close())
	}
	return scan, file.Close()
}

// mendHeader writes a header anew whose salt is the one that its frames have: all else
// in it is known.
func (r *repair) mendHeader(file disk.File, size int64, name string) error {
	b := make([]byte, fileHeaderLen+frameHeaderLen)
	if err := readAt(file, b, 0); err != nil {
		return nil // too short for a frame: the caller says what is wrong
	}
	base, _ := segmentBase(name)
	header := fileHeader{sacks: r.config.Sacks, base: base, salt: binary.LittleEndian.Uint64(b[24:])}
	if _, ok := parseFrameHeader(b[fileHeaderLen:], header, header.seed(), base+fileHeaderLen); !ok {
		return nil
	}
	if err := r.putAside(name); err != nil {
		return err
	}
	data := make([]byte, size)
	if err := readAt(file, data, 0); err != nil {
		return fmt.Errorf("cannot read log file %s: %w", name, err)
	}
	if err := replaceFile(r.fs, r.dir, name, append(header.append(nil), data[fileHeaderLen:]...)); err != nil {
		return fmt.Errorf("cannot write the header of log file %s: %w", name, err)
	}
	r.note("the header of log file %s was damaged, and has been written anew: no record of it is lost by that", name)
	return nil
}

// survey finds what is whole in a segment and what is not. The torn end of the one that
// was being written is neither.
func (r *repair) survey(scan *scanner, listed listedSegment) (whole, gaps []stretch, err error) {
	at := stretch{from: scan.at, to: scan.at, records: make([]int64, r.config.Sacks)}
	flush := func() {
		if at.to > at.from {
			whole = append(whole, at)
		}
	}
	for {
		f, err := scan.next()
		if err == nil {
			at.to = scan.at
			at.records[f.sack]++
			continue
		}
		_, damaged := errors.AsType[*DamageError](err)
		switch {
		case errors.Is(err, io.EOF):
			if listed.Bytes > scan.end { // cut
				gaps = append(gaps, stretch{from: scan.at, to: listed.Bytes, records: make([]int64, r.config.Sacks)})
			}
			flush()
			return whole, gaps, nil
		case !damaged:
			return nil, nil, err
		}
		if listed.Bytes == 0 {
			torn, err := scan.torn()
			if err != nil {
				return nil, nil, err
			}
			if torn {
				flush()
				return whole, gaps, nil
			}
		}
		flush()
		gap, err := r.gap(scan)
		if err != nil {
			return nil, nil, err
		}
		if gap.to == scan.end {
			gap.to = max(gap.to, listed.Bytes)
		}
		gaps = append(gaps, gap)
		at = stretch{from: scan.at, to: scan.at, records: make([]int64, r.config.Sacks)}
	}
}

// gap skips a damaged place. Of a frame whose header is whole it is known that it was one.
func (r *repair) gap(scan *scanner) (stretch, error) {
	gap := stretch{from: scan.at, records: make([]int64, r.config.Sacks)}
	b, err := scan.read(scan.at, frameHeaderLen)
	if err != nil {
		return gap, err
	}
	if len(b) == frameHeaderLen {
		if h, ok := parseFrameHeader(b, scan.header, scan.seed, scan.header.base+scan.at); ok {
			gap.records[h.sack]++
		}
	}
	err = scan.skip()
	gap.to = scan.at
	return gap, err
}

// report says what a segment has lost.
func (r *repair) report(listed listedSegment, whole, gaps []stretch) {
	bytes, lost := int64(0), make([]int64, r.config.Sacks)
	for _, g := range gaps {
		bytes += g.to - g.from
		for s, n := range g.records {
			lost[s] += n
		}
	}
	if len(listed.Records) > 0 { // then it is known exactly
		copy(lost, listed.Records)
		for _, w := range whole {
			for s, n := range w.records {
				lost[s] -= n
			}
		}
	} else {
		r.LostBytes += bytes
	}
	total, kept := int64(0), int64(0)
	for s, n := range lost {
		r.Lost[s] += n
		total += n
	}
	for _, w := range whole {
		for _, n := range w.records {
			kept += n
		}
	}
	atLeast := "at least "
	if len(listed.Records) > 0 {
		atLeast = ""
	}
	r.note("%d bytes of log file %s are not what was written: %s%d records in them are lost%s, the other %d are kept",
		bytes, listed.File, atLeast, total, perSack(lost), kept)
}

// perSack lists counts: " (sack 3: 12, sack 9: 1)".
func perSack(counts []int64) string {
	var parts []string
	for s, n := range counts {
		if n != 0 {
			parts = append(parts, fmt.Sprintf("sack %d: %d", s, n))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// giveUp says that nothing is left of a segment.
func (r *repair) giveUp(listed listedSegment, damage *DamageError) {
	total := int64(0)
	for s, n := range listed.Records {
		r.Lost[s] += n
		total += n
	}
	if len(listed.Records) > 0 {
		r.note("log file %s: %s; its %d records are lost%s", listed.File, damage.Reason, total, perSack(listed.Records))
		return
	}
	r.LostBytes += listed.Bytes
	r.note("log file %s: %s; what it held is lost, and nobody can count it", listed.File, damage.Reason)
}

// lose notes that nobody knows what was at these positions.
func (r *repair) lose(from, to int64) {
	if from < to {
		r.next.Lost = append(r.next.Lost, span{ingest.Offset(from), ingest.Offset(to)})
	}
}

// keep lists what is whole of a segment. The part that the file begins with stays where
// it is; each other one gets a file of its own, in which its frames have the positions
// that they had.
func (r *repair) keep(scan *scanner, listed listedSegment, whole []stretch) error {
	first := listedSegment{File: listed.File, Bytes: fileHeaderLen, Records: make([]int64, r.config.Sacks)}
	if len(whole) > 0 && whole[0].from == fileHeaderLen {
		first.Bytes, first.Records = whole[0].to, whole[0].records
		whole = whole[1:]
	}
	r.endLast()
	r.next.Segments = append(r.next.Segments, first)
	for _, s := range whole {
		header := scan.header
		header.base += s.from - fileHeaderLen
		data := append(header.append(nil), make([]byte, s.to-s.from)...)
		if err := readAt(scan.file, data[fileHeaderLen:], s.from); err != nil {
			return fmt.Errorf("cannot read log file %s at byte %d: %w", listed.File, s.from, err)
		}
		rebase(data, scan.header, header)
		name := segmentName(header.base)
		if err := replaceFile(r.fs, r.dir, name, data); err != nil {
			return fmt.Errorf("cannot write log file %s: %w", name, err)
		}
		r.next.Segments = append(r.next.Segments, listedSegment{File: name, Bytes: int64(len(data)), Records: s.records})
	}
	return nil
}

// rebase has no frame say that its group began before the file does.
func rebase(data []byte, was, is fileHeader) {
	seed := is.seed()
	for at := int64(fileHeaderLen); at < int64(len(data)); {
		position := is.base + at
		h, ok := parseFrameHeader(data[at:], was, seed, position)
		if !ok {
			panic("BUG: a frame that was whole is not")
		}
		h.back = min(h.back, uint32(at-fileHeaderLen))
		h.put(data[at:], seed, position)
		at += int64(h.size())
	}
}

// putAside copies a file to the quarantine, once.
func (r *repair) putAside(name string) error {
	to := filepath.Join(r.config.Quarantine, name)
	if slices.Contains(r.Aside, to) {
		return nil
	}
	if err := disk.MakeDir(r.fs, r.config.Quarantine); err != nil {
		return fmt.Errorf("cannot make the quarantine: %w", err)
	}
	if err := copyFile(r.fs, filepath.Join(r.dir, name), to); err != nil {
		return fmt.Errorf("cannot copy %s to the quarantine: %w", name, err)
	}
	r.Aside = append(r.Aside, to)
	return r.fs.SyncDir(r.config.Quarantine)
}

// copyFile makes a durable copy.
func copyFile(fsys disk.FS, from, to string) (err error) {
	in, err := fsys.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.Size()
	if err != nil {
		return err
	}
	out, err := fsys.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-at)]
		if err := readAt(in, buf, at); err != nil {
			return err
		}
		if n, err := out.Write(buf); err != nil || n < len(buf) {
			return cmp.Or(err, io.ErrShortWrite)
		}
	}
	return out.Sync()
}

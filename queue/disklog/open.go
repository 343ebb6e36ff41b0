package disklog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"

	"millrace/disk"
	"millrace/ingest"
)

// maxFrames bounds how many frames the indexes in memory list (8 bytes each),
// beside those of the segment that is written.
const maxFrames = 4 << 20

// Open opens the log in a folder, making it when there is none, for a deployment
// of that many sacks. It reads all of it: a torn end, as a crash leaves it, is cut
// off; damage anywhere else is a DamageError. It fails with disk.ErrLocked while
// another process has the log open.
func Open(fsys disk.FS, dir string, sacks int, config Config, log *slog.Logger, meter metric.Meter) (*Log, error) {
	config, err := config.withDefaults()
	if err == nil && sacks < 1 {
		err = fmt.Errorf("%d sacks", sacks)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the log in %s: %w", dir, err)
	}
	l := &Log{
		fs: fsys, dir: dir, sacks: sacks, config: config, log: log,
		closing: make(chan struct{}), dirty: make(chan struct{}, 1),
		forgotten: make([]ingest.Offset, sacks), last: make([]ingest.Offset, sacks),
		applied: make([]ingest.Offset, sacks), wakes: make([]chan struct{}, sacks),
		tail: tail{limit: config.TailBytes, sacks: make([]tailSack, sacks)},
	}
	l.intake.init()
	l.requests.New = func() any { return &appendRequest{done: make(chan error, 1)} }
	l.scratch.New = func() any { return new(fetchScratch) }
	l.writer.log = l
	if err := l.open(meter); err != nil {
		if l.lock != nil {
			l.lock.Close()
		}
		return nil, fmt.Errorf("cannot open the log in %s: %w", dir, err)
	}
	l.stopped.Go(l.writer.run)
	l.stopped.Go(l.tidy)
	return l, nil
}

func (l *Log) open(meter metric.Meter) error {
	if err := l.fs.MkdirAll(l.dir, 0o750); err != nil {
		return err
	}
	if err := l.fs.SyncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	var err error
	if l.lock, err = l.fs.Lock(filepath.Join(l.dir, lockName)); err != nil {
		return fmt.Errorf("cannot lock it: %w", err)
	}
	m, err := l.readManifest()
	if err != nil {
		return err
	}
	if m.Sacks != l.sacks {
		return fmt.Errorf("it has %d sacks, and %d are configured: the number can't change", m.Sacks, l.sacks)
	}
	l.origin, l.forgotten = m.Origin, m.Forgotten
	copy(l.last, m.Forgotten)
	if err := l.sweep(m); err != nil {
		return err
	}
	cut := false
	for _, listed := range m.Segments {
		seg, err := l.recover(listed)
		if err != nil {
			return err
		}
		if seg != nil {
			l.adopt(seg)
		}
		cut = cut || listed.Bytes == 0
	}
	for s := range l.tail.sacks {
		l.tail.sacks[s].before = l.last[s] - 1
	}
	if cut || len(l.segments) != len(m.Segments) {
		if err := l.manifest().write(l.fs, l.dir); err != nil {
			return err
		}
	}
	l.metrics, err = newMetrics(meter, l)
	return err
}

// readManifest reads the manifest or, in an empty folder, writes the first one.
func (l *Log) readManifest() (*manifest, error) {
	m, err := readManifest(l.fs, l.dir)
	if err == nil || !isMissing(err) && !l.config.SkipMissing {
		return m, err
	}
	bases, listErr := listSegments(l.fs, l.dir)
	if listErr != nil {
		return nil, listErr
	}
	if isMissing(err) && len(bases) > 0 {
		err = &DamageError{manifestName, -1, fmt.Sprintf("it is missing, and there are %d segments", len(bases))}
	}
	fresh := &manifest{Format: formatVersion, Sacks: l.sacks, Origin: time.Now().UnixNano(), Forgotten: make([]ingest.Offset, l.sacks)}
	if len(bases) > 0 {
		if !l.config.SkipMissing {
			return nil, err
		}
		l.log.Error("making a new manifest of the log from the segments that are there", "err", err)
		fresh.Origin = bases[0] - 1
		for _, base := range bases {
			fresh.Segments = append(fresh.Segments, listedSegment{File: segmentName(base)})
		}
		return fresh, nil
	}
	return fresh, fresh.write(l.fs, l.dir)
}

// sweep removes what a crash has left between the steps of a change of the list:
// segments that it no longer, or not yet, lists.
func (l *Log) sweep(m *manifest) error {
	bases, err := listSegments(l.fs, l.dir)
	if err != nil {
		return err
	}
	newest := m.Origin
	if n := len(m.Segments); n > 0 {
		newest, _ = segmentBase(m.Segments[n-1].File)
	}
	for _, base := range bases {
		name := segmentName(base)
		if slices.ContainsFunc(m.Segments, func(s listedSegment) bool { return s.File == name }) {
			continue
		}
		if base > newest { // made and not yet listed: then nothing was appended to it
			if err := l.mustBeEmpty(name); err != nil {
				return err
			}
		}
		l.log.Info("removing a log file that is not in use", "file", name)
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
			return fmt.Errorf("cannot remove unused log file %s: %w", name, err)
		}
	}
	return nil
}

func (l *Log) mustBeEmpty(name string) error {
	file, err := l.fs.Open(filepath.Join(l.dir, name))
	if err != nil {
		return fmt.Errorf("cannot read log file %s: %w", name, err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("cannot read log file %s: %w", name, err)
	}
	if size > fileHeaderLen {
		return &DamageError{manifestName, -1, fmt.Sprintf("it is older than segment %s, which it does not list", name)}
	}
	return nil
}

// recover reads a listed segment. It returns nil for one that is to be skipped.
func (l *Log) recover(listed listedSegment) (*segment, error) {
	seg, err := l.load(listed)
	damage, ok := errors.AsType[*DamageError](err)
	if !ok || !l.config.SkipMissing {
		return seg, err
	}
	l.log.Error("going on without a segment of the log", "err", damage)
	from := filepath.Join(l.dir, listed.File)
	if err := l.fs.Rename(from, from+".damaged"); err != nil && !isMissing(err) {
		return nil, fmt.Errorf("cannot put log file %s aside: %w", listed.File, err)
	}
	return nil, nil
}

func (l *Log) load(listed listedSegment) (*segment, error) {
	open := listed.Bytes == 0
	flag, end := os.O_RDONLY, listed.Bytes
	if open {
		flag, end = os.O_RDWR, -1
	}
	file, err := l.fs.OpenFile(filepath.Join(l.dir, listed.File), flag, 0)
	if isMissing(err) {
		return nil, &DamageError{listed.File, -1, "it is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open log file %s: %w", listed.File, err)
	}
	defer file.Close()
	scan, err := newScanner(file, listed.File, end)
	if err != nil {
		return nil, err
	}
	if base, _ := segmentBase(listed.File); scan.header.base != base || scan.header.sacks != l.sacks {
		return nil, &DamageError{listed.File, 0, fmt.Sprintf("it says that it begins at %d and has %d sacks", scan.header.base, scan.header.sacks)}
	}
	seg := newSegment(listed.File, scan.header)
	group, err := l.scan(scan, seg, open)
	if err != nil {
		return nil, err
	}
	if open {
		err = l.settle(file, seg, group)
	}
	return seg, err
}

// scan reads the frames into the segment, and returns where the last group
// begins. The end of an open one may be torn.
func (l *Log) scan(scan *scanner, seg *segment, open bool) (group int64, err error) {
	group = fileHeaderLen
	for {
		f, err := scan.next()
		if errors.Is(err, io.EOF) {
			seg.size = scan.at
			return group, nil
		}
		damage, ok := errors.AsType[*DamageError](err)
		if err != nil && !ok {
			return 0, err
		}
		if ok {
			torn := false
			if open {
				if torn, err = scan.torn(); err != nil {
					return 0, err
				}
			}
			switch {
			case torn:
				l.log.Warn("cutting off the end of the log: an append that was never acknowledged", "file", scan.name,
					"at", scan.at, "bytes", scan.end-scan.at, "position", scan.header.base+scan.at)
				seg.size = scan.at
				return group, nil
			case !l.config.SkipMissing:
				return 0, damage
			}
			at := scan.at
			if err := scan.skip(); err != nil {
				return 0, err
			}
			l.log.Error("skipping a damaged part of the log", "file", scan.name, "at", at, "bytes", scan.at-at, "err", damage)
			continue
		}
		group = f.at - int64(f.back)
		seg.note(ingest.Sack(f.sack), f.at, int(f.length))
	}
}

// settle makes sure that the last group of a segment is durable. Nobody knows
// whether it was synced, and after a failed sync the memory of the operating
// system can show what the disk does not have. So it is written once more, the
// same bytes, and synced: before a reader sees what a crash could still undo.
func (l *Log) settle(file disk.File, seg *segment, group int64) error {
	b := make([]byte, seg.size-group)
	err := readAt(file, b, group)
	if err == nil && len(b) > 0 {
		_, err = file.WriteAt(b, group)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return fmt.Errorf("cannot settle the end of log file %s: %w", seg.name, err)
	}
	return nil
}

// adopt takes a segment that was read into the log. Its index stays when there is room.
func (l *Log) adopt(seg *segment) {
	l.segments = append(l.segments, seg)
	l.used += seg.size
	if l.frames+seg.index.frames > maxFrames {
		seg.index = nil
	} else {
		l.frames += seg.index.frames
	}
	for s, sum := range seg.sacks {
		if sum.records > 0 {
			l.last[s] = sum.last + 1
		}
	}
}

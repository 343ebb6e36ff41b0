package disklog

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
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
		applied: make([]ingest.Offset, sacks), wakes: make([]chan struct{}, sacks), mourned: make([]bool, sacks),
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
	err := disk.MakeDir(l.fs, l.dir)
	if err != nil {
		return err
	}
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
	if want := l.config.Deployment; want != "" && m.Deployment != want && m.Deployment != "" {
		return fmt.Errorf("it is of deployment %s, and this is deployment %s: %w", m.Deployment, want, ingest.ErrForeign)
	}
	l.id, l.deployment, l.origin, l.forgotten, l.lost = m.ID, cmp.Or(m.Deployment, l.config.Deployment), m.Origin,
		m.Forgotten, m.Lost
	copy(l.last, m.Forgotten)
	for _, s := range m.Lost {
		l.lastBase = max(l.lastBase, int64(s.To)) // new segments begin above what was given up
	}
	if err := l.sweep(m); err != nil {
		return err
	}
	for _, listed := range m.Segments { // the one to settle is the last: by then the others are known to be sound
		parts, err := l.settle(listed)
		if err != nil {
			return err
		}
		for _, part := range parts {
			seg, err := l.load(part)
			if err != nil {
				return err
			}
			l.adopt(seg)
		}
	}
	if n := len(m.Segments); n > 0 && m.Segments[n-1].Bytes == 0 {
		l.cutOff(m.Segments[n-1])
	}
	for s := range l.tail.sacks {
		l.tail.sacks[s].before = l.last[s] - 1
	}
	if now := l.manifest(); now.Deployment != m.Deployment || !slices.EqualFunc(now.Segments, m.Segments, sameExtent) {
		if err := now.write(l.rescue(), l.dir); err != nil {
			return err
		}
	}
	l.metrics, err = newMetrics(meter, l)
	return err
}

func sameExtent(a, b listedSegment) bool { return a.File == b.File && a.Bytes == b.Bytes }

// cutOff gives up what the segment that was being written may have had behind the end
// that was found. Positions there are not given away again; and a sack that has
// applied something of it goes on with what comes next.
func (l *Log) cutOff(listed listedSegment) {
	base, _ := segmentBase(listed.File)
	from := ingest.Offset(base + fileHeaderLen)
	if n := len(l.segments); n > 0 {
		from = max(from, l.segments[n-1].end())
	}
	l.lost = append(l.lost[:len(l.lost):len(l.lost)], span{from + 1, ingest.Offset(base + maxTail)})
}

// readManifest reads the manifest or, in an empty folder, writes the first one.
func (l *Log) readManifest() (*manifest, error) {
	m, err := readManifest(l.fs, l.dir)
	if err == nil {
		return m, nil
	}
	if !isMissing(err) {
		return nil, err
	}
	if l.config.MustExist {
		return nil, &DamageError{manifestName, -1,
			"it is missing, and so are all segments, but this deployment has had a log"}
	}
	fresh := newManifest(l.sacks, l.config.Deployment)
	fresh.Origin = max(fresh.Origin, int64(l.config.Above))
	return fresh, fresh.write(l.rescue(), l.dir)
}

// newManifest is that of a new log. Its positions begin above those of every log before.
func newManifest(sacks int, deployment string) *manifest {
	return &manifest{
		Format: formatVersion, ID: rand.Text(), Deployment: deployment, Sacks: sacks, Origin: time.Now().UnixNano(),
		Forgotten: make([]ingest.Offset, sacks),
	}
}

// sweep removes what a crash has left between the steps of a change: files that the
// manifest no longer, or not yet, lists.
func (l *Log) sweep(m *manifest) error {
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("cannot list the log's folder: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		base, ok := segmentBase(name)
		if !ok && !strings.HasSuffix(name, newSuffix) ||
			slices.ContainsFunc(m.Segments, func(s listedSegment) bool { return s.File == name }) {
			continue
		}
		if ok {
			if err := l.mustBeUnused(name, base, m); err != nil {
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

// mustBeUnused says whether a segment that is not listed can have been left by a
// crash. It can when it is older than one that is; when it is the copy of the end
// of the last one, which settle made; when nothing was appended to it.
func (l *Log) mustBeUnused(name string, base int64, m *manifest) error {
	end := m.Origin
	if n := len(m.Segments); n > 0 {
		last := m.Segments[n-1].File
		size, err := l.sizeOf(last)
		if err != nil && !isMissing(err) {
			return err
		}
		newest, _ := segmentBase(last)
		end = newest + size
	}
	if base < end {
		return nil
	}
	size, err := l.sizeOf(name)
	if err == nil && size > fileHeaderLen {
		err = &DamageError{manifestName, -1, fmt.Sprintf("it is older than segment %s, which it does not list", name)}
	}
	return err
}

func (l *Log) sizeOf(name string) (int64, error) {
	file, err := l.fs.Open(filepath.Join(l.dir, name))
	if err != nil {
		return 0, fmt.Errorf("cannot open log file %s: %w", name, err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return 0, fmt.Errorf("cannot read log file %s: %w", name, err)
	}
	return size, nil
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

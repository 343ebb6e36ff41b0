package disklog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"millrace/disk"
	"millrace/ingest"
	"millrace/queue"
)

// A State is what a log's manifest says of it.
type State struct {
	Log        ingest.LogID
	Deployment string // the id of the one that the log belongs to; none: it has not been told
	Sacks      int
	Used       bool // something has been appended to it
}

// Look returns the state of a log, and makes none; fs.ErrNotExist when there is none.
func Look(fsys disk.FS, dir string) (State, error) {
	m, err := readManifest(fsys, dir)
	if err != nil {
		return State{}, err
	}
	return m.state(), nil
}

func (m *manifest) state() State {
	return State{
		Log: ingest.LogID{ID: idPrefix + m.ID, Base: ingest.Offset(m.Origin)}, Deployment: m.Deployment, Sacks: m.Sacks,
		Used: len(m.Segments) > 0 || slices.Max(m.Forgotten) > 0,
	}
}

// A Report is what Verify found.
type Report struct {
	State
	Segments   int
	Records    int64
	Bytes      int64 // of segments
	Unreadable int64 // records that are whole and can't be decoded: they become dead letters
	Torn       int64 // bytes at the log's end that were never acknowledged, or are just being written

	places places
}

// places is where a log has records.
type places struct {
	manifest *manifest
	segments []*segment
	lost     []span
}

// GoesOnAt says why the log does not go on where a sack was applied up to a watermark,
// as ErrGone; nil when it does.
func (r *Report) GoesOnAt(sack ingest.Sack, at ingest.Offset) error {
	p := &r.places
	if p.manifest == nil {
		return nil
	}
	_, err := checkPlace(at, p.manifest.Forgotten[sack], ingest.Offset(p.manifest.Origin), p.segments, p.lost)
	return err
}

// Verify reads all of a log and checks it, without changing or locking anything:
// it may be in use. The error joins everything that is wrong, as DamageErrors;
// the report counts what is sound.
func Verify(ctx context.Context, fsys disk.FS, dir string) (Report, error) {
	m, err := readManifest(fsys, dir)
	if err != nil {
		return Report{}, err
	}
	v := verifier{fs: fsys, dir: dir}
	v.State = m.state()
	v.places.manifest, v.places.lost = m, slices.Clone(m.Lost)
	var errs []error
	for _, listed := range m.Segments {
		err := v.segment(ctx, listed)
		if isMissing(err) {
			now, again := readManifest(fsys, dir)
			if again == nil && !slices.ContainsFunc(now.Segments, func(s listedSegment) bool { return s.File == listed.File }) {
				continue // it was applied and removed while we were looking
			}
			err = &DamageError{listed.File, -1, "it is missing"}
		}
		if ctx.Err() != nil {
			return v.Report, ctx.Err()
		}
		errs = append(errs, err)
	}
	return v.Report, errors.Join(errs...)
}

type verifier struct {
	Report
	fs      disk.FS
	dir     string
	decoder queue.Decoder
	records ingest.Deliveries
}

func (v *verifier) segment(ctx context.Context, listed listedSegment) error {
	file, err := v.fs.Open(filepath.Join(v.dir, listed.File))
	if err != nil {
		return fmt.Errorf("cannot open log file %s: %w", listed.File, err)
	}
	defer file.Close()
	end := listed.Bytes
	if end == 0 {
		end = -1
	}
	scan, err := newScanner(file, listed.File, v.Sacks, end)
	if err != nil {
		return err
	}
	v.Segments++
	seg := &segment{name: listed.File, header: scan.header}
	v.places.segments = append(v.places.segments, seg)
	defer func() {
		v.Bytes += scan.at
		seg.size = scan.at
		if listed.Bytes == 0 { // the next start cuts it off there
			v.places.lost = append(v.places.lost, span{seg.end() + 1, seg.base() + maxTail})
		}
	}()
	for ctx.Err() == nil {
		f, err := scan.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if torn, seekErr := scan.torn(); listed.Bytes == 0 && seekErr == nil && torn {
				v.Torn += scan.end - scan.at
				return nil
			}
			return err
		}
		v.Records++
		v.records.Reset()
		if v.decoder.Decode(&v.records, scan.position(f), f.payload) != nil {
			v.Unreadable++
		}
	}
	return nil
}

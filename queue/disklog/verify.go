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

// A Report is what Verify found.
type Report struct {
	Sacks      int
	Segments   int
	Records    int64
	Bytes      int64 // of segments
	Unreadable int64 // records that are whole and can't be decoded: they become dead letters
	Torn       int64 // bytes at the log's end that were never acknowledged, or are just being written
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
	v.Sacks = m.Sacks
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
	defer func() { v.Bytes += scan.at }()
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

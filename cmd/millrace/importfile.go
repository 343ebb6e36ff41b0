package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// hopelessRows is how many rows are looked at of a file in which none makes sense.
const hopelessRows = 100

// A fileRun is the import of one file.
type fileRun struct {
	*importer
	rows     *csvFile
	progress *fileImport
	before   int64 // bytes of the files before this one

	hopeful bool     // a row has made sense, in this run or an earlier one
	held    []csvRow // refused before that: none is told if nothing follows
	refused int64    // rows since the last batch
}

// file imports one file from where an earlier run has come to. The files before it
// have so many bytes. A file in which nothing fits is told, and is no error.
func (im *importer) file(ctx context.Context, f importFile, before int64) error {
	err := im.readFile(ctx, f, before)
	if hopeless, ok := errors.AsType[*hopelessError](err); ok {
		if im.hopelessFiles++; im.hopelessFiles <= maxComplaints {
			fmt.Fprintln(im.errOut, hopeless)
		}
		return nil
	}
	return err
}

func (im *importer) readFile(ctx context.Context, f importFile, before int64) error {
	rows, err := openCSV(f.path, f.name, im.options.csv, time.Now())
	if err != nil {
		return err
	}
	defer rows.close()
	r := &fileRun{importer: im, rows: rows, progress: im.state.file(f.path), before: before}
	r.hopeful = r.progress.Accepted+r.progress.Refused > 0
	if r.progress.Bytes > 0 {
		if err := rows.resume(r.progress); err != nil {
			return err
		}
		// A metric that is gone is an error even if nothing new is there to be sent.
		if im.options.csv.metric == "" && r.progress.Accepted > 0 {
			if err := im.prepare(ctx, []target{{metric: f.name}}); err != nil {
				return err
			}
		}
	}
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return r.finish(ctx)
		}
		if err != nil {
			return err
		}
		if err := r.row(ctx, row); err != nil {
			return err
		}
	}
}

// row adds a row to the batch, and sends that when it is full.
func (r *fileRun) row(ctx context.Context, row csvRow) error {
	switch {
	case row.refusal == nil:
		r.hopeful = true
		r.tell()
		if r.add(row); r.filled >= r.options.batch {
			return r.flush(ctx)
		}
		return nil
	case r.hopeful:
		r.held = append(r.held, row)
		r.tell()
		return nil
	}
	if r.held = append(r.held, row); len(r.held) == hopelessRows {
		return r.hopeless("first ")
	}
	return nil
}

// tell complains about the rows that were refused and not yet told.
func (r *fileRun) tell() {
	for _, row := range r.held {
		r.complain("%s:%d: %v", r.rows.path, row.line, row.refusal)
	}
	r.refused += int64(len(r.held))
	r.held = r.held[:0]
}

// hopeless is the error of a file of which no row makes sense.
func (r *fileRun) hopeless(which string) error {
	first := r.held[0]
	reason := fmt.Sprintf("%v. None of the %s%d rows makes sense: %s", first.refusal, which, len(r.held),
		r.rows.expected())
	return &hopelessError{path: r.rows.path, line: first.line, reason: reason}
}

// finish sends what is left when the file's end has been reached.
func (r *fileRun) finish(ctx context.Context) error {
	if len(r.held) > 0 {
		return r.hopeless("")
	}
	if err := r.flush(ctx); err != nil || !r.rows.unfinished {
		return err
	}
	if text := r.rows.text; text.cut {
		fmt.Fprintf(r.errOut, "%s: the %s data ends in its midst: what follows line %d waits for the next run\n",
			r.rows.path, text.packing, text.line)
	} else {
		fmt.Fprintf(r.errOut, "%s:%d: the last line has no line end: it waits for the next run (--whole takes it)\n",
			r.rows.path, text.line+1)
	}
	return nil
}

// flush sends the batch, and remembers how far the file has been read.
func (r *fileRun) flush(ctx context.Context) error {
	accepted, left, err := r.send(ctx)
	if err != nil {
		return fmt.Errorf("%s, line %d and before: %w", r.rows.path, r.rows.text.line, err)
	}
	r.bar.Set64(r.before + r.rows.text.read())
	r.progress.Accepted += accepted
	r.progress.Refused += left + r.refused
	r.refused = 0
	r.rows.progress(r.progress)
	return r.state.save()
}

package carbonara

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"millrace/ingest"
)

// A Report is what Check found out about one sack.
type Report struct {
	Sack     ingest.Sack
	Applied  ingest.Offset
	Segments int
	Rows     int64
	Bytes    int64
	Orphans  int     // objects that nothing names, left by a crash; they are collected in time
	Problems []error // each names the object
}

// Check reads and verifies every segment of a deployment and calls report for
// every sack, in order. It changes nothing, and needs no open sack. The number of
// sacks is the stored layout's.
func Check(ctx context.Context, store Store, report func(Report)) error {
	got, err := store.Read(ctx, layoutName, nil)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", layoutName, err)
	}
	var l layout
	if err := json.Unmarshal(got.Data[0], &l); err != nil {
		return fmt.Errorf("%s is damaged: %w", layoutName, err)
	}
	if l.Format != layoutVersion {
		return fmt.Errorf("the storage has format %d, this program knows %d", l.Format, layoutVersion)
	}
	for sack := range ingest.Sack(l.Sacks) {
		r, err := checkSack(ctx, store, sack)
		if err != nil {
			return err
		}
		report(r)
	}
	return nil
}

// checkSack returns an error only when ctx ends; everything else is a problem.
func checkSack(ctx context.Context, store Store, sack ingest.Sack) (Report, error) {
	r := Report{Sack: sack}
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Errorf(format, args...)) }
	m, _, err := readManifest(ctx, store, sack)
	if err != nil {
		problem("%w", err)
		return r, ctx.Err()
	}
	r.Applied = m.Applied
	named := make(map[string]bool)
	for _, g := range m.Garbage {
		named[g.Name] = true
	}
	covered := ingest.Offset(0)
	for _, s := range m.Segments {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if named[s.Name] {
			problem("%s names segment %s twice", manifestName(sack), s.Name)
		}
		named[s.Name] = true
		r.Segments++
		r.Rows += s.Rows
		r.Bytes += s.Bytes
		name := sackPrefix(sack) + s.Name
		if s.From > s.To || s.To > m.Applied {
			problem("%s covers the offsets %d to %d, and the sack has been applied up to %d", name, s.From, s.To, m.Applied)
		}
		if s.Kind == kindRaw {
			if s.From < covered && s.To != covered {
				problem("%s covers the offsets %d to %d, of which the segment before it holds a part", name, s.From, s.To)
			}
			covered = s.To
		}
		f, err := openSegment(ctx, store, name, s.Bytes)
		if errors.Is(err, ErrNotFound) {
			problem("%s is missing: %s names it", name, manifestName(sack))
			continue
		}
		if err == nil {
			err = f.verify(ctx, s)
		}
		if err != nil {
			problem("%w", err)
		}
	}
	objects, err := store.List(ctx, sackPrefix(sack))
	if err != nil {
		problem("cannot list sack %d: %w", sack, err)
	}
	for _, o := range objects {
		if name := strings.TrimPrefix(o.Name, sackPrefix(sack)); strings.HasSuffix(name, ".parquet") && !named[name] {
			r.Orphans++
		}
	}
	return r, ctx.Err()
}

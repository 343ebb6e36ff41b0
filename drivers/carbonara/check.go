package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A Report is what Check found out about one sack.
type Report struct {
	Sack     ingest.Sack
	Applied  ingest.Watermark
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
	l, err := ReadLayout(ctx, store)
	if err != nil {
		return err
	}
	for sack := range ingest.Sack(l.Sacks) {
		r, err := checkSack(ctx, store, sack, l.Deployment)
		if err != nil {
			return err
		}
		report(r)
	}
	return nil
}

// checkSack returns an error only when ctx ends; everything else is a problem.
func checkSack(ctx context.Context, store Store, sack ingest.Sack, deployment string) (Report, error) {
	r := Report{Sack: sack}
	m, _, err := readManifest(ctx, store, sack, "")
	if err != nil {
		r.Problems = append(r.Problems, err)
		return r, ctx.Err()
	}
	r.Applied = m.Applied
	r.Problems = m.problems(sack)
	if m.Deployment != deployment {
		r.Problems = append(r.Problems, fmt.Errorf("%s is of deployment %s, and %s says %s", manifestName(sack),
			m.Deployment, layoutName, deployment))
	}
	if m.unknown != nil {
		r.Problems = append(r.Problems, fmt.Errorf("%s: %w", manifestName(sack), m.unknown))
	}
	for _, s := range m.Segments {
		r.Segments++
		r.Rows += s.Rows
		r.Bytes += s.Bytes
		err := checkSegment(ctx, store, sack, s)
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if err != nil && stillNamed(ctx, store, sack, s) {
			r.Problems = append(r.Problems, err)
		}
	}
	objects, err := store.List(ctx, sackPrefix(sack))
	if err != nil {
		r.Problems = append(r.Problems, fmt.Errorf("cannot list sack %d: %w", sack, err))
	}
	named := m.names()
	for _, o := range objects {
		if name := strings.TrimPrefix(o.Name, sackPrefix(sack)); strings.HasSuffix(name, segmentSuffix) && !named[name] {
			r.Orphans++
		}
	}
	return r, ctx.Err()
}

// checkSegment verifies a segment against its description.
func checkSegment(ctx context.Context, store Store, sack ingest.Sack, s entry) error {
	name := sackPrefix(sack) + s.Name
	f, err := segment.Open(ctx, source{store}, name, s.Bytes)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%s is missing: %s names it", name, manifestName(sack))
	}
	if err != nil {
		return err
	}
	return f.Verify(ctx, s.Info)
}

// stillNamed says whether a segment is live still: one that isn't may have been
// replaced and deleted since the manifest was read.
func stillNamed(ctx context.Context, store Store, sack ingest.Sack, s entry) bool {
	m, _, err := readManifest(ctx, store, sack, "")
	return err != nil || slices.ContainsFunc(m.Segments, func(other entry) bool { return other.Name == s.Name })
}

// problems lists what is wrong with a manifest by itself.
func (m *manifest) problems(sack ingest.Sack) (list []error) {
	problem := func(format string, args ...any) { list = append(list, fmt.Errorf(format, args...)) }
	seen := make(map[string]bool)
	for _, g := range m.Garbage {
		seen[g.Name] = true
	}
	for _, s := range m.Segments {
		name := sackPrefix(sack) + s.Name
		if seen[s.Name] {
			problem("%s names segment %s twice", manifestName(sack), s.Name)
		}
		seen[s.Name] = true
		if s.From > s.To || s.To > m.Applied.Offset {
			problem("%s covers the offsets %d to %d, and the sack has been applied up to %d", name, s.From, s.To,
				m.Applied.Offset)
		}
	}
	covered := ingest.Offset(0)
	for _, run := range runsOf(m.of(segment.Raw)) {
		for _, s := range run {
			if s.From < covered || s.From != run[0].From || s.To != run[0].To {
				problem("%s%s covers the offsets %d to %d, of which the segment before it holds a part", sackPrefix(sack), s.Name,
					s.From, s.To)
			}
		}
		covered = run[0].To
	}
	return list
}

// names is every segment that a manifest names, live or garbage.
func (m *manifest) names() map[string]bool {
	names := make(map[string]bool, len(m.Segments)+len(m.Garbage))
	for _, s := range m.Segments {
		names[s.Name] = true
	}
	for _, g := range m.Garbage {
		names[g.Name] = true
	}
	return names
}

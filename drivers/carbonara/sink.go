package carbonara

import (
	"context"
	"fmt"
	"slices"

	"millrace/drivers/carbonara/segment"
)

// A sink writes segments of one run: as many as the store's largest object asks for.
type sink struct {
	w        *writer
	enc      segment.Writer
	template entry // Kind, From, To, Level and Run of each
	most     int64
	claimed  []Addition // what has been put, or may have been
	segments []entry
}

// newSink returns a sink that uses a writer of the template's kind.
func (w *writer) newSink(enc segment.Writer, template entry) *sink {
	return &sink{w: w, enc: enc, template: template, most: w.driver.store.Traits().MaxObject * 9 / 10}
}

// chunk is how many rows may be added before the segment's size is looked at, when
// a row has so many columns.
func (s *sink) chunk(columns int) int {
	return int(max(1, s.most/16/8/int64(columns)))
}

func (s *sink) addRaw(ctx context.Context, run segment.RawRun) error {
	for measures := range slices.Chunk(run.Measures, s.chunk(4)) {
		s.enc.(*segment.RawWriter).Add(segment.RawRun{Metric: run.Metric, Policy: run.Policy, Measures: measures})
		if err := s.roll(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) addSealed(ctx context.Context, run segment.SealedRun) error {
	for n := s.chunk(4 + len(run.Values)); len(run.Times) > n; {
		var first segment.SealedRun
		first, run = run.Cut(n)
		s.enc.(*segment.SealedWriter).Add(first)
		if err := s.roll(ctx); err != nil {
			return err
		}
	}
	s.enc.(*segment.SealedWriter).Add(run)
	return s.roll(ctx)
}

func (s *sink) addState(ctx context.Context, row segment.StateRow) error {
	s.enc.(*segment.StateWriter).Add(row)
	return s.roll(ctx)
}

// roll starts a new segment when the present one is large enough.
func (s *sink) roll(ctx context.Context) error {
	if s.enc.Size() < s.most {
		return nil
	}
	return s.put(ctx)
}

func (s *sink) put(ctx context.Context) error {
	store, err := s.finish()
	if err != nil {
		return err
	}
	return store(ctx)
}

// finish ends the present segment and returns what puts it, which may be called beside
// other sinks' work.
func (s *sink) finish() (store func(ctx context.Context) error, err error) {
	data, info, err := s.enc.Finish()
	if err != nil {
		return nil, err
	}
	seg := s.template
	seg.Name, seg.Info = newName(s.w.driver.config.Now(), seg.From, seg.To), info
	s.claimed = append(s.claimed, Addition{sackPrefix(s.w.sack) + seg.Name, seg.Bytes})
	s.w.claim(seg.Name)
	s.segments = append(s.segments, seg)
	return func(ctx context.Context) error {
		name := sackPrefix(s.w.sack) + seg.Name
		if err := s.w.driver.store.Put(ctx, name, data); err != nil {
			return fmt.Errorf("cannot put segment %s of %d rows: %w", seg.Name, seg.Rows, err)
		}
		s.w.driver.files.keep(name, data)
		return nil
	}, nil
}

// close writes the last segment; one without rows only if that is asked for and
// there is no other.
func (s *sink) close(ctx context.Context, evenEmpty bool) error {
	if s.enc.Rows() == 0 && (!evenEmpty || len(s.segments) > 0) {
		if _, _, err := s.enc.Finish(); err != nil {
			return err
		}
	} else if err := s.put(ctx); err != nil {
		return err
	}
	if len(s.segments) > 1 && s.template.Run == "" {
		for i := range s.segments {
			s.segments[i].Run = s.segments[0].Name
		}
	}
	return nil
}

// drop gives up what has been put and will never be named: not what a swap names whose
// outcome is unknown.
func (s *sink) drop() { s.w.abandon(s.claimed) }

package carbonara

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

// A damagedTest is a sack of two metrics that share no segment, read by a process that
// has written none of it.
func damagedTest(t *testing.T) (s *sackTest, ids [2]ingest.MetricID, reader *Driver) {
	t.Helper()
	s = newSackTest(t, nil, Config{})
	for i := range ids {
		ids[i] = ingest.NewMetricID()
		s.measure(ids[i], 1000, 1)
		s.flush()
	}
	reader, err := New(t.Context(), s.store, somePolicies(), 1, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s, ids, reader
}

func readCount(t *testing.T, d *Driver, id ingest.MetricID) (int, error) {
	t.Helper()
	rows := make([][]ingest.Measure, 1)
	q := ingest.Query{Metric: id, Policy: somePolicies()["two"], Granularity: time.Minute, Method: ingest.Count,
		From: ingest.MinTime, To: ingest.MaxTime}
	_, err := d.Read(t.Context(), []ingest.Query{q}, rows, nil)
	return len(rows[0]), err
}

// What is damaged is told as such, with its name, and harms nobody else.
func TestDamageFoundByReading(t *testing.T) {
	for what, harm := range map[string]func(s *sackTest, name string){
		"a flipped byte":   func(s *sackTest, name string) { s.store.objects[name].data[20] ^= 1 },
		"a flipped footer": func(s *sackTest, name string) { d := s.store.objects[name].data; d[len(d)-40] ^= 1 },
		"cut short": func(s *sackTest, name string) {
			o := s.store.objects[name]
			o.data = o.data[:len(o.data)-1]
			s.store.objects[name] = o
		},
		"missing": func(s *sackTest, name string) { delete(s.store.objects, name) },
	} {
		t.Run(what, func(t *testing.T) {
			s, ids, reader := damagedTest(t)
			name := "sack/0/" + s.manifest().Segments[0].Name
			harm(s, name)
			_, err := readCount(t, reader, ids[0])
			if !errors.Is(err, ingest.ErrCorrupted) || !ingest.IsPermanent(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("the harmed metric: %v; want ErrCorrupted and the name", err)
			}
			if n, err := readCount(t, reader, ids[1]); n != 1 || err != nil {
				t.Errorf("its neighbour: %d rows, %v", n, err)
			}
			if list := reader.Damages(); len(list) != 1 || !strings.HasPrefix(name, list[0].Name) ||
				reader.Stats().Damaged != 1 {
				t.Errorf("damages: %+v", list)
			}
		})
	}
}

// A damaged manifest is told as such.
func TestDamagedManifest(t *testing.T) {
	s, ids, reader := damagedTest(t)
	s.store.objects[manifestName(0)].data[30] ^= 1
	if _, err := readCount(t, reader, ids[0]); !errors.Is(err, ingest.ErrCorrupted) ||
		!strings.Contains(err.Error(), manifestName(0)) {
		t.Errorf("read: %v", err)
	}
	if list := reader.Damages(); len(list) != 1 || list[0].Name != manifestName(0) {
		t.Errorf("damages: %+v", list)
	}
}

// A flippingStore damages the answers to some reads, on the way.
type flippingStore struct {
	*memoryStore
	flips int
	err   error
}

func (s *flippingStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	c, err := s.memoryStore.Read(ctx, name, unless, ranges)
	if s.flips > 0 && err == nil {
		s.flips--
		if s.err != nil {
			return Contents{}, s.err
		}
		c.Data[0][len(c.Data[0])/2] ^= 1
	}
	return c, err
}

// What was damaged on its way only is read again; and a store that doesn't answer is
// not taken for damage.
func TestDamagedOnTheWay(t *testing.T) {
	s, ids, _ := damagedTest(t)
	flipping := &flippingStore{memoryStore: s.store}
	reader, err := New(t.Context(), flipping, somePolicies(), 1, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for flips := range stateTries {
		flipping.flips = flips
		if n, err := readCount(t, reader, ids[0]); n != 1 || err != nil {
			t.Errorf("%d flips: %d rows, %v", flips, n, err)
		}
		reader.files.forget([]string{"sack/0/" + s.manifest().Segments[0].Name})
		reader.views[0].last = nil
	}
	flipping.flips, flipping.err = 100, errors.New("no answer")
	if _, err := readCount(t, reader, ids[0]); err == nil || ingest.IsPermanent(err) {
		t.Errorf("a store that doesn't answer: %v", err)
	}
	if list := reader.Damages(); len(list) > 0 {
		t.Errorf("damages: %+v", list)
	}
}

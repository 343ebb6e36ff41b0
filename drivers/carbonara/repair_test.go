package carbonara

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A repairTest is a sack that something happens to, beside one that nothing happens to.
type repairTest struct {
	t     *testing.T
	twins [2]*sackTest // the second is harmed
	ids   []ingest.MetricID
	clock int64
}

func newRepairTest(t *testing.T) *repairTest {
	r := &repairTest{t: t, clock: 1000}
	for i := range r.twins {
		r.twins[i] = newSackTest(t, nil, Config{SealRows: 40, MergeWidth: 3})
	}
	for range 5 {
		r.ids = append(r.ids, ingest.NewMetricID())
	}
	r.live(40)
	return r
}

// live writes measures, some of them late, and does the housekeeping.
func (r *repairTest) live(rounds int) {
	for range rounds {
		for i, id := range r.ids {
			for _, s := range r.twins {
				s.measure(id, r.clock+int64(i), float64(r.clock%17))
				if r.clock%70 == 0 {
					s.measure(id, r.clock-500, 1) // too late
					s.measure(id, r.clock-20, 3)
				}
			}
		}
		for _, s := range r.twins {
			s.flush()
			s.maintain()
		}
		r.clock += 10
	}
}

func (r *repairTest) answers(s *sackTest) (all [][]ingest.Measure) {
	p := somePolicies()["two"]
	for _, id := range r.ids {
		for _, def := range p.Definitions {
			for _, m := range p.Methods.List() {
				all = append(all, s.read(ingest.Query{Metric: id, Policy: p, Granularity: def.Granularity, Method: m,
					From: ingest.MinTime, To: ingest.MaxTime}))
			}
		}
	}
	return all
}

// repair lets a new process repair the harmed sack and open it.
func (r *repairTest) repair() (did []Repaired) {
	r.t.Helper()
	s := r.twins[1]
	s.writer.Close()
	if err := Repair(r.t.Context(), s.store, 1, func(d Repaired) { did = append(did, d) }); err != nil {
		r.t.Fatal(err)
	}
	if got := problems(r.t, s.store); got != "" {
		r.t.Errorf("after the repair: %s", got)
	}
	var again []Repaired
	if err := Repair(r.t.Context(), s.store, 1, func(d Repaired) { again = append(again, d) }); err != nil ||
		len(again) > 0 {
		r.t.Errorf("a second repair: %+v, %v", again, err)
	}
	var err error
	if s.driver, err = New(r.t.Context(), s.store, somePolicies(), 1, s.driver.config); err != nil {
		r.t.Fatal(err)
	}
	before := s.offset
	s.open()
	if s.offset > before || s.offset < before-1 {
		r.t.Errorf("the sack opens at %d, and was flushed up to %d", s.offset, before)
	}
	s.offset = before
	return did
}

func (r *repairTest) same(when string) {
	r.t.Helper()
	if diff := cmp.Diff(r.answers(r.twins[0]), r.answers(r.twins[1])); diff != "" {
		r.t.Errorf("%s (-unharmed +repaired):\n%s", when, diff)
	}
}

// What can be made again of what is left reads as before, and goes on as before.
func TestRepairLosesNothing(t *testing.T) {
	for what, harm := range map[string]func(s *memoryStore, m *manifest){
		"the manifest is lost":    func(s *memoryStore, m *manifest) { delete(s.objects, manifestName(0)) },
		"the manifest is damaged": func(s *memoryStore, m *manifest) { s.objects[manifestName(0)].data[100] ^= 1 },
		"the state is lost": func(s *memoryStore, m *manifest) {
			delete(s.objects,
				sackPrefix(0)+m.of(segment.State)[0].Name)
		},
		"the state is damaged": func(s *memoryStore,
			m *manifest) {
			s.objects[sackPrefix(0)+m.of(segment.State)[0].Name].data[30] ^= 1
		},
		"the layout is lost":    func(s *memoryStore, m *manifest) { delete(s.objects, layoutName) },
		"the layout is damaged": func(s *memoryStore, m *manifest) { s.objects[layoutName].data[3] ^= 1 },
		"the manifest and state are lost": func(s *memoryStore, m *manifest) {
			delete(s.objects, manifestName(0))
			delete(s.objects, sackPrefix(0)+m.of(segment.State)[0].Name)
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRepairTest(t)
			m := r.twins[1].manifest()
			if len(m.of(segment.Sealed)) == 0 || len(m.of(segment.Raw)) == 0 || len(m.of(segment.State)) != 1 ||
				len(m.Garbage) == 0 {
				t.Fatalf("%+v", m)
			}
			harm(r.twins[1].store, m)
			did := r.repair()
			if len(did) != 1 || len(did[0].Did) == 0 {
				t.Errorf("%+v", did)
			}
			for _, d := range did {
				for _, lost := range d.Lost {
					if !strings.Contains(lost, "deleted lately") {
						t.Errorf("lost: %s", lost)
					}
				}
			}
			r.same("after the repair")
			r.live(30)
			r.same("later")
		})
	}
}

// What is lost is said, and it is nothing else.
func TestRepairSaysWhatIsLost(t *testing.T) {
	for _, kind := range []segment.Kind{segment.Raw, segment.Sealed} {
		for _, lost := range []bool{true, false} {
			r := newRepairTest(t)
			s := r.twins[1]
			other := ingest.NewMetricID() // in the last segment alone
			s.measure(other, r.clock, 1)
			s.flush()
			m := s.manifest()
			victim := m.of(kind)[0]
			name := sackPrefix(0) + victim.Name
			if lost {
				delete(s.store.objects, name)
			} else {
				s.store.objects[name].data[20] ^= 1
			}
			did := r.repair()
			if len(did) != 1 || len(did[0].Lost) != 1 || !strings.Contains(did[0].Lost[0], name) ||
				!strings.Contains(did[0].Lost[0], string(kind)+" rows") {
				t.Errorf("%s: %+v", kind, did)
			}
			if _, ok := s.store.objects[quarantine+name]; ok == lost {
				t.Errorf("%s: in quarantine: %v", kind, ok)
			}
			if rows := s.counts(other, time.Minute); len(rows) != 1 {
				t.Errorf("%s: the other metric: %v", kind, rows)
			}
			now := s.manifest()
			if slices.ContainsFunc(now.Segments, func(e entry) bool { return e.Name == victim.Name }) || now.Epoch <= m.Epoch {
				t.Errorf("%s: epoch %d, was %d", kind, now.Epoch, m.Epoch)
			}
			r.twins[1].measure(other, r.clock+60, 1)
			r.twins[1].flush()
			r.twins[1].maintain()
			if rows := s.counts(other, time.Minute); len(rows) != 2 {
				t.Errorf("%s: the other metric later: %v", kind, rows)
			}
		}
	}
}

// What was written by a newer version isn't touched, and nothing is done to what is sound.
func TestRepairLeavesAlone(t *testing.T) {
	s := newSackTest(t, nil, Config{})
	s.measure(ingest.NewMetricID(), 1000, 1)
	s.flush()
	o := s.store.objects[manifestName(0)]
	newer := checksummed([]byte(strings.Replace(string(o.data[:len(o.data)-checksumLength-1]), `{"format":2`,
		`{"format":3`, 1) + "}"))
	s.store.objects[manifestName(0)] = memoryObject{data: newer, version: "newer"}
	if err := Repair(t.Context(), s.store, 1, func(d Repaired) { t.Errorf("%+v", d) }); err == nil {
		t.Error("a newer manifest is repaired")
	}
	if string(s.store.objects[manifestName(0)].data) != string(newer) {
		t.Error("a newer manifest is changed")
	}
}

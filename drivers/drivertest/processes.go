package drivertest

import (
	"testing"
	"time"

	"millrace/ingest"
)

// severalProcesses shows several drivers over one back-end.
func (s *suite) severalProcesses(t *testing.T) {
	t.Run("one writes, another reads", s.otherReads)
	t.Run("one takes over from another", s.takeOver)
}

// processes opens n drivers; the first is the trial's.
func (s *suite) startProcesses(t *testing.T, n int, list ...ingest.ArchivePolicy) (*trial, []ingest.Driver) {
	t.Helper()
	policies := newPolicies(list)
	next := s.processes(t, policies)
	var drivers []ingest.Driver
	for range n {
		driver := next()
		t.Cleanup(func() {
			if err := driver.Close(); err != nil {
				t.Errorf("cannot close a driver: %v", err)
			}
		})
		drivers = append(drivers, driver)
	}
	return &trial{suite: s, t: t, policies: policies, driver: drivers[0], oracle: s.newOracle(policies)}, drivers
}

// in does something with another driver in place of the history's.
func (h *history) in(driver ingest.Driver, do func()) {
	mine := *h.trial
	mine.driver = driver
	before := h.trial
	h.trial = &mine
	defer func() { h.trial = before }()
	do()
}

func (s *suite) otherReads(t *testing.T) {
	p := profiles()[4]
	tr, drivers := s.startProcesses(t, 2, p.policies...)
	h := tr.history(5)
	h.populate(p)
	for range s.length(60) {
		h.writeRandom(p)
		h.deliverSome()
		h.flush()
		h.in(drivers[1], func() { h.checkSome(0.1) }) // at once
		if h.rand.IntN(3) == 0 {
			h.maintain(1 + h.rand.IntN(settled))
			h.in(drivers[1], func() { h.checkSome(0.1) })
		}
	}
	h.in(drivers[1], func() { h.check() })
}

func (s *suite) takeOver(t *testing.T) {
	tr, drivers := s.startProcesses(t, 3, simple())
	h := tr.history(5)
	m := h.metric("simple")
	for i := range s.length(30) {
		h.measure(m, at(time.Duration(i)*20*time.Minute, float64(i)), at(time.Duration(i)*time.Minute, 1))
		h.apply()
		h.flush()
		h.maintain(1)
		h.measure(m, at(time.Duration(i)*20*time.Minute+time.Second, float64(i)))
		h.apply()
		old := h.writer
		h.in(drivers[(i+1)%3], func() {
			h.open(2)
			h.wantFenced(old)
			if err := old.Close(); err != nil {
				h.fatalf("cannot close a fenced writer: %v", err)
			}
			h.apply()
			h.flush()
			h.maintain(2)
		})
		for _, driver := range drivers {
			h.in(driver, func() { h.check() })
		}
	}
}

// Package drivertest is what a driver promises, as a suite: every driver on every
// store passes Run, and RunWithFaults where faults can be injected beneath it.
//
// The suite writes a log of records, delivers it as a worker would (in pieces,
// again, to a new owner), and compares what the driver answers with package naive,
// which is given exactly the records before the watermark that the driver reported:
// bit for bit, but for the last bits of percentiles.
//
// Random histories come from one seed, which a failure reports;
// MILLRACE_TEST_SEED=<seed> repeats it.
//
// Where to read: contract.go says what Apply, Flush, Open and Close promise,
// meaning.go what measures come to, as short stories; random.go runs long ones,
// of the policies in profiles.go; faults.go breaks what is below. A [trial] is one
// driver beside its oracle, a history (history.go) one sack of it.
package drivertest

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// Sacks is how many sacks the drivers under test have. (More than ten, so that a
// prefix of a name may be the name of another.)
const Sacks = 12

// An Opener returns a driver over a back-end that nobody else uses and that holds
// nothing. The suite closes it; what is beneath it is the Opener's to clean up.
type Opener func(t *testing.T, policies ingest.Policies) ingest.Driver

// An Option states how a back-end differs. Each has a subtest of its own, in place
// of the one that shows the rule.
type Option func(*settings)

type settings struct {
	processes   func(t *testing.T, policies ingest.Policies) func() ingest.Driver
	lateKept    bool
	expiredKept bool
	tornFlushes bool
	unfenced    bool
	shorter     int
	patience    int // how often a call that failed is tried again; 0: it must not fail
}

// Processes makes the suite test several drivers over one back-end, as several
// processes are. Start prepares an empty back-end and returns a function that opens
// one more driver over it.
func Processes(start func(t *testing.T, policies ingest.Policies) func() ingest.Driver) Option {
	return func(s *settings) { s.processes = start }
}

// LateKept says that the back-end records measures however late they come.
func LateKept() Option { return func(s *settings) { s.lateKept = true } }

// ExpiredKept says that the back-end keeps what has expired: a longer timespan
// brings it back.
func ExpiredKept() Option { return func(s *settings) { s.expiredKept = true } }

// TornFlushes says that readers may see a part of what a flush writes before it is
// done.
func TornFlushes() Option { return func(s *settings) { s.tornFlushes = true } }

// Unfenced says that an earlier owner of a sack may go on flushing, and that this does
// no harm: what it writes is what the log has.
func Unfenced() Option { return func(s *settings) { s.unfenced = true } }

// Shorter divides the length of random histories, for back-ends that are slow to ask.
func Shorter(by int) Option { return func(s *settings) { s.shorter = by } }

// Run holds a driver to everything that ingest.Driver promises.
func Run(t *testing.T, open Opener, options ...Option) {
	s := newSuite(t, open, options)
	t.Run("Contract", s.contract)
	t.Run("Meaning", s.meaning)
	t.Run("Random", s.random)
	t.Run("InPieces", s.inPieces)
	t.Run("Positions", s.positions)
	t.Run("Concurrent", s.concurrent)
	if s.processes != nil {
		t.Run("Processes", s.severalProcesses)
	}
}

type suite struct {
	settings
	open Opener
	seed uint64
}

func newSuite(t *testing.T, open Opener, options []Option) *suite {
	s := &suite{open: open, seed: rand.Uint64(), settings: settings{shorter: 1}}
	if text := os.Getenv("MILLRACE_TEST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("MILLRACE_TEST_SEED is not a number: %v", err)
		}
		s.seed = seed
	}
	t.Logf("MILLRACE_TEST_SEED=%d repeats this run", s.seed)
	for _, option := range options {
		option(&s.settings)
	}
	if testing.Short() {
		s.shorter *= 4
	}
	return s
}

// random numbers of a test depend on the seed and on the test's name, so that it
// can be repeated alone.
func (s *suite) randomFor(t *testing.T) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// length scales the length of a random history.
func (s *suite) length(n int) int { return max(1, n/s.shorter) }

// A trial is one driver beside its oracle.
type trial struct {
	*suite
	t        *testing.T
	policies *policies
	driver   ingest.Driver
	oracle   *naive.Driver
}

// start opens a driver for one test, with the policies given.
func (s *suite) start(t *testing.T, list ...ingest.ArchivePolicy) *trial {
	t.Helper()
	policies := newPolicies(list)
	driver := s.open(t, policies)
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Errorf("cannot close the driver: %v", err)
		}
	})
	return &trial{suite: s, t: t, policies: policies, driver: driver, oracle: s.newOracle(policies)}
}

func (s *suite) newOracle(p *policies) *naive.Driver {
	if s.lateKept {
		return naive.New(endless{p})
	}
	return naive.New(p)
}

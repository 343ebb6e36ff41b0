package diskfault

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// maxExplored is where Explore gives up on a script that doesn't end.
const maxExplored = 10_000

// Explore runs the script again and again, on a new FS each time: it crashes at the
// first mutating operation, then at the second, and so on, at last after the
// script's end. For each of these it calls check with every disk that Modes
// could leave, as a subtest. What the script returns is what it knows to be
// durable, for check to hold the disk to; check must not change it.
//
// A script goes on or gives up when an operation fails, as it likes, but it must
// return. Where it uses several goroutines the crash comes somewhere else
// each time.
func Explore[Acked any](t *testing.T, script func(fs *FS) Acked, check func(t *testing.T, fs *FS, acked Acked)) {
	t.Helper()
	explore(t, 1, 1, script, check)
}

// ExploreSome is Explore for long scripts: it crashes at every so manieth operation, from a
// random one on, so that many runs see them all.
func ExploreSome[Acked any](t *testing.T, every int, script func(fs *FS) Acked,
	check func(t *testing.T, fs *FS, acked Acked)) {
	t.Helper()
	explore(t, 1+rand.IntN(every), every, script, check)
}

func explore[Acked any](t *testing.T, from, every int, script func(fs *FS) Acked,
	check func(t *testing.T, fs *FS, acked Acked)) {
	t.Helper()
	for n := from; n <= maxExplored; n += every {
		fs := New()
		fs.CrashAt(n)
		acked := script(fs)
		finished := !fs.Crashed()
		for _, mode := range Modes(uint64(n)) {
			t.Run(fmt.Sprintf("crash at %d/%s", n, mode), func(t *testing.T) {
				defer func() {
					if t.Failed() {
						logTrace(t, fs)
					}
				}()
				check(t, fs.Crash(mode), acked)
			})
		}
		if finished {
			return
		}
	}
	t.Fatalf("the script does not end within %d operations", maxExplored)
}

func logTrace(t *testing.T, fs *FS) {
	t.Helper()
	trace := fs.Trace()
	if more := len(trace) - 50; more > 0 {
		t.Logf("(%d operations before these)", more)
		trace = trace[more:]
	}
	for _, op := range trace {
		t.Log(op)
	}
}

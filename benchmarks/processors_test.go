package benchmarks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// heldTo holds this process, and what it starts from now on, to one processor until the test
// ends. A server that was started before keeps those that it has.
func heldTo(t *testing.T, processor int) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	one.Set(processor)
	if err := holdThreads(os.Getpid(), &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := holdThreads(os.Getpid(), &all); err != nil {
			t.Error(err)
		}
	})
}

// holdThreads holds every thread of a process; those that it makes later take after them.
func holdThreads(pid int, to *unix.CPUSet) error {
	for range 2 { // some may have been made meanwhile
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil {
			return err
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(filepath.Base(thread))
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, to); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return fmt.Errorf("cannot hold a thread to a processor: %w", err)
			}
		}
	}
	return nil
}

// twoProcessors are some that this process may use; it skips where there is one.
func twoProcessors(t *testing.T) (first, second int) {
	t.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	var found []int
	for i := range runtime.NumCPU() + 1024 {
		if all.IsSet(i) {
			found = append(found, i)
		}
	}
	if len(found) < 2 {
		t.Skip("there is one processor, and two are needed")
	}
	return found[0], found[1]
}

// What is held to a processor is on it, and so is what is started meanwhile.
func TestHeldTo(t *testing.T) {
	_, second := twoProcessors(t)
	t.Run("held", func(t *testing.T) {
		heldTo(t, second)
		var now unix.CPUSet
		if err := unix.SchedGetaffinity(0, &now); err != nil || now.Count() != 1 || !now.IsSet(second) {
			t.Errorf("this thread is held to %d processors, %v", now.Count(), err)
		}
	})
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &now); err != nil || now.Count() < 2 {
		t.Errorf("afterwards this thread is held to %d processors, %v", now.Count(), err)
	}
}

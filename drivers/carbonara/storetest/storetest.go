// Package storetest holds the implementations of carbonara.Store to their contract.
// The test of one is a function that opens it and a line that calls [Run].
//
// [Memory] is the store that the suite is tried on, and a fast one for other tests.
// [Faulty] makes any store fail, for the tests of what stands on it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/drivers/carbonara"
)

// An Option says what else a store under test can do.
type Option func(*settings)

type settings struct {
	mark func(t *testing.T, s carbonara.Store) (back func())
}

// GoesBack lets the suite bring a store back to an earlier state, as a fail-over to
// a copy that lags behind does, or a restored snapshot. Mark notes the state that back
// then brings back. A store whose Traits say that it may go back has to have it.
func GoesBack(mark func(t *testing.T, s carbonara.Store) (back func())) Option {
	return func(s *settings) { s.mark = mark }
}

// Run tests a store. Each subtest opens one, which must be empty, and closes it.
func Run(t *testing.T, open func(t *testing.T) carbonara.Store, options ...Option) {
	var c settings
	for _, o := range options {
		o(&c)
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s carbonara.Store)
	}{
		{"Put", testPut},
		{"PutEmpty", testPutEmpty},
		{"PutLarge", testPutLarge},
		{"PutTooLarge", testPutTooLarge},
		{"PutKeepsNothing", testPutKeepsNothing},
		{"PutAgain", testPutAgain},
		{"PutIsWholeOrAbsent", testPutIsWholeOrAbsent},
		{"ReadMissing", testReadMissing},
		{"ReadRanges", testReadRanges},
		{"ReadIsTheCallers", testReadIsTheCallers},
		{"ReadUnless", testReadUnless},
		{"Swap", testSwap},
		{"SwapStale", testSwapStale},
		{"SwapKeepsNothing", testSwapKeepsNothing},
		{"SwapContention", testSwapContention},
		{"SwapCounter", testSwapCounter},
		{"SwapReadersSeeOneState", testSwapReadersSeeOneState},
		{"SwapVersionsDiffer", testSwapVersionsDiffer},
		{"SwapNamesAreIndependent", testSwapNamesAreIndependent},
		{"SwapAdds", testSwapAdds},
		{"SwapLostAnswer", testSwapLostAnswer},
		{"SwapNotDone", testSwapNotDone},
		{"List", testList},
		{"ListNeighbours", testListNeighbours},
		{"ListMany", testListMany},
		{"Delete", testDelete},
		{"Cancelled", testCancelled},
		{"Traits", testTraits},
		{"GoesBack", c.testGoesBack},
		{"Close", testClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			test.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// put fails the test on an error.
func put(t *testing.T, s carbonara.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
}

// read reads a whole object.
func read(t *testing.T, s carbonara.Store, name string) ([]byte, carbonara.Version) {
	t.Helper()
	c, err := s.Read(t.Context(), name, "", nil)
	if err != nil {
		t.Fatalf("Read %s: %v", name, err)
	}
	if len(c.Data) != 1 || c.Size != int64(len(c.Data[0])) {
		t.Fatalf("Read %s: %d slices, size %d, and one whole slice is expected", name, len(c.Data), c.Size)
	}
	return c.Data[0], c.Version
}

func swap(t *testing.T, s carbonara.Store, name string, old carbonara.Version, data string) carbonara.Version {
	t.Helper()
	version, err := s.Swap(t.Context(), name, old, []byte(data), nil)
	if err != nil {
		t.Fatalf("Swap %s from version %q: %v", name, old, err)
	}
	if version == "" || version == old {
		t.Fatalf("Swap %s from version %q made version %q", name, old, version)
	}
	return version
}

// expect compares an object, and its version when one is given.
func expect(t *testing.T, s carbonara.Store, name string, want []byte, version carbonara.Version) {
	t.Helper()
	got, is := read(t, s, name)
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %s, want %s", name, sketch(got), sketch(want))
	}
	if version != "" && is != version {
		t.Errorf("%s has version %q, want %q", name, is, version)
	}
}

func expectMissing(t *testing.T, s carbonara.Store, name string) {
	t.Helper()
	for _, ranges := range [][]carbonara.Range{nil, {{Off: 0, Len: 1}}, {{Off: -1, Len: 8}}} {
		if c, err := s.Read(t.Context(), name, "", ranges); !errors.Is(err, carbonara.ErrNotFound) {
			t.Errorf("Read %s %v: %d bytes, %v; want ErrNotFound", name, ranges, c.Size, err)
		}
	}
}

func expectList(t *testing.T, s carbonara.Store, prefix string, want ...carbonara.Object) {
	t.Helper()
	got, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List %s: %v", prefix, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(carbonara.Object{}, "Modified"),
		cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("List %s (-want +got):\n%s", prefix, diff)
	}
}

// sketch prints bytes that may be many.
func sketch(b []byte) string {
	if len(b) > 64 {
		return fmt.Sprintf("%d bytes: %q…", len(b), b[:64])
	}
	return fmt.Sprintf("%q", b)
}

// noise returns bytes that no compression makes shorter.
func noise(n int) []byte {
	b := make([]byte, n)
	luck := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	luck.Read(b)
	return b
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

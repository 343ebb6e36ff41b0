package storetest

import (
	"errors"
	"testing"

	"millrace/drivers/carbonara"
)

func testTraits(t *testing.T, s carbonara.Store) {
	traits := s.Traits()
	if traits.MaxObject < 1<<20 {
		t.Errorf("objects may have %d bytes: segments need a MiB at least", traits.MaxObject)
	}
	if traits.DeleteBatch < 1 || traits.FlushInterval < 0 || traits.NudgeInterval < 0 {
		t.Errorf("%+v", traits)
	}
	if again := s.Traits(); again != traits {
		t.Errorf("%+v, and then %+v", traits, again)
	}
}

// testSwapAdds: a store that may go back sees whether what a swap adds is there; any
// other may.
func testSwapAdds(t *testing.T, s carbonara.Store) {
	put(t, s, "sack/1/a", []byte("four"))
	put(t, s, "sack/1/b", nil)
	good := []carbonara.Addition{{Name: "sack/1/a", Size: 4}, {Name: "sack/1/b", Size: 0}}
	version, err := s.Swap(t.Context(), manifest, "", []byte("one"), good)
	if err != nil {
		t.Fatalf("Swap that adds what is there: %v", err)
	}
	for what, add := range map[string]carbonara.Addition{
		"missing": {Name: "sack/1/c", Size: 4}, "shorter": {Name: "sack/1/a", Size: 5},
		"longer": {Name: "sack/1/a", Size: 3}, "not even empty": {Name: "sack/1/c", Size: 0},
	} {
		next, err := s.Swap(t.Context(), manifest, version, []byte(what), append(good[:1:1], add))
		switch {
		case err == nil && !s.Traits().MayGoBack:
			version = next
		case !errors.Is(err, carbonara.ErrMissing):
			t.Errorf("Swap that adds what is %s: %v; want ErrMissing", what, err)
		default:
			if _, is := read(t, s, manifest); is != version {
				t.Errorf("a refused swap has changed version %q to %q", version, is)
			}
		}
	}
	// A swapper who is too late hears that first, or that something is missing: both are certain.
	_, err = s.Swap(t.Context(), manifest, "", []byte("never"), good)
	if !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap from no version: %v; want ErrChanged", err)
	}
}

// testGoesBack: of what has been lost nothing is left, and no version of it is used
// for anything else.
func (c *settings) testGoesBack(t *testing.T, s carbonara.Store) {
	if c.mark == nil {
		if s.Traits().MayGoBack {
			t.Error("the store says that it may go back, and the test doesn't know how")
		}
		t.Skip("nothing can bring this store back")
	}
	first := swap(t, s, manifest, "", "one")
	put(t, s, "sack/1/kept", []byte("kept"))
	back := c.mark(t, s)
	second := swap(t, s, manifest, first, "two")
	put(t, s, "sack/1/lost", []byte("lost"))
	third := swap(t, s, manifest, second, "three")
	back()

	expect(t, s, "sack/1/kept", []byte("kept"), "")
	expectMissing(t, s, "sack/1/lost")
	_, version := read(t, s, manifest)
	expect(t, s, manifest, []byte("one"), version)
	for _, lost := range []carbonara.Version{second, third} {
		if _, err := s.Swap(t.Context(), manifest, lost, []byte("never"), nil); !errors.Is(err, carbonara.ErrChanged) {
			t.Errorf("Swap from the lost version %q: %v; want ErrChanged", lost, err)
		}
		if _, err := s.Read(t.Context(), manifest, lost, nil); err != nil {
			t.Errorf("Read unless the lost version %q: %v", lost, err)
		}
	}
	_, err := s.Swap(t.Context(), manifest, version, []byte("never"),
		[]carbonara.Addition{{Name: "sack/1/lost", Size: 4}})
	if !errors.Is(err, carbonara.ErrMissing) {
		t.Errorf("Swap that adds what has been lost: %v; want ErrMissing", err)
	}
	for _, text := range []string{"another two", "another three"} {
		version = swap(t, s, manifest, version, text)
		if version == second || version == third {
			t.Errorf("version %q was that of other bytes, which have been lost", version)
		}
	}
	if _, err := s.Swap(t.Context(), manifest, second, []byte("never"), nil); !errors.Is(err, carbonara.ErrChanged) {
		t.Errorf("Swap from the lost version %q, later: %v; want ErrChanged", second, err)
	}
}

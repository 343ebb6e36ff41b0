package storetest

import (
	"context"
	"errors"
	"testing"

	"millrace/drivers/carbonara"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) carbonara.Store { return NewMemory() }, memoryGoesBack())
}

func TestHashing(t *testing.T) {
	Run(t, func(*testing.T) carbonara.Store { return NewHashing() }, memoryGoesBack())
}

func TestFaulty(t *testing.T) {
	Run(t, func(*testing.T) carbonara.Store { return NewFaulty(NewMemory()) }, memoryGoesBack())
}

func memoryGoesBack() Option {
	return GoesBack(func(_ *testing.T, s carbonara.Store) (back func()) {
		if f, ok := s.(*Faulty); ok {
			s = f.Store
		}
		return s.(*Memory).Mark()
	})
}

func TestInject(t *testing.T) {
	sick := errors.New("sick")
	f := NewFaulty(NewMemory())
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v; want %v", what, err, want)
		}
	}
	ctx := t.Context()

	f.Inject(Fault{On: Put, Name: "*.parquet", Skip: 1, Many: 1, Err: sick})
	check("the first", f.Put(ctx, "a/1.parquet", nil), nil)
	check("another name", f.Put(ctx, "a/x", nil), nil)
	check("the second", f.Put(ctx, "a/2.parquet", nil), sick)
	check("the third", f.Put(ctx, "a/3.parquet", nil), nil)
	expectMissing(t, f, "a/2.parquet")

	undo := f.Inject(Fault{On: Delete | List, Name: "a/*", Err: sick, Done: true})
	check("Delete", f.Delete(ctx, []string{"b", "a/x"}), sick)
	expectMissing(t, f, "a/x")
	_, err := f.List(ctx, "b/")
	check("List of another name", err, nil)
	undo()
	check("Delete after undo", f.Delete(ctx, []string{"a/x"}), nil)

	f.Inject(Fault{On: Read, Call: func(ctx context.Context, name string) error {
		if name == "a/1.parquet" {
			return sick
		}
		return nil
	}})
	_, err = f.Read(ctx, "a/1.parquet", "", nil)
	check("Read", err, sick)
	_, err = f.Read(ctx, "a/3.parquet", "", nil)
	check("Read of another name", err, nil)

	if got := f.Calls(Put); got != 4 {
		t.Errorf("%d calls of Put", got)
	}
	if got := f.Calls(Delete | List); got != 3 {
		t.Errorf("%d calls of Delete and List", got)
	}
}

func TestCrashes(t *testing.T) {
	Crashes(t, 5, func(*testing.T) func() carbonara.Store {
		m := kept{NewMemory()}
		return func() carbonara.Store { return m }
	})
}

// kept outlives those who close it.
type kept struct{ *Memory }

func (kept) Close() error { return nil }

func TestReverts(t *testing.T) {
	Reverts(t, 8, func(*testing.T) (func() carbonara.Store, func() func()) {
		m := kept{NewMemory()}
		return func() carbonara.Store { return m }, m.Mark
	})
}

func TestOwners(t *testing.T) {
	m := kept{NewMemory()}
	Owners(t, 200, func() carbonara.Store { return m })
}

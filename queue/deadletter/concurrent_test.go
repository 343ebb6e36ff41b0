package deadletter

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/disk"
	"millrace/disk/diskfault"
)

func TestCancelled(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "dead", Config{})
	mustAdd(t, l, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Add(ctx, letters(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("Add returned %v, want context.Canceled", err)
	}
	if err := l.Remove(ctx, ids(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove returned %v, want context.Canceled", err)
	}
	if _, err := l.List(ctx, "", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("List returned %v, want context.Canceled", err)
	}

	held, release := make(chan struct{}), make(chan struct{})
	fsys.Inject(diskfault.Fault{On: diskfault.Sync, Many: 1, Call: func(diskfault.Op) { close(held); <-release }})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Add(t.Context(), letters(3)); err != nil {
			t.Error(err)
		}
	})
	<-held
	ctx, cancel = context.WithCancel(t.Context())
	given := make(chan error)
	go func() { given <- l.Add(ctx, letters(2)) }()
	cancel()
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Errorf("Add behind a slow sync returned %v, want context.Canceled", err)
	}
	checkThere(t, l, 1) // neither waiting nor seeing what is not durable
	close(release)
	wg.Wait()
	checkThere(t, l, 1, 3)
}

// TestSlowList: who lists keeps nobody from adding, nor from rewriting the file he reads.
func TestSlowList(t *testing.T) {
	fsys := diskfault.New()
	l := mustOpen(t, fsys, "dead", Config{MinGarbage: 1})
	mustAdd(t, l, 1, 2, 3)
	held, release := make(chan struct{}), make(chan struct{})
	fsys.Inject(diskfault.Fault{On: diskfault.Read, Many: 1, Call: func(diskfault.Op) { close(held); <-release }})
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := l.List(t.Context(), "", 10)
		want := letters(3, 1, 2)
		if diff := cmp.Diff(want, got, bits); err != nil || diff != "" {
			t.Errorf("List returned %v, and letters that differ (-want +got):\n%s", err, diff)
		}
	})
	<-held
	mustAdd(t, l, 4)
	mustRemove(t, l, 1, 2, 3)
	if n := l.newest().header.number; n == 1 {
		t.Error("nothing was rewritten")
	}
	checkThere(t, l, 4)
	close(release)
	wg.Wait()
}

func TestConcurrent(t *testing.T) {
	disks(t, func(t *testing.T, fsys disk.FS, dir string) {
		l := mustOpen(t, fsys, dir, Config{MinGarbage: 5000})
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range 30 {
					n := 4*i + worker
					if err := l.Add(t.Context(), letters(n, n)); err != nil {
						t.Error(err)
					}
					if i%3 > 0 {
						if err := l.Remove(t.Context(), ids(n)); err != nil {
							t.Error(err)
						}
					}
					page, err := l.List(t.Context(), idOf(n), 5)
					if err != nil {
						t.Error(err)
					}
					for _, letter := range page {
						if want := numbered(int(letter.Offset)); !same(&want, &letter) {
							t.Errorf("a letter differs: %+v", letter)
						}
					}
				}
			})
		}
		wg.Wait()
		var want []int
		for i := 0; i < 30; i += 3 {
			want = append(want, 4*i, 4*i+1, 4*i+2, 4*i+3)
		}
		checkThere(t, l, want...)
		l.Close()
		checkThere(t, mustOpen(t, fsys, dir, Config{}), want...)
	})
}

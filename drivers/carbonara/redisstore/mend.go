package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"millrace/drivers/carbonara"
)

var _ carbonara.Mender = (*Store)(nil)

// Mend walks through all keys, and enters the objects that it finds into the indices that lack
// them: where somebody has removed an index, or the server has evicted it, no object of that
// sack can be found, though all are there. It returns their names.
func (s *Store) Mend(ctx context.Context) ([]string, error) {
	found, err := s.stored(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for objects: %w", explain(err))
	}
	var mended []string
	for _, name := range found {
		answer, err := s.run(ctx, indexScript, []string{s.key(name), s.index(tag(name))}, name, rand.Text())
		switch {
		case err != nil:
			return mended, fmt.Errorf("enter %s into the index: %w", name, err)
		case answer == "done":
			mended = append(mended, name)
		}
	}
	return mended, nil
}

// stored are the names of all objects, whatever the indices say.
func (s *Store) stored(ctx context.Context) ([]string, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	keys := make(chan string)
	walked := make(chan error, 1)
	go func() {
		defer close(keys)
		walked <- s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			walk := node.ScanType(ctx, 0, globEscaper.Replace(s.config.Prefix)+"{*}*", 1000, "string").Iterator()
			for walk.Next(ctx) {
				keys <- walk.Val()
			}
			return walk.Err()
		})
	}()
	var names []string
	for key := range keys {
		if name, ok := s.nameOf(key); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), errors.Join(<-walked, ctx.Err())
}

// nameOf is the name of the object that is kept in a key, if it is one of ours.
func (s *Store) nameOf(key string) (name string, ok bool) {
	rest, ok1 := strings.CutPrefix(key, s.config.Prefix+"{")
	first, last, ok2 := strings.Cut(rest, "}")
	name = first + last
	return name, ok1 && ok2 && s.key(name) == key && !strings.Contains(name, "~")
}

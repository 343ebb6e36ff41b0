package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/drivers/carbonara"
)

// Put is one script.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := fits(name, data); err != nil {
		return err
	}
	_, err := s.run(ctx, putScript, []string{s.key(name), s.index(tag(name))}, name, data)
	if err != nil {
		err = fmt.Errorf("put %s: %w", name, err)
	}
	return err
}

// fits says whether an object is as small as it has to be.
func fits(name string, data []byte) error {
	if len(data) > maxObject {
		return fmt.Errorf("%s has %d bytes, and an object may have %d", name, len(data), maxObject)
	}
	return nil
}

// Read is one script. Where replicas are waited for, a read of an object whose last swap
// had no clear outcome waits for them too.
func (s *Store) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	c, err := s.read(ctx, name, unless, ranges)
	if err == nil && s.isUnsettled(name) {
		err = s.confirm(ctx, name, c.Version)
	}
	if err != nil && !errors.Is(err, carbonara.ErrNotFound) && !errors.Is(err, carbonara.ErrUnchanged) {
		return carbonara.Contents{}, fmt.Errorf("read %s: %w", name, err)
	}
	return c, err
}

func (s *Store) read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	args := make([]any, 0, 2+2*len(ranges))
	args = append(args, name, string(unless))
	for _, r := range ranges {
		first, last := bounds(r)
		args = append(args, first, last)
	}
	answer, err := s.run(ctx, readScript, []string{s.key(name), s.index(tag(name))}, args...)
	if err != nil {
		return carbonara.Contents{}, err
	}
	found, _ := answer.([]any)
	switch {
	case len(found) == 1 && found[0] == "missing":
		return carbonara.Contents{}, carbonara.ErrNotFound
	case len(found) == 1 && found[0] == "unchanged":
		return carbonara.Contents{}, carbonara.ErrUnchanged
	case len(found) != 3+max(1, len(ranges)):
		return carbonara.Contents{}, fmt.Errorf("the server's answer has %d parts for %d ranges", len(found), len(ranges))
	}
	size, ok1 := found[1].(int64)
	version, ok2 := found[2].(string)
	c := carbonara.Contents{Size: size, Version: carbonara.Version(version)}
	for i, part := range found[3:] {
		text, ok := part.(string)
		if !ok || !ok1 || !ok2 {
			return carbonara.Contents{}, errors.New("the server's answer is not of the kind that was asked for")
		}
		if len(ranges) > 0 && ranges[i].Len <= 0 {
			text = ""
		}
		c.Data = append(c.Data, []byte(text))
	}
	return c, nil
}

// bounds are the first and the last byte of a range as GETRANGE counts them.
func bounds(r carbonara.Range) (first, last int64) {
	length := max(r.Len, 1) // a range of nothing is cut away afterwards
	if r.Off < 0 {
		return -length, -1
	}
	last = r.Off + length - 1
	if last < r.Off {
		last = 1<<63 - 1
	}
	return r.Off, last
}

// Swap is one script, and a wait for replicas where that is asked for.
func (s *Store) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (carbonara.Version, error) {
	if err := fits(name, data); err != nil {
		return "", err
	}
	version := carbonara.Version(rand.Text())
	keys, args := []string{s.key(name), s.index(tag(name))}, []any{name, string(old), string(version), data}
	for _, add := range adds {
		if tag(add.Name) != tag(name) {
			return "", fmt.Errorf("swap %s: %s is of another sack", name, add.Name)
		}
		keys, args = append(keys, s.key(add.Name)), append(args, add.Size)
	}
	answer, err := s.run(ctx, swapScript, keys, args...)
	if err == nil {
		switch answer {
		case "changed":
			return "", carbonara.ErrChanged
		case "missing":
			return "", carbonara.ErrMissing
		case "done":
			err = s.confirm(ctx, name, version)
		default:
			err = fmt.Errorf("the server answers %q", answer)
		}
	}
	if err != nil {
		s.setUnsettled(name)
		return "", fmt.Errorf("swap %s: %w", name, err)
	}
	return version, nil
}

// List reads the index of a sack. Only a listing of more than one looks for indices by
// their keys, which costs the server a walk through all that it has.
func (s *Store) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	list, err := s.list(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, explain(err))
	}
	slices.SortFunc(list, func(a, b carbonara.Object) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (s *Store) list(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if strings.Count(prefix, "/") >= 2 {
		return s.listIndex(ctx, s.index(tag(prefix)), prefix)
	}
	indices, err := s.indices(ctx)
	if err != nil {
		return nil, err
	}
	var list []carbonara.Object
	for _, index := range indices {
		part, err := s.listIndex(ctx, index, prefix)
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
	}
	return list, nil
}

func (s *Store) listIndex(ctx context.Context, index, prefix string) ([]carbonara.Object, error) {
	entries, err := s.client.HGetAll(ctx, index).Result()
	if err != nil {
		return nil, err
	}
	var list []carbonara.Object
	for name, entry := range entries {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		size, rest, _ := strings.Cut(entry, " ")
		changed, _, _ := strings.Cut(rest, " ")
		bytes, err1 := strconv.ParseInt(size, 10, 64)
		ms, err2 := strconv.ParseInt(changed, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("the entry of %s in %s is damaged: %w", name, index, err)
		}
		list = append(list, carbonara.Object{Name: name, Size: bytes, Modified: time.UnixMilli(ms)})
	}
	return list, nil
}

// indices are the keys of all indices, once each: a walk may come to a key twice.
func (s *Store) indices(ctx context.Context) ([]string, error) {
	var mu sync.Mutex
	found := make(map[string]bool)
	pattern := globEscaper.Replace(s.config.Prefix) + "{*}~index"
	err := s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		walk := node.Scan(ctx, 0, pattern, 1000).Iterator()
		for walk.Next(ctx) {
			mu.Lock()
			found[walk.Val()] = true
			mu.Unlock()
		}
		return walk.Err()
	})
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	return keys, err
}

var globEscaper = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`)

// eachMaster calls a function for every server that has keys of ours.
func (s *Store) eachMaster(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, client)
	}
	panic(fmt.Sprintf("BUG: a Redis client of type %T", s.client))
}

// Delete is one script for each sack that the names are of.
func (s *Store) Delete(ctx context.Context, names []string) error {
	if len(names) > deleteBatch {
		return fmt.Errorf("delete %d objects: %d at once are allowed", len(names), deleteBatch)
	}
	if s.closed.Load() {
		return errClosed
	}
	groups := make(map[string][]string)
	for _, name := range names {
		groups[tag(name)] = append(groups[tag(name)], name)
	}
	for t, group := range groups {
		keys, args := []string{s.index(t)}, make([]any, len(group))
		for i, name := range group {
			keys, args[i] = append(keys, s.key(name)), name
		}
		if _, err := s.run(ctx, deleteScript, keys, args...); err != nil {
			return fmt.Errorf("delete %d objects (%s, …): %w", len(names), names[0], err)
		}
	}
	return nil
}

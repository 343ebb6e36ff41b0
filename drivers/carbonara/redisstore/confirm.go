package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"millrace/drivers/carbonara"
)

// waits says whether a swap has to be elsewhere too before it counts.
func (s *Store) waits() bool { return s.config.WaitReplicas > 0 || s.config.WaitFsync }

func (s *Store) setUnsettled(name string) {
	if s.waits() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unsettled[name] = true
	}
}

func (s *Store) isUnsettled(name string) bool {
	if !s.waits() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsettled[name]
}

// confirm returns when as many replicas (or disks) as are asked for have the version of an
// object that was swapped. Whatever its error, the outcome of that swap is unknown.
func (s *Store) confirm(ctx context.Context, name string, version carbonara.Version) error {
	if !s.waits() {
		return nil
	}
	node, err := s.master(ctx, s.key(name))
	if err != nil {
		return err
	}
	// Both on one connection, which is what a pipeline is.
	keys := []string{s.confirmed(tag(name)), s.index(tag(name))}
	var looked, waited *redis.Cmd
	for _, eval := range []func(redis.Scripter) *redis.Cmd{
		func(p redis.Scripter) *redis.Cmd { return confirmScript.EvalSha(ctx, p, keys, name, string(version)) },
		func(p redis.Scripter) *redis.Cmd { return confirmScript.Eval(ctx, p, keys, name, string(version)) },
	} {
		pipe := node.Pipeline()
		looked, waited = eval(pipe), pipe.Do(ctx, s.waitCommand()...)
		_, _ = pipe.Exec(ctx)
		if err := looked.Err(); err == nil || !redis.HasErrorPrefix(err, "NOSCRIPT") {
			break
		}
	}
	if err := errors.Join(looked.Err(), waited.Err()); err != nil {
		return explain(err)
	}
	if looked.Val() != "done" {
		return errors.New("the object is not what it was a moment ago: a fail-over, or somebody else")
	}
	if err := s.enough(waited.Val()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unsettled, name)
	return nil
}

func (s *Store) waitCommand() []any {
	ms := s.config.WaitTimeout.Milliseconds()
	if s.config.WaitFsync {
		return []any{"waitaof", 1, s.config.WaitReplicas, ms}
	}
	return []any{"wait", s.config.WaitReplicas, ms}
}

// enough reads the answer to WAIT (a number of replicas) or WAITAOF (two numbers: this
// server itself, replicas).
func (s *Store) enough(answer any) error {
	replicas, disks := int64(0), int64(1)
	switch counts := answer.(type) {
	case int64:
		replicas = counts
	case []any:
		if len(counts) == 2 {
			disks, _ = counts[0].(int64)
			replicas, _ = counts[1].(int64)
		}
	}
	if replicas < int64(s.config.WaitReplicas) || disks < 1 {
		return fmt.Errorf("%d of %d replicas had it after %v (and on its own disk: %t)", replicas, s.config.WaitReplicas,
			s.config.WaitTimeout, disks > 0)
	}
	return nil
}

// master is the server that a key is on.
func (s *Store) master(ctx context.Context, key string) (*redis.Client, error) {
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, key)
	case *redis.Client:
		return client, nil
	}
	panic(fmt.Sprintf("BUG: a Redis client of type %T", s.client))
}

// field is the value of a line "name:value" of what INFO answers, or empty.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

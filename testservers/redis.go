package testservers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Flavor is a maker of a server that speaks the protocol of Redis. Its name is the word of
// MILLRACE_TEST_REQUIRE.
type Flavor struct{ word, title, server string }

// The flavours that there are.
var (
	RedisFlavor  = Flavor{"redis", "Redis", "redis-server"}
	ValkeyFlavor = Flavor{"valkey", "Valkey", "valkey-server"}
)

// Title is the maker's name for it.
func (f Flavor) Title() string { return f.title }

// programs are what is installed for it: the client is Redis's for all.
func (f Flavor) programs() []string { return []string{f.word, "redis"} }

// RedisServer is one server: alone, a node, a replica or a Sentinel.
type RedisServer struct {
	*Process
	Port int
	cli  string
}

// Redis is the server that all tests of this binary share: alone, its append-only file
// synced with every write (words: redis, valkey).
func Redis(t testing.TB, flavor Flavor) *RedisServer {
	t.Helper()
	return shared(t, flavor.word, flavor.programs(), flavor.word, func(i []installation) (*RedisServer, error) {
		return startRedis(flavor, i)
	})
}

// NewRedis is a server of the test's own (words: redis, valkey). Args are its command
// line's, like "--maxmemory", "20mb".
func NewRedis(t testing.TB, flavor Flavor, args ...string) *RedisServer {
	t.Helper()
	return own(t, flavor.word, flavor.programs(), func(i []installation) (*RedisServer, error) {
		return startRedis(flavor, i, args...)
	})
}

func startRedis(flavor Flavor, i []installation, args ...string) (*RedisServer, error) {
	p, port, err := newProcess(flavor.title, i[0].version)
	if err != nil {
		return nil, err
	}
	s := &RedisServer{Process: p, Port: port, cli: i[1].program("redis-cli")}
	all := append([]string{"--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", p.Dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always"}, args...)
	p.command = func() *exec.Cmd { return exec.Command(i[0].program(flavor.server), all...) }
	p.ready = s.pinged
	if err := p.Start(); err != nil {
		p.close()
		return nil, err
	}
	return s, nil
}

// URL is where go-redis connects to.
func (s *RedisServer) URL() string { return "redis://" + s.Addr + "/0" }

// pinged says whether the server answers PING, and not because it is still loading.
func (s *RedisServer) pinged(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "+PONG") && !strings.HasPrefix(answer, "-NOAUTH") {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}

// Do runs a command with the server's own client and gives what it prints.
func (s *RedisServer) Do(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, s.cli, append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(s.Port)},
		args...)...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err == nil && strings.HasPrefix(text, "ERR ") {
		err = errors.New(text)
	}
	if err != nil {
		return text, fmt.Errorf("%s %v: %w: %s", s, args, err, text)
	}
	return text, nil
}

// until tries until a command's answer contains text.
func (s *RedisServer) until(ctx context.Context, text string, args ...string) error {
	for {
		answer, err := s.Do(ctx, args...)
		if err == nil && strings.Contains(answer, text) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %v: no %q in the answer after %v: %q, %v", s, args, text, startTimeout, answer, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

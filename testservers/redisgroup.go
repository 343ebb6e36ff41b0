package testservers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// RedisCluster is three masters that share the slots, without replicas.
type RedisCluster struct{ Nodes []*RedisServer }

// String is the cluster's size, name and version.
func (c *RedisCluster) String() string {
	return fmt.Sprintf("a cluster of %d %s", len(c.Nodes), c.Nodes[0])
}

func (c *RedisCluster) close() {
	for _, node := range c.Nodes {
		node.close()
	}
}

// Addrs is where the nodes listen.
func (c *RedisCluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.Addr
	}
	return addrs
}

// NewRedisCluster is a cluster of the test's own (words: redis, valkey).
func NewRedisCluster(t testing.TB, flavor Flavor) *RedisCluster {
	t.Helper()
	return own(t, flavor.word, flavor.programs(), func(i []installation) (*RedisCluster, error) {
		c := new(RedisCluster)
		if err := c.start(flavor, i, 3); err != nil {
			c.close()
			return nil, err
		}
		return c, nil
	})
}

func (c *RedisCluster) start(flavor Flavor, i []installation, nodes int) error {
	for range nodes {
		bus, err := freePort()
		if err != nil {
			return err
		}
		node, err := startRedis(flavor, i, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus),
			"--cluster-node-timeout", "3000")
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	create := append([]string{"--cluster", "create"}, c.Addrs()...)
	if _, err := c.Nodes[0].Do(ctx, append(create, "--cluster-yes")...); err != nil {
		return err
	}
	for _, node := range c.Nodes {
		if err := node.until(ctx, "cluster_state:ok", "cluster", "info"); err != nil {
			return err
		}
	}
	return nil
}

// RedisSentinel is a master, a replica of it, and three Sentinels, two of which must agree
// that the master is gone (for half a second) before the replica takes its place.
type RedisSentinel struct {
	// Name is the master's, as the Sentinels know it.
	Name string
	// Servers are the first master and its first replica; roles change with a fail-over.
	Servers []*RedisServer
	// Sentinels watch them.
	Sentinels []*RedisServer
}

// String is what there is, and its version.
func (r *RedisSentinel) String() string {
	return r.Servers[0].String() + " with a replica and Sentinels"
}

func (r *RedisSentinel) close() {
	for _, server := range append(r.Sentinels, r.Servers...) {
		server.close()
	}
}

// SentinelAddrs is where the Sentinels listen.
func (r *RedisSentinel) SentinelAddrs() []string {
	addrs := make([]string, len(r.Sentinels))
	for i, sentinel := range r.Sentinels {
		addrs[i] = sentinel.Addr
	}
	return addrs
}

// NewRedisSentinel is a master with a replica and Sentinels of the test's own (words:
// redis, valkey).
func NewRedisSentinel(t testing.TB, flavor Flavor) *RedisSentinel {
	t.Helper()
	return own(t, flavor.word, flavor.programs(), func(i []installation) (*RedisSentinel, error) {
		r := &RedisSentinel{Name: "millrace"}
		if err := r.start(flavor, i); err != nil {
			r.close()
			return nil, err
		}
		return r, nil
	})
}

func (r *RedisSentinel) start(flavor Flavor, i []installation) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	master, err := startRedis(flavor, i, "--repl-diskless-sync-delay", "0")
	if err != nil {
		return err
	}
	r.Servers = append(r.Servers, master)
	replica, err := startRedis(flavor, i, "--replicaof", "127.0.0.1 "+fmt.Sprint(master.Port),
		"--repl-diskless-sync-delay", "0")
	if err != nil {
		return err
	}
	r.Servers = append(r.Servers, replica)
	if err := replica.until(ctx, "master_link_status:up", "info", "replication"); err != nil {
		return err
	}
	for range 3 {
		sentinel, err := startSentinel(flavor, i, r.Name, master.Port)
		if err != nil {
			return err
		}
		r.Sentinels = append(r.Sentinels, sentinel)
	}
	for _, sentinel := range r.Sentinels { // each has found the replica and the two others
		if err := sentinel.until(ctx, "slaves=1,sentinels=3", "info", "sentinel"); err != nil {
			return err
		}
	}
	return nil
}

func startSentinel(flavor Flavor, i []installation, name string, master int) (*RedisServer, error) {
	p, port, err := newProcess(flavor.title, i[0].version)
	if err != nil {
		return nil, err
	}
	s := &RedisServer{Process: p, Port: port, cli: i[1].program("redis-cli")}
	config := filepath.Join(p.Dir, "sentinel.conf") // which it rewrites
	text := strings.Join([]string{
		"bind 127.0.0.1", "port " + fmt.Sprint(port), "dir " + p.Dir,
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", name, master),
		"sentinel down-after-milliseconds " + name + " 500",
		"sentinel failover-timeout " + name + " 3000",
	}, "\n") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p.command = func() *exec.Cmd { return exec.Command(i[0].program(flavor.server), config, "--sentinel") }
	p.ready = s.pinged
	if err := p.Start(); err != nil {
		p.close()
		return nil, err
	}
	return s, nil
}

// Master is the server that the Sentinels take for the master now.
func (r *RedisSentinel) Master(ctx context.Context) (*RedisServer, error) {
	answer, err := r.Sentinels[0].Do(ctx, "sentinel", "get-master-addr-by-name", r.Name)
	if err != nil {
		return nil, err
	}
	for _, server := range r.Servers {
		if strings.HasSuffix(answer, fmt.Sprint(server.Port)) {
			return server, nil
		}
	}
	return nil, fmt.Errorf("the Sentinels' master is none of ours: %q", answer)
}

// FailOver kills the master, waits until the replica has taken its place, and gives the new
// master. What the old one had not replicated is lost; started again, it becomes a replica.
func (r *RedisSentinel) FailOver(ctx context.Context) (*RedisServer, error) {
	old, err := r.Master(ctx)
	if err != nil {
		return nil, err
	}
	old.Kill()
	for _, server := range r.Servers {
		if server == old {
			continue
		}
		if err := server.until(ctx, "role:master", "info", "replication"); err != nil {
			return nil, err
		}
		for _, sentinel := range r.Sentinels {
			if err := sentinel.until(ctx, fmt.Sprint(server.Port), "sentinel", "get-master-addr-by-name", r.Name); err != nil {
				return nil, err
			}
		}
		return server, nil
	}
	return nil, fmt.Errorf("there is no replica")
}

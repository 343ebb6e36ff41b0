package testservers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A Client is a program that is installed as servers are, and that a test runs against
// a server of ours.
type Client struct {
	Name, Version string
	installation  installation
}

// NewClient finds a client by the name that scripts/servers has for it. With a program
// given it is one of several that are installed as one, and the program is its name and
// its word; else the name is.
func NewClient(t testing.TB, name string, program ...string) *Client {
	t.Helper()
	word := name
	if len(program) > 0 {
		word = program[0]
	}
	i, err := find(word, name)
	if err != nil {
		missing(t, word, notInstalled{err})
	}
	return &Client{Name: word, Version: i.versionOf(word), installation: i}
}

// Program is the path of one of the client's programs.
func (c *Client) Program(name string) string { return c.installation.program(name) }

// Path is the path of something else that is installed with it.
func (c *Client) Path(parts ...string) string {
	return filepath.Join(append([]string{c.installation.folder}, parts...)...)
}

// NewCollectd is a collectd of the test's own, with the configuration given beside what
// keeps it to a folder of its own (word: collectd). It listens nowhere: it has Addr, and
// nobody is there.
func NewCollectd(t testing.TB, config string) *Process {
	t.Helper()
	return own(t, "collectd", []string{"collectd"}, func(i []installation) (*Process, error) {
		p, _, err := newProcess("collectd", i[0].version)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(p.Dir, "collectd.conf")
		common := fmt.Sprintf("BaseDir %q\nPIDFile %q\nPluginDir \"/usr/lib/collectd\"\nTypesDB "+
			"\"/usr/share/collectd/types.db\"\n",
			p.Dir, filepath.Join(p.Dir, "pid"))
		if err := os.WriteFile(file, []byte(common+config), 0o644); err != nil {
			return nil, err
		}
		p.command = func() *exec.Cmd { return exec.Command(i[0].program("collectd"), "-f", "-C", file) }
		p.ready = func(context.Context) error { return nil }
		if err := p.Start(); err != nil {
			p.close()
			return nil, err
		}
		return p, nil
	})
}

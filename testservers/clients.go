package testservers

import (
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

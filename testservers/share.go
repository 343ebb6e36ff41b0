package testservers

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// server is what every kind of server here can do.
type server interface {
	String() string
	close()
}

// own starts a server that lives as long as the test.
func own[S server](t testing.TB, word string, programs []string, start func([]installation) (S, error)) S {
	t.Helper()
	s, err := begin(word, programs, start)
	if err != nil {
		missing(t, word, err)
	}
	t.Cleanup(s.close)
	announce(t, s)
	return s
}

// begin finds what a server needs and starts it.
func begin[S server](word string, programs []string, start func([]installation) (S, error)) (S, error) {
	var none S
	found := make([]installation, len(programs))
	for i, program := range programs {
		var err error
		if found[i], err = find(word, program); err != nil {
			return none, notInstalled{err}
		}
	}
	return start(found)
}

// shelf has the servers that the tests of this binary share.
var shelf struct {
	mu    sync.Mutex
	slots map[string]*slot
}

type slot struct {
	once   sync.Once
	server server
	err    error
}

// shared gives the one server of its kind that this test binary has.
func shared[S server](t testing.TB, word string, programs []string, key string,
	start func([]installation) (S, error)) S {
	t.Helper()
	shelf.mu.Lock()
	if shelf.slots == nil {
		shelf.slots = make(map[string]*slot)
	}
	s := shelf.slots[key]
	if s == nil {
		s = new(slot)
		shelf.slots[key] = s
	}
	shelf.mu.Unlock()
	s.once.Do(func() { s.server, s.err = begin(word, programs, start) })
	if s.err != nil {
		missing(t, word, s.err)
	}
	announce(t, s.server)
	return s.server.(S)
}

// announce says which test runs on which real server: scripts/test-summary prints it.
func announce(t testing.TB, s server) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	t.Logf("server: %s %s on %s", testPackage(), name, s)
}

// testPackage is the package under test, by its folder.
func testPackage() string {
	folder, err := os.Getwd()
	if err != nil {
		return "?"
	}
	root, err := projectRoot()
	if err != nil {
		return folder
	}
	relative, err := filepath.Rel(root, folder)
	if err != nil {
		return folder
	}
	return filepath.ToSlash(relative)
}

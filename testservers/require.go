package testservers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Required says whether MILLRACE_TEST_REQUIRE names word, so that a test must fail, not
// skip, when what it needs is missing.
func Required(word string) bool {
	words := strings.Split(os.Getenv("MILLRACE_TEST_REQUIRE"), ",")
	return slices.Contains(words, word) || slices.Contains(words, "all")
}

// notInstalled is the error of a server that isn't there. All others are failures.
type notInstalled struct{ error }

// missing skips or fails a test that lacks a server.
func missing(t testing.TB, word string, err error) {
	t.Helper()
	if _, ok := err.(notInstalled); !ok {
		t.Fatal(err)
	}
	if Required(word) {
		t.Fatalf("%s is required here: %v", word, err)
	}
	t.Skipf("%v; scripts/servers installs it (MILLRACE_TEST_REQUIRE=%s would make this a failure)", err, word)
}

// installation is a server as scripts/servers has left it.
type installation struct {
	name    string // as scripts/servers calls it
	folder  string
	version string
}

// program is the path of one of its programs. A link is followed, once: the account that
// runs the program may not be allowed into the link's folder, and redis-server is a link
// that must be called by its name.
func (i installation) program(name string) string {
	path := filepath.Join(i.folder, "bin", name)
	if target, err := os.Readlink(path); err == nil && filepath.IsAbs(target) {
		return target
	}
	return path
}

// versionOf is the version of one of several programs that are installed as one.
func (i installation) versionOf(program string) string {
	for part := range strings.SplitSeq(i.version, ",") {
		if name, version, ok := strings.Cut(strings.TrimSpace(part), " "); ok && name == program {
			return version
		}
	}
	return i.version
}

// find finds a server, and installs it where word is required, or wanted.
func find(word, name string) (installation, error) {
	root, err := projectRoot()
	if err != nil {
		return installation{}, err
	}
	cache := os.Getenv("MILLRACE_CACHE")
	if cache == "" {
		cache = filepath.Join(root, ".cache")
	}
	i := installation{name: name, folder: filepath.Join(cache, "servers", name)}
	if os.Getenv("MILLRACE_TEST_INSTALL") != "" || Required(word) {
		if out, err := exec.Command(filepath.Join(root, "scripts", "servers"), name).CombinedOutput(); err != nil {
			return i, fmt.Errorf("cannot install %s: %w\n%s", name, err, out)
		}
	}
	version, err := os.ReadFile(filepath.Join(i.folder, "version"))
	if err != nil {
		return i, fmt.Errorf("%s is not installed (%w)", name, err)
	}
	i.version = strings.TrimSpace(string(version))
	return i, nil
}

// projectRoot is the folder with go.mod, above the one that go test runs in.
func projectRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		above := filepath.Dir(folder)
		if above == folder {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		folder = above
	}
}

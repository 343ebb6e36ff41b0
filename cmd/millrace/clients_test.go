package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientTimeout bounds a run of a client, on a machine that is busy.
const clientTimeout = 5 * time.Minute

// documented checks that README.md names a client, in the version that a test runs;
// what Debian adds to a version doesn't count.
func documented(t *testing.T, client, version string) {
	t.Helper()
	version, _, _ = strings.Cut(version, "-")
	version, _, _ = strings.Cut(version, "+")
	inReadme(t, client+" "+version)
}

// inReadme checks that README.md has a row that begins so.
func inReadme(t *testing.T, client string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n| "+client+" ") {
		t.Errorf("README.md has no row of %s", client)
	}
}

// runClient runs a program to its end, with variables of the environment beside those of
// the test.
func runClient(t *testing.T, environment []string, input, program string, args ...string) (out, errOut string,
	err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

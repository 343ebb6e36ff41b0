package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"millrace/testservers"
)

// Gnocchi's own functional tests, all of them, pass against a server of ours, on either
// database.
func TestConformance(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		playConformance(t, nil)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		playConformance(t, testservers.NewPostgres(t))
	})
}

// playConformance plays them against servers that are new for each file, with databases of
// their own where one is given.
func playConformance(t *testing.T, databases *testservers.PostgresServer) {
	t.Helper()
	player := shared(t, "conformance", "run")
	if err := exec.Command("/usr/bin/python3", "-c", "import gabbi").Run(); err != nil {
		skipOrFail(t, "conformance", "python3-gabbi is not installed: scripts/test-setup does that")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	command := path + " serve"
	if databases != nil {
		command = serveWithDatabase(t, path, databases)
	}
	out, err := exec.CommandContext(ctx, "/usr/bin/python3", player, "--server", command).CombinedOutput()
	for _, name := range failedTests(string(out)) {
		t.Errorf("%s fails", name)
	}
	if t.Failed() || err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	count := passedLine.FindStringSubmatch(string(out))
	if count == nil {
		t.Fatalf("the player does not say how many tests passed:\n%s", out)
	}
	t.Logf("suite: Gnocchi's functional tests (gabbi): %s passed", count[1])
}

// serveWithDatabase is a command that makes a database and serves with it.
func serveWithDatabase(t *testing.T, path string, s *testservers.PostgresServer) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "serve")
	text := fmt.Sprintf(`#!/bin/sh
set -e
psql -q "%s" -c "create database conformance_$$"
MILLRACE_INDEX_URL="%s" exec "%s" serve
`, s.URL("postgres"), s.URL("conformance_$$"), path)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

var passedLine = regexp.MustCompile(`(?m)^(\d+) passed, \d+ failed`)

var failureLine = regexp.MustCompile(`(?m)^(?:FAIL|ERROR): \S+ \(conformance\.(\S+)\.test_request\)`)

func failedTests(output string) []string {
	var names []string
	for _, m := range failureLine.FindAllStringSubmatch(output, -1) {
		names = append(names, m[1])
	}
	return names
}

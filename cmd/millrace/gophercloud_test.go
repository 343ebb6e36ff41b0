package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// gophercloud's Gnocchi package works: its own acceptance tests pass, and what the answers
// say is right. It finds the server by a Keystone's catalogue. It is a module of its own,
// so that Millrace needn't require it.
func TestGophercloud(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("testdata", "gophercloud")
	if out, err := exec.Command("go", "-C", folder, "mod", "download").CombinedOutput(); err != nil {
		skipOrFail(t, "gophercloud", "gophercloud can't be had: %v\n%s", err, out)
	}
	const module = "github.com/gophercloud/utils"
	version, err := exec.Command("go", "-C", folder, "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	inReadme(t, "gophercloud "+module+" "+strings.TrimSpace(string(version)))
	c := startCloud(t, "gophercloud")
	out, errOut, err := runClient(t, c.environment(), "", "go", "-C", folder, "test", "-count=1", "-p", "1", "-v",
		"-tags", "acceptance",
		".", module+"/acceptance/gnocchi/metric/v1")
	passed := len(passedTest.FindAllString(out, -1))
	if err != nil || passed == 0 || strings.Contains(out, "--- SKIP") {
		t.Fatalf("%v\n%s%s\n%s", err, out, errOut, c.server.log)
	}
	t.Logf("suite: gophercloud's Gnocchi package (%s %s), its acceptance tests and ours: %d passed", module,
		strings.TrimSpace(string(version)), passed)
}

var passedTest = regexp.MustCompile(`(?m)^--- PASS: `)

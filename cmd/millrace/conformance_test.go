package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// conformanceFiles are those of Gnocchi's functional tests that this release is
// held to.
const conformanceFiles = "archive,archive-rule,async,base,batch-measures,cors,healthcheck,http-proxy-to-wsgi,metric,metric-granularity,metric-timestamp-format"

// needsResources are the tests among them that need resources, which come later.
var needsResources = []string{}

// Gnocchi's own functional tests pass against a server of ours.
func TestConformance(t *testing.T) {
	player := shared(t, "conformance", "run")
	if err := exec.Command("/usr/bin/python3", "-c", "import gabbi").Run(); err != nil {
		skipOrFail(t, "conformance", "python3-gabbi is not installed: scripts/test-setup does that")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/usr/bin/python3", player, "--server", path+" serve", "--only", conformanceFiles).CombinedOutput()
	failed := failedTests(string(out))
	for _, name := range failed {
		known := false
		for _, part := range needsResources {
			known = known || strings.Contains(name, part)
		}
		if !known {
			t.Errorf("%s", name)
		}
	}
	if t.Failed() || err != nil && len(failed) == 0 {
		t.Errorf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Logf("suite: Gnocchi's functional tests (gabbi): %s", lines[len(lines)-1])
}

var failureLine = regexp.MustCompile(`(?m)^(?:FAIL|ERROR): (\S+)`)

func failedTests(output string) []string {
	var names []string
	for _, m := range failureLine.FindAllStringSubmatch(output, -1) {
		names = append(names, m[1])
	}
	return names
}

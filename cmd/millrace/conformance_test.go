package main

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"
)

// conformanceFiles are those of Gnocchi's functional tests that this release is
// held to.
const conformanceFiles = "aggregates-with-metric-ids,aggregation,archive,archive-rule,async,base,batch-measures,create-metric-with-resource-id,cors,healthcheck,http-proxy-to-wsgi,influxdb,metric,metric-derived,metric-granularity,metric-timestamp-format,pagination,prometheus,resource,resource-type,search"

// notServed are the tests among them of what this release doesn't serve. They get 501.
var notServed = []string{}

// Gnocchi's own functional tests pass against a server of ours.
func TestConformance(t *testing.T) {
	t.Parallel()
	player := shared(t, "conformance", "run")
	if err := exec.Command("/usr/bin/python3", "-c", "import gabbi").Run(); err != nil {
		skipOrFail(t, "conformance", "python3-gabbi is not installed: scripts/test-setup does that")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/python3", player, "--server", path+" serve", "--only", conformanceFiles).CombinedOutput()
	failed := failedTests(string(out))
	for _, name := range failed {
		if !slices.Contains(notServed, name) {
			t.Errorf("%s fails", name)
		}
	}
	for _, name := range notServed {
		if !slices.Contains(failed, name) {
			t.Errorf("%s passes, and is listed as not served", name)
		}
	}
	if t.Failed() || err != nil && len(failed) == 0 {
		t.Errorf("%v\n%s", err, out)
	}
	count := passedLine.FindStringSubmatch(string(out))
	if count == nil {
		t.Fatalf("the player does not say how many tests passed:\n%s", out)
	}
	t.Logf("suite: Gnocchi's functional tests (gabbi): %s passed; %d are of what this release does not serve", count[1], len(notServed))
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

package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What the description says is true: schemathesis makes requests of it, good and bad,
// and the answers are the ones described; whatever is sent, there is no 5xx.
func TestSchemathesis(t *testing.T) {
	t.Parallel()
	program, err := filepath.Abs(filepath.Join("..", "..", ".cache", "schemathesis", "bin", "schemathesis"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil {
		skipOrFail(t, "schemathesis", "schemathesis is not installed: scripts/test-setup does that")
	}
	t.Logf("%s", out)
	p := startHere(t, t.TempDir(), "")
	f := func(t *testing.T, args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, append([]string{
			"run", p.base.String() + "/v1/openapi.json", "--header", "Authorization: Basic YWRtaW46", "--no-color",
			"--max-examples", "5", "--generation-deterministic", "--request-timeout", "30",
			"--suppress-health-check", "all",
			"--exclude-path", "/v1/prometheus/write", // it has no way to make such a body
		}, args...)...)
		cmd.Dir = t.TempDir() // it leaves files behind
		out, err := cmd.CombinedOutput()
		count := generated.FindSubmatch(out)
		if err != nil || count == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s requests", count[1])
	}
	f(t, "--mode", "positive", "--phases", "coverage,fuzzing", "--checks",
		"not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance")
	// A statement that isn't known is answered 501, as Gnocchi does.
	f(t, "--mode", "negative", "--phases", "coverage", "--checks", "not_a_server_error", "--exclude-path",
		"/v1/influxdb/query")
	if log := p.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log:\n%s", log)
	}
}

var generated = regexp.MustCompile(`(\d+) generated`)

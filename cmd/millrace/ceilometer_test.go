package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/testservers"
)

// The real Ceilometer makes its resource types, twice with the same result, and its
// publisher makes archive policies, a resource and metrics on the way to its measures.
func TestCeilometer(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "openstack", "ceilometer")
	documented(t, "Ceilometer", client.Version)
	p := startHere(t, t.TempDir(), "")
	config := filepath.Join(t.TempDir(), "ceilometer.conf")
	text := fmt.Sprintf("[gnocchi]\nauth_section = gnocchi\nauth_type = gnocchi-basic\nuser = admin\nendpoint = %s\n", p.base)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) {
		t.Helper()
		out, errOut, err := runClient(t, nil, "", client.Program(program), args...)
		if err != nil || strings.Contains(errOut, "ERROR ceilometer") {
			t.Fatalf("%s: %v\n%s%s\n%s", program, err, out, errOut, p.log)
		}
	}
	run("ceilometer-upgrade", "--config-file", config)
	var types, again []map[string]any
	if err := p.fetch(t, "/resource_type", &types); err != nil || len(types) < 20 {
		t.Fatalf("%d resource types: %v", len(types), err)
	}
	run("ceilometer-upgrade", "--config-file", config)
	if err := p.fetch(t, "/resource_type", &again); err != nil || fmt.Sprint(again) != fmt.Sprint(types) {
		t.Errorf("the second time there are %v, %v", again, err)
	}
	run("python", filepath.Join("testdata", "ceilometer", "publish.py"), config, "gnocchi://?enable_filter_project=false")
	var vm map[string]any
	if err := p.fetch(t, "/resource/instance/vm-1", &vm); err != nil {
		t.Fatal(err)
	}
	if vm["flavor_name"] != "m1" || vm["host"] != "h1" || vm["project_id"] != "p1" || len(vm["metrics"].(map[string]any)) < 2 {
		t.Errorf("the resource is %v", vm)
	}
	var rows [][]any
	if err := p.fetch(t, "/resource/instance/vm-1/metric/memory.usage/measures?refresh=true", &rows); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rows); got != "[[2026-03-06T14:30:00+00:00 300 60] [2026-03-06T14:35:00+00:00 300 70]]" {
		t.Errorf("its measures are %s", got)
	}
	t.Logf("suite: Ceilometer %s: ceilometer-upgrade (%d resource types), its publisher, in basic mode", client.Version, len(types))
}

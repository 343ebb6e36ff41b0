package main

import (
	"encoding/json"
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
	const settings = "[gnocchi]\nauth_section = gnocchi\nauth_type = gnocchi-basic\nuser = admin\nendpoint = %s\n"
	run, config := ceilometer(t, client, p, fmt.Sprintf(settings, p.base))
	run("ceilometer-upgrade", "--config-file", config)
	var types, again []map[string]any
	if err := p.fetch(t, "/resource_type", &types); err != nil || len(types) < 20 {
		t.Fatalf("%d resource types: %v", len(types), err)
	}
	run("ceilometer-upgrade", "--config-file", config)
	if err := p.fetch(t, "/resource_type", &again); err != nil || fmt.Sprint(again) != fmt.Sprint(types) {
		t.Errorf("the second time there are %v, %v", again, err)
	}
	run("python", filepath.Join("testdata", "ceilometer", "publish.py"), config, "gnocchi://?enable_filter_project=false",
		"p1")
	var vm map[string]any
	if err := p.fetch(t, "/resource/instance/vm-p1", &vm); err != nil {
		t.Fatal(err)
	}
	if vm["flavor_name"] != "m1" || vm["host"] != "h1" || vm["project_id"] != "p1" ||
		len(vm["metrics"].(map[string]any)) < 2 {
		t.Errorf("the resource is %v", vm)
	}
	var rows [][]any
	if err := p.fetch(t, "/resource/instance/vm-p1/metric/memory.usage/measures?refresh=true", &rows); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rows); got != "[[2026-03-06T14:30:00+00:00 300 60] [2026-03-06T14:35:00+00:00 300 70]]" {
		t.Errorf("its measures are %s", got)
	}
	t.Logf("suite: Ceilometer %s: ceilometer-upgrade (%d resource types), its publisher, in basic mode", client.Version,
		len(types))
}

// ceilometer returns what runs a program of Ceilometer, which must find nothing to complain
// of, and the path of its configuration.
func ceilometer(
	t *testing.T, client *testservers.Client, p *thread, text string,
) (run func(program string, args ...string), config string) {
	t.Helper()
	config = filepath.Join(t.TempDir(), "ceilometer.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(program string, args ...string) {
		t.Helper()
		out, errOut, err := runClient(t, nil, "", client.Program(program), args...)
		if err != nil || strings.Contains(errOut, "ERROR ceilometer") {
			t.Fatalf("%s: %v\n%s%s\n%s", program, err, out, errOut, p.log)
		}
	}, config
}

const ceilometerInCloud = `[gnocchi]
auth_section = service_credentials
[service_credentials]
auth_type = password
auth_url = %s
username = %s
password = %s
project_name = %s
user_domain_id = default
project_domain_id = default
region_name = %s
interface = public
`

// In a cloud Ceilometer finds the server in Keystone's catalogue and comes with a token; its
// publisher asks Keystone, too, which project is to be left out.
func TestCeilometerInCloud(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "openstack", "ceilometer")
	c := startCloud(t, "ceilometer")
	_, list := c.call(t, "GET", "/services?type=identity", nil)
	identityService := list["services"].([]any)[0].(map[string]any)["id"]
	c.create(t, "endpoint", map[string]any{"service_id": identityService, "interface": "public", "region_id": c.region,
		"url": c.URL()})
	run, config := ceilometer(t, client, c.server, fmt.Sprintf(ceilometerInCloud, c.URL(), c.user, c.password, c.project,
		c.region))
	run("ceilometer-upgrade", "--config-file", config)
	run("python", filepath.Join("testdata", "ceilometer", "publish.py"), config, "gnocchi://?filter_project="+c.project,
		"p1", c.projectID)

	token := "X-Auth-Token: " + c.login(t, c.user, c.password, c.project)
	if a := c.server.ask(t, "GET", "/resource/instance/vm-"+c.projectID, "", token); a.status != 404 {
		t.Errorf("the project that is left out has an instance: %v", a)
	}
	a := c.server.ask(t, "GET", "/resource/instance/vm-p1", "", token)
	var vm struct {
		Metrics map[string]string
		Project string `json:"project_id"`
		Creator string `json:"created_by_project_id"`
	}
	if err := json.Unmarshal([]byte(a.body), &vm); err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	if len(vm.Metrics) < 2 || vm.Project != "p1" || vm.Creator != c.projectID {
		t.Errorf("the resource is %+v, want one that is made by project %s", vm, c.projectID)
	}
	t.Logf("suite: Ceilometer %s: ceilometer-upgrade, its publisher, with Keystone", client.Version)
}

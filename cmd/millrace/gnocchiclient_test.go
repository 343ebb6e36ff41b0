package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/testservers"
)

// A shell runs the gnocchi command against a server.
type shell struct {
	program string
	server  *server
}

// ask runs a command that prints something, with what it reads, and decodes its output.
func (s shell) ask(t *testing.T, input string, into any, args ...string) {
	t.Helper()
	out, errOut, err := s.run(t, input, append(args, "--format", "json")...)
	if err != nil {
		t.Fatalf("gnocchi %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("gnocchi %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// do runs a command that prints nothing.
func (s shell) do(t *testing.T, input string, args ...string) {
	t.Helper()
	out, errOut, err := s.run(t, input, args...)
	if err != nil || out != "" {
		t.Fatalf("gnocchi %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
}

// fail runs a command that fails, and says why.
func (s shell) fail(t *testing.T, why string, args ...string) {
	t.Helper()
	out, errOut, err := s.run(t, "", args...)
	if err == nil || !strings.Contains(errOut, why) {
		t.Errorf("gnocchi %s: %v, want %q\n%s%s", strings.Join(args, " "), err, why, out, errOut)
	}
}

func (s shell) run(t *testing.T, input string, args ...string) (out, errOut string, err error) {
	t.Helper()
	return runClient(t, []string{"OS_AUTH_TYPE=gnocchi-basic", "GNOCCHI_USER=admin", "GNOCCHI_ENDPOINT=" +
		s.server.base.String()}, input, s.program, args...)
}

// Debian's gnocchi command does what its users do with it.
func TestGnocchiCommand(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "gnocchi-client")
	documented(t, "gnocchiclient", client.Version)
	p := startHere(t, t.TempDir(), "")
	g := shell{client.Program("gnocchi"), &p.server}

	type object map[string]any
	g.ask(t, "", new(object), "archive-policy", "create", "fine", "-b", "0", "-m", "mean", "-m", "max",
		"-d", "granularity:1s,points:86400", "-d", "granularity:1m,timespan:7d")
	g.ask(t, "", new(object), "archive-policy", "update", "fine", "-d", "granularity:1s,points:3600", "-d",
		"granularity:1m,timespan:1d")
	var policy struct {
		Definition []object
		Methods    []string `json:"aggregation_methods"`
	}
	g.ask(t, "", &policy, "archive-policy", "show", "fine")
	slices.Sort(policy.Methods)
	want := []object{
		{"granularity": "0:00:01", "points": 3600.0, "timespan": "1:00:00"},
		{"granularity": "0:01:00", "points": 1440.0, "timespan": "1 day, 0:00:00"},
	}
	if diff := cmp.Diff(want, policy.Definition); diff != "" || fmt.Sprint(policy.Methods) != "[max mean]" {
		t.Errorf("the policy has %v (-want +got):\n%s", policy.Methods, diff)
	}
	g.ask(t, "", new(object), "archive-policy-rule", "create", "ours", "-a", "fine", "-m", "cpu*")
	g.fail(t, "Archive policy rule ours already exists", "archive-policy-rule", "create", "ours", "-a", "fine", "-m", "x")

	g.ask(t, "", new(object), "resource-type", "create", "vm", "-a", "host:string:true:max_length=64", "-a",
		"cores:number:false:min=1")
	g.ask(t, "", new(object), "resource-type", "update", "vm", "-a", "note:string:false")
	for i, name := range []string{"vm a", "vm b", "c3"} {
		g.ask(t, "", new(object), "resource", "create", name, "-t", "vm", "-a", fmt.Sprint("host:h", i%2), "-a",
			fmt.Sprint("cores:", i+1), "-n", "cpu:fine")
	}
	g.fail(t, " already exists (HTTP 409)", "resource", "create", "vm a", "-t", "vm", "-a", "host:h")
	g.fail(t, "Invalid input", "resource", "create", "vm d", "-t", "vm", "-a", "cores:0", "-a", "host:h")
	g.fail(t, " does not exist (HTTP 404)", "resource", "show", "nobody")

	g.do(t, "", "measures", "add", "-r", "vm a", "cpu", "-m", "2024-05-05T05:05:05@1", "-m", "2024-05-05T05:05:06@3")
	g.do(t, `{"vm b": {"cpu": [{"timestamp": "2024-05-05T05:05:05", "value": 5}], "cpu.idle": {"measures": [{"timestamp": "2024-05-05T05:05:05Z", "value": 90}], "unit": "%"}},
		"c3": {"cpu": [{"timestamp": "2024-05-05T05:05:06", "value": 7}]}}`, "measures", "batch-resources-metrics", "--create-metrics", "-")
	var metric object
	g.ask(t, "", &metric, "metric", "create", "cpu.steal")
	if metric["archive_policy_name"] != "fine" {
		t.Errorf("the rule gave %v", metric)
	}
	id := metric["id"].(string)
	g.do(t, fmt.Sprintf(`{%q: [{"timestamp": "2024-05-05T05:05:05", "value": 2}, {"timestamp": "2024-05-05T05:05:06", `+
		`"value": 4}]}`, id), "measures", "batch-metrics", "-")
	unknown := filepath.Join(t.TempDir(), "measures.json")
	if err := os.WriteFile(unknown, []byte(`{"nobody": {"cpu": [{"timestamp": "2024-05-05T05:05:05", "value": 5}]}}`),
		0o644); err != nil {
		t.Fatal(err)
	}
	g.fail(t, "'original_resource_id': 'nobody'", "measures", "batch-resources-metrics", "--create-metrics", unknown)

	rows := func(want string, args ...string) {
		t.Helper()
		var list []object
		g.ask(t, "", &list, args...)
		var got []string
		for _, row := range list {
			line := fmt.Sprint(row["timestamp"], " ", row["granularity"], " ", row["value"])
			for _, column := range []string{"group", "name"} {
				if v, ok := row[column]; ok {
					line = fmt.Sprint(v, " ", line)
				}
			}
			got = append(got, line)
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("gnocchi %s:\n%s\nwant:\n%s", strings.Join(args, " "), s, want)
		}
	}
	rows(`2024-05-05T05:05:00+00:00 60 2
2024-05-05T05:05:05+00:00 1 1
2024-05-05T05:05:06+00:00 1 3`, "measures", "show", "--refresh", "--utc", "-r", "vm a", "cpu")
	rows(`2024-05-05T05:05:00+00:00 60 4`, "measures", "show", "--refresh", "--utc", "--aggregation", "max",
		"--granularity", "60", id)
	rows(`2024-05-05T05:00:00+00:00 3600 90`, "measures", "show", "--refresh", "--utc", "-r", "vm b", "cpu.idle",
		"--resample", "3600", "--granularity", "1")
	rows(`2024-05-05T05:05:00+00:00 60 7
2024-05-05T05:05:06+00:00 1 7`, "measures", "show", "--refresh", "--utc", "-r", "c3", "cpu")
	rows(`aggregated 2024-05-05T05:05:00+00:00 60 14`, "aggregates", "(aggregate sum (metric cpu mean))",
		"host like 'h%'", "--resource-type", "vm", "--granularity", "60", "--needed-overlap", "0")
	rows(`aggregated host: h0 2024-05-05T05:05:00+00:00 60 9
aggregated host: h1 2024-05-05T05:05:00+00:00 60 5`, "aggregates", "(aggregate sum (metric cpu mean))", "cores >= 1", "--resource-type", "vm", "--groupby", "host", "--granularity", "60")
	rows(id+"/mean 2024-05-05T05:05:06+00:00 1 8", "aggregates", "(* 2 (metric "+id+" mean))", "--start",
		"2024-05-05T05:05:06", "--stop", "2024-05-05T05:05:07", "--granularity", "1")
	rows(`2024-05-05T05:05:00+00:00 60 7`, "measures", "aggregation", "-m", "cpu", "--resource-type", "vm", "--query",
		"host=h0", "--aggregation", "max", "--utc", "--granularity", "60", "--needed-overlap", "0")

	g.ask(t, "", new(object), "resource", "update", "vm a", "-t", "vm", "-a", "host:h9", "-d", "cpu")
	var list []object
	hosts := func(want string, args ...string) {
		t.Helper()
		list = nil
		g.ask(t, "", &list, args...)
		var got []string
		for _, r := range list {
			got = append(got, fmt.Sprint(r["original_resource_id"], " ", r["host"]))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("gnocchi %s: %s, want %s", strings.Join(args, " "), s, want)
		}
	}
	hosts("vm a h0, vm a h9", "resource", "history", "vm a", "-t", "vm", "--details", "--sort", "revision_start:asc")
	hosts("c3 h0, vm b h1", "resource", "search", "cores > 1 and host != h9", "-t", "vm", "--sort", "cores:desc")
	hosts("vm a h9, vm b h1, c3 h0", "resource", "list", "-t", "vm", "--sort", "host:desc", "--sort", "cores:asc")
	g.ask(t, "", &object{}, "resource", "batch", "delete", "host like 'h%'", "-t", "vm")
	hosts("", "resource", "list", "-t", "vm")
	g.ask(t, "", &list, "metric", "list") // one of them was taken from its resource
	if len(list) != 2 {
		t.Errorf("there are %v", list)
	}
	for _, m := range list {
		g.do(t, "", "metric", "delete", m["id"].(string))
	}
	var status struct {
		ToProcess float64 `json:"storage/total number of measures to process"`
	}
	g.ask(t, "", &status, "status")
	if status.ToProcess != 0 {
		t.Errorf("the status says %v", status)
	}
	g.fail(t, "Archive policy fine is still in use", "archive-policy", "delete", "fine")
	g.do(t, "", "archive-policy-rule", "delete", "ours")
	g.do(t, "", "archive-policy", "delete", "fine")
	t.Logf("suite: the gnocchi command of gnocchiclient %s: archive policies, resources, metrics, measures, "+
		"aggregates, status", client.Version)
}

// Its benchmarks make metrics, measures and reads, and none of them fails.
func TestGnocchiBenchmark(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "gnocchi-client")
	p := startHere(t, t.TempDir(), "")
	g := shell{filepath.Join("testdata", "gnocchiclient", "gnocchi"), &p.server}
	var metric struct{ ID string }
	g.ask(t, "", &metric, "metric", "create", "-a", "high")
	f := func(verbs string, args ...string) {
		t.Helper()
		var report map[string]any
		g.ask(t, "", &report, append([]string{"benchmark"}, args...)...)
		for verb := range strings.FieldsSeq(verbs) {
			executed, failures := report[verb+" executed"], report[verb+" failures"]
			if n, ok := executed.(float64); !ok || n == 0 || failures != 0.0 {
				t.Errorf("gnocchi benchmark %s: %v", strings.Join(args, " "), report)
			}
		}
	}
	f("create delete", "metric", "create", "-a", "low", "-n", "50", "-w", "4")
	f("show", "metric", "show", "-n", "50", metric.ID)
	f("push", "measures", "add", "-n", "10000", "-b", "100", "--wait", "-s", "2024-05-05", "-e", "2024-05-06", metric.ID)
	f("show", "measures", "show", "-n", "20", "--aggregation", "max", metric.ID)
	t.Logf("suite: benchmark of gnocchiclient %s: metrics and measures, no failures", client.Version)
}

// The client's own functional tests pass, with the commands "gnocchi" and "openstack metric".
func TestGnocchiClientSuite(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "gnocchi-client")
	const python, module = "/usr/bin/python3", "gnocchiclient.tests.functional"
	out, err := exec.Command(python, "-c", "import "+module+
		" as m, os; print(*sorted(n for n in os.listdir(m.__path__[0]) if n.startswith('test_')))").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	commands := t.TempDir()
	launcher, err := filepath.Abs(filepath.Join("testdata", "gnocchiclient", "gnocchi"))
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"gnocchi": launcher, "openstack": client.Program("openstack")} {
		if err := os.Symlink(target, filepath.Join(commands, name)); err != nil {
			t.Fatal(err)
		}
	}
	var passed atomic.Int64
	t.Run("files", func(t *testing.T) {
		for file := range strings.FieldsSeq(string(out)) {
			t.Run(strings.TrimSuffix(file, ".py"), func(t *testing.T) {
				t.Parallel()
				passed.Add(int64(playUnittest(t, python, module+"."+strings.TrimSuffix(file, ".py"), commands)))
			})
		}
	})
	t.Logf("suite: functional tests of gnocchiclient %s: %d passed", client.Version, passed.Load())
}

// playUnittest plays a module of the client's tests against a server of its own, and says
// how many there are.
func playUnittest(t *testing.T, python, module, commands string) int {
	t.Helper()
	p := startHere(t, t.TempDir(), "")
	out, errOut, err := runClient(t, []string{"GNOCCHI_CLIENT_EXEC_DIR=" + commands, "PIFPAF_GNOCCHI_HTTP_URL=" +
		p.base.String()},
		"", python, "-m", "unittest", module)
	count := unittestCount.FindStringSubmatch(errOut)
	if err != nil || count == nil {
		t.Fatalf("%v\n%s%s\n%s", err, out, errOut, p.log)
	}
	n, err := strconv.Atoi(count[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var unittestCount = regexp.MustCompile(`(?m)^Ran (\d+) tests? in`)

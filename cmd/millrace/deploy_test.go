package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubernetes "sigs.k8s.io/yaml"
)

// settle has settings be ones that there are, and that are right together.
func settle(t *testing.T, of string, environment map[string]string) {
	t.Helper()
	var environ []string
	for variable, value := range environment {
		environ = append(environ, variable+"="+value)
	}
	slices.Sort(environ)
	if _, strange, err := loadConfig(t, "", environ...); err != nil || len(strange) > 0 {
		t.Errorf("%s: %v, no settings are %q", of, err, strange)
	}
}

// Every variable in the compose files is a setting, and each service is one that starts.
func TestCompose(t *testing.T) {
	for file, want := range map[string]int{"compose.yaml": 3, "compose-kafka.yaml": 3} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		var compose struct {
			Services map[string]struct {
				Environment map[string]string
				Command     any
			}
		}
		if err := yaml.Unmarshal(text, &compose); err != nil {
			t.Fatal(err)
		}
		ours := 0
		for name, service := range compose.Services {
			if strings.HasPrefix(name, "millrace") {
				ours++
				settle(t, file+" "+name, service.Environment)
			}
		}
		if ours != want {
			t.Errorf("%s: %d services are ours, want %d", file, ours, want)
		}
	}
}

// A manifest is what Kubernetes takes: every field is one of its kind. Their settings are
// ours, their probes what is served, and their selectors what is labelled.
func TestKubernetes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "kubernetes", "millrace.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	environment := make(map[string]string)
	kinds := make(map[string]int)
	for part := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var kind struct{ APIVersion, Kind string }
		if err := kubernetes.Unmarshal(part, &kind); err != nil {
			t.Fatal(err)
		}
		var object runtime.Object
		switch kind.APIVersion + " " + kind.Kind {
		case "v1 ConfigMap":
			object = new(corev1.ConfigMap)
		case "v1 Secret":
			object = new(corev1.Secret)
		case "v1 Service":
			object = new(corev1.Service)
		case "apps/v1 Deployment":
			object = new(appsv1.Deployment)
		case "policy/v1 PodDisruptionBudget":
			object = new(policyv1.PodDisruptionBudget)
		case "autoscaling/v2 HorizontalPodAutoscaler":
			object = new(autoscalingv2.HorizontalPodAutoscaler)
		default:
			t.Fatalf("nobody checks a %v", kind)
		}
		if err := kubernetes.UnmarshalStrict(part, object); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
		kinds[kind.Kind]++
		switch o := object.(type) {
		case *corev1.ConfigMap:
			for name, value := range o.Data {
				environment[name] = value
			}
		case *corev1.Secret:
			for name, value := range o.StringData {
				environment[name] = value
			}
		case *appsv1.Deployment:
			checkDeployment(t, o)
		}
	}
	if kinds["Deployment"] != 2 || kinds["PodDisruptionBudget"] != 2 || kinds["HorizontalPodAutoscaler"] != 1 {
		t.Errorf("there are %v", kinds)
	}
	settle(t, "the manifests", environment)
}

func checkDeployment(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	for name, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[name] != value {
			t.Errorf("%s selects %s=%s, and its pods have %v", d.Name, name, value, d.Spec.Template.Labels)
		}
	}
	c := d.Spec.Template.Spec.Containers[0]
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if probe == nil || !slices.Contains([]string{"/healthcheck", "/readyz"}, probe.HTTPGet.Path) {
			t.Errorf("%s: probe %v", d.Name, probe)
		}
	}
	if _, err := parseRoles(c.Args[2:]); err != nil || !slices.Equal(c.Args[:2], []string{"serve", "--roles"}) {
		t.Errorf("%s: arguments %q: %v", d.Name, c.Args, err)
	}
}

// systemd finds nothing wrong with the unit but that the program isn't installed here.
func TestSystemd(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		skipOrFail(t, "systemd", "there is no systemd-analyze")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "systemd", "millrace.service"))
	if err != nil {
		t.Fatal(err)
	}
	here := filepath.Join(t.TempDir(), "millrace.service")
	text = bytes.ReplaceAll(text, []byte("/usr/bin/millrace"), []byte("/bin/true"))
	if err := os.WriteFile(here, text, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "verify", "--man=no", here).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("millrace.service:")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// The rules are right, fire when they should and only then, and stand on metrics that a
// server has from its start.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		skipOrFail(t, "prometheus", "there is no promtool: scripts/servers prometheus installs it")
	}
	folder := filepath.Join("..", "..", "deploy", "prometheus")
	rules := filepath.Join(folder, "alerts.yaml")
	for _, args := range [][]string{{"check", "rules", rules},
		{"test", "rules", filepath.Join(folder, "alerts_test.yaml")}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	p := c.start("api,worker")
	answer, err := http.Get(p.base.Scheme + "://" + p.base.Host + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	scraped, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, selector := range regexp.MustCompile(`\bmillrace_[a-z_]+(?:\{kind=~?"[a-z_|]+"\})?`).FindAllString(string(text), -1) {
		name, kinds, _ := strings.Cut(selector, "{")
		kinds = strings.TrimRight(strings.TrimLeft(kinds, `kind=~"`), `"}`)
		for kind := range strings.SplitSeq(kinds, "|") {
			line := regexp.MustCompile(`(?m)^` + name + `[ {].*` + regexp.QuoteMeta(kind))
			if !line.Match(scraped) {
				t.Errorf("nobody has %s of kind %q", name, kind)
			}
		}
	}
}

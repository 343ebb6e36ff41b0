package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"millrace/testservers"
)

// getWith asks for a path, with headers of the form "Name: value".
func getWith(t *testing.T, url string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServeHtpasswd(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("hunter2"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := writeFile(t, "users", "admin:"+string(hash)+"\njd:"+string(hash)+"\n")
	policies := writeFile(t, "policy.yaml", "get status: role:admin or role:reader\ncreate metric: role:admin\n")
	metricsAt := fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
	dir, listen := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
	settings := []string{
		"MILLRACE_API_LISTEN=" + listen, "MILLRACE_API_AUTH=htpasswd", "MILLRACE_API_HTPASSWD_FILE=" + users,
		"MILLRACE_API_POLICY_FILE=" + policies,
		"MILLRACE_TELEMETRY_METRICS_LISTEN=" + metricsAt, "MILLRACE_TELEMETRY_METRICS_AUTH=true",
	}
	p := startHere(t, dir, "", settings...)
	f := func(want int, url, user, password string) {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want || want == 401 && !strings.HasPrefix(answer.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s as %s:%s: %d, want %d; %v", url, user, password, answer.StatusCode, want, answer.Header)
		}
	}
	status := "http://" + listen + "/v1/status"
	f(200, status, "admin", "hunter2")
	f(401, status, "admin", "")
	f(401, status, "", "")
	f(403, status, "jd", "hunter2")
	f(404, "http://"+listen+"/metrics", "admin", "hunter2")
	f(401, "http://"+metricsAt+"/metrics", "", "")
	f(403, "http://"+metricsAt+"/metrics", "jd", "hunter2")
	f(200, "http://"+metricsAt+"/metrics", "admin", "hunter2")
	f(404, "http://"+metricsAt+"/v1/status", "admin", "hunter2")

	// The commands read the same settings; the password stands in the environment.
	settings = append(settings, "MILLRACE_DATA_DIR="+dir)
	if _, errOut, code := command(t, settings, "status"); code != 1 || !strings.Contains(errOut, "401 Unauthorized") {
		t.Errorf("without a password: %d %s", code, errOut)
	}
	if out, errOut, code := command(t, append(settings, "MILLRACE_CLIENT_PASSWORD=hunter2"), "status"); code != 0 {
		t.Errorf("with a password: %d %s%s", code, out, errOut)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}
	if strings.Contains(p.log.String(), "hunter2") {
		t.Error("a password is in the log")
	}
}

func TestServeRemoteUser(t *testing.T) {
	listen := fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
	p := startHere(t, t.TempDir(), "", "MILLRACE_API_LISTEN="+listen, "MILLRACE_API_AUTH=remoteuser",
		"MILLRACE_API_REMOTE_USER_HEADER=X-User")
	defer p.terminate()
	for want, headers := range map[int][]string{200: {"X-User: admin"}, 403: {"X-User: jd"},
		401: {"X-Remote-User: admin"}} {
		if got := getWith(t, "http://"+listen+"/v1/status", headers...).StatusCode; got != want {
			t.Errorf("%v: %d, want %d", headers, got, want)
		}
	}
}

// What is wrong with the files is said before anything else happens.
func TestServeAuthFiles(t *testing.T) {
	f := func(want string, settings ...string) {
		t.Helper()
		settings = append(settings, "MILLRACE_DATA_DIR="+t.TempDir(), fmt.Sprintf("MILLRACE_API_LISTEN=127.0.0.1:%d",
			testservers.Port(t)))
		if _, errOut, code := command(t, settings, "serve"); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%v: status %d, %s; want %s", settings, code, errOut, want)
		}
	}
	f("api.htpasswd_file: cannot read the password file", "MILLRACE_API_AUTH=htpasswd",
		"MILLRACE_API_HTPASSWD_FILE=/does/not/exist")
	f("users:1: the hash of user", "MILLRACE_API_AUTH=htpasswd", "MILLRACE_API_HTPASSWD_FILE="+
		writeFile(t, "users", "a:b"))
	f(`policy.yaml:2: there is no rule "nonsense"`, "MILLRACE_API_POLICY_FILE="+
		writeFile(t, "policy.yaml", "\nnonsense: role:x"))
}

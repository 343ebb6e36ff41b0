package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"millrace/testservers"
)

// An identity is a client of a Keystone, as its administrator.
type identity struct {
	*testservers.KeystoneServer
	token string
}

// call makes a request to Keystone and returns the header and the JSON of the answer.
func (k *identity) call(t *testing.T, method, path string, body any, header ...string) (http.Header, map[string]any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if body == nil {
		data = nil
	}
	r, err := http.NewRequestWithContext(t.Context(), method, k.URL()+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("X-Auth-Token", k.token)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("Keystone: %s %s: %s %s %v", method, path, answer.Status, text, err)
	}
	doc := map[string]any{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
	}
	return answer.Header, doc
}

// login returns a token of a user of the default domain, for a project of it.
func (k *identity) login(t *testing.T, user, password, project string) string {
	t.Helper()
	domain := map[string]any{"id": "default"}
	header, _ := k.call(t, "POST", "/auth/tokens", map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"},
			"password": map[string]any{"user": map[string]any{"name": user, "password": password, "domain": domain}}},
		"scope": map[string]any{"project": map[string]any{"name": project, "domain": domain}},
	}})
	return header.Get("X-Subject-Token")
}

// create makes an object and returns its id.
func (k *identity) create(t *testing.T, kind string, object map[string]any) string {
	t.Helper()
	_, doc := k.call(t, "POST", "/"+kind+"s", map[string]any{kind: object})
	return doc[kind].(map[string]any)["id"].(string)
}

// role returns a role's id.
func (k *identity) role(t *testing.T, name string) string {
	t.Helper()
	_, doc := k.call(t, "GET", "/roles?name="+name, nil)
	list := doc["roles"].([]any)
	if len(list) == 0 {
		return k.create(t, "role", map[string]any{"name": name})
	}
	return list[0].(map[string]any)["id"].(string)
}

// member makes a user who has a role in a project, and returns the user's id.
func (k *identity) member(t *testing.T, name, role, project string) string {
	t.Helper()
	user := k.create(t, "user", map[string]any{"name": name, "password": "pw-" + name, "domain_id": "default"})
	k.call(t, "PUT", "/projects/"+project+"/users/"+user+"/roles/"+k.role(t, role), nil)
	return user
}

// A cloud is a Keystone with a region of the test's own, whose metric service is a server
// of ours, and with a user who has the role admin in a project of the test's.
type cloud struct {
	*identity
	server                                     *thread
	region, project, projectID, user, password string
}

// startCloud starts a server for a test's region of the Keystone that tests share.
func startCloud(t *testing.T, region string) *cloud {
	t.Helper()
	c := &cloud{identity: &identity{KeystoneServer: testservers.Keystone(t)}, region: region, project: region +
		"-project", user: region + "-user"}
	c.token = c.login(t, "admin", c.AdminPassword, "admin")
	c.password = "pw-" + c.user
	c.projectID = c.create(t, "project", map[string]any{"name": c.project, "domain_id": "default"})
	c.member(t, c.user, "admin", c.projectID)
	c.server = startHere(t, t.TempDir(), "", "MILLRACE_API_AUTH=keystone", "MILLRACE_API_KEYSTONE_URL="+c.URL(),
		"MILLRACE_API_KEYSTONE_USER="+c.user, "MILLRACE_API_KEYSTONE_PASSWORD="+c.password, "MILLRACE_API_KEYSTONE_PROJECT="+
			c.project,
		"MILLRACE_API_KEYSTONE_TIMEOUT=20s", "MILLRACE_API_TIMEOUT=30s") // a busy machine's Keystone is slow
	c.create(t, "region", map[string]any{"id": region})
	service := c.create(t, "service", map[string]any{"type": "metric", "name": "gnocchi"})
	for _, kind := range []string{"public", "internal", "admin"} {
		c.create(t, "endpoint", map[string]any{"service_id": service, "interface": kind, "region_id": region,
			"url": c.server.base.String()})
	}
	return c
}

// environment has the variables that clients of OpenStack read.
func (c *cloud) environment() []string {
	return []string{
		"OS_AUTH_URL=" + c.URL(), "OS_IDENTITY_API_VERSION=3", "OS_USERNAME=" + c.user, "OS_PASSWORD=" + c.password,
		"OS_PROJECT_NAME=" + c.project,
		"OS_USER_DOMAIN_ID=default", "OS_PROJECT_DOMAIN_ID=default", "OS_DOMAIN_ID=default", "OS_REGION_NAME=" + c.region,
		"OS_INTERFACE=public",
	}
}

// Tokens of a real Keystone say who may do what; one that is revoked is no longer
// good, and while Keystone is away nobody is let in or blamed.
func TestKeystone(t *testing.T) {
	t.Parallel()
	k := &identity{KeystoneServer: testservers.NewKeystone(t)}
	documented(t, k.Name, k.Version)
	k.token = k.login(t, "admin", k.AdminPassword, "admin")
	project := func(name string) string {
		return k.create(t, "project", map[string]any{"name": name, "domain_id": "default"})
	}
	service, p1, p2 := project("service"), project("p1"), project("p2")
	k.member(t, "gnocchi", "admin", service)
	u1 := k.member(t, "u1", "member", p1)
	k.member(t, "u2", "member", p2)

	p := startHere(t, t.TempDir(), "", "MILLRACE_API_AUTH=keystone", "MILLRACE_API_KEYSTONE_URL="+k.URL(),
		"MILLRACE_API_KEYSTONE_PASSWORD=pw-gnocchi", "MILLRACE_API_KEYSTONE_CACHE=0")
	ask := func(method, path, token, body string, headers ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, p.base.String()+"/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "application/json")
		if token != "" {
			r.Header.Set("X-Auth-Token", token)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return answer, string(text)
	}
	f := func(want int, method, path, token, body string, headers ...string) string {
		t.Helper()
		answer, text := ask(method, path, token, body, headers...)
		if answer.StatusCode != want {
			t.Errorf("%s %s: %d, want %d: %s", method, path, answer.StatusCode, want, text)
		}
		return text
	}
	t1, t2, admin := k.login(t, "u1", "pw-u1", "p1"), k.login(t, "u2", "pw-u2", "p2"),
		k.login(t, "admin", k.AdminPassword, "admin")

	answer, text := ask("GET", "/metric", "", "")
	if answer.StatusCode != 401 || answer.Header.Get("WWW-Authenticate") != fmt.Sprintf("Keystone uri=%q", k.URL()) ||
		text != `{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires `+
			`authentication."}}` {
		t.Errorf("without a token: %d %v %s", answer.StatusCode, answer.Header, text)
	}
	f(401, "GET", "/metric", "nonsense", "")
	f(403, "GET", "/status", t1, "")
	f(403, "GET", "/status", t1, "", "X-Roles: admin", "X-User-Id: "+u1, "X-Identity-Status: Confirmed")
	f(200, "GET", "/status", admin, "")

	var metric struct {
		ID, Creator string
		Project     string `json:"created_by_project_id"`
	}
	if err := json.Unmarshal([]byte(f(201, "POST", "/metric", t1, `{"name": "cpu", "archive_policy_name": "low"}`)),
		&metric); err != nil {
		t.Fatal(err)
	}
	if metric.Creator != u1+":"+p1 || metric.Project != p1 {
		t.Errorf("the metric is %+v", metric)
	}
	f(202, "POST", "/metric/"+metric.ID+"/measures", t1, `[{"timestamp": "2026-01-01T00:00:00", "value": 1}]`)
	f(403, "POST", "/metric/"+metric.ID+"/measures", t2, `[{"timestamp": "2026-01-01T00:00:00", "value": 1}]`)
	f(403, "GET", "/metric/"+metric.ID, t2, "")
	f(201, "POST", "/resource/generic", t1, `{"id": "`+metric.ID+`", "project_id": "`+p1+`"}`)
	f(200, "GET", "/resource/generic/"+metric.ID, t1, "")
	f(404, "GET", "/resource/generic/"+metric.ID, t2, "") // who may not see it may not know of it
	for token, want := range map[string]int{t1: 1, t2: 0, admin: 1} {
		for _, path := range []string{"/metric?limit=1", "/metric?name=cpu", "/resource/generic"} {
			var list []any
			if err := json.Unmarshal([]byte(f(200, "GET", path, token, "")), &list); err != nil || len(list) != want {
				t.Errorf("%s lists %d, want %d, %v", path, len(list), want, err)
			}
		}
	}

	k.call(t, "DELETE", "/auth/tokens", nil, "X-Subject-Token: "+t1)
	f(401, "GET", "/metric", t1, "")
	f(200, "GET", "/metric", t2, "")

	k.Kill()
	answer, text = ask("GET", "/metric", t2, "")
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("without Keystone: %d %v %s", answer.StatusCode, answer.Header, text)
	}
	f(200, "GET", "/capabilities", "", "")
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	f(200, "GET", "/metric", t2, "")
	if log := p.log.String(); strings.Contains(log, "pw-gnocchi") || strings.Contains(log, t2) {
		t.Errorf("a secret is in the log:\n%s", log)
	}
}

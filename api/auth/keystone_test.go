package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fakeKeystone answers as Keystone does, and misbehaves on command.
type fakeKeystone struct {
	t      *testing.T
	server *httptest.Server

	mu        sync.Mutex
	now       time.Time
	own       string // the service's token; "": the next one is made
	issued    int
	asked     int
	tokens    map[string]string // token → body
	lifetime  time.Duration
	status    int  // answered to everything; 0: as it should be
	hang      bool // never answers
	broken    string
	badClient bool // refuses the service's password
}

func newFakeKeystone(t *testing.T) *fakeKeystone {
	f := &fakeKeystone{t: t, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), tokens: map[string]string{},
		lifetime: time.Hour}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeKeystone) clock() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.now }

func (f *fakeKeystone) set(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

// issue makes a token valid until it ends.
func (f *fakeKeystone) issue(token, user, project string, ends time.Duration, roles ...string) {
	f.set(func() {
		var list []string
		for _, r := range roles {
			list = append(list, fmt.Sprintf(`{"id": "x", "name": %q}`, r))
		}
		scope := ""
		if project != "" {
			scope = fmt.Sprintf(`"project": {"id": %q, "name": "n", "domain": {"id": "default"}}, `, project)
		}
		f.tokens[token] = fmt.Sprintf(`{"token": {"expires_at": %q, %s"user": {"id": %q, "name": "u", "domain": {"id": `+
			`"default"}}, "roles": [%s]}}`,
			f.now.Add(ends).Format("2006-01-02T15:04:05.000000Z"), scope, user, strings.Join(list, ", "))
	})
}

func (f *fakeKeystone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hang := f.hang
	defer f.mu.Unlock()
	if hang {
		f.mu.Unlock()
		<-r.Context().Done()
		f.mu.Lock()
		return
	}
	switch {
	case f.status != 0:
		w.WriteHeader(f.status)
	case f.broken != "":
		w.Write([]byte(f.broken))
	case r.Method == "POST" && r.URL.Path == "/v3/auth/tokens":
		var body struct {
			Auth struct {
				Identity struct {
					Methods  []string
					Password struct{ User map[string]any }
				}
				Scope struct{ Project map[string]any }
			}
		}
		json.NewDecoder(r.Body).Decode(&body)
		user := map[string]any{"name": "gnocchi", "password": "secret", "domain": map[string]any{"id": "default"}}
		project := map[string]any{"name": "service", "domain": map[string]any{"id": "default"}}
		if f.badClient || !cmp.Equal(body.Auth.Identity.Password.User, user) ||
			!cmp.Equal(body.Auth.Scope.Project, project) {
			w.WriteHeader(401)
			return
		}
		f.issued++
		f.own = fmt.Sprint("own", f.issued)
		w.Header().Set("X-Subject-Token", f.own)
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"token": {"expires_at": %q}}`, f.now.Add(f.lifetime).Format("2006-01-02T15:04:05.000000Z"))
	case r.Method == "GET" && r.URL.Path == "/v3/auth/tokens":
		if r.Header.Get("X-Auth-Token") != f.own {
			w.WriteHeader(401)
			return
		}
		f.asked++
		body, ok := f.tokens[r.Header.Get("X-Subject-Token")]
		if !ok {
			w.WriteHeader(404)
			return
		}
		w.Write([]byte(body))
	default:
		f.t.Errorf("%s %s", r.Method, r.URL)
	}
}

func (f *fakeKeystone) client(change func(*KeystoneConfig)) *Keystone {
	c := KeystoneConfig{URL: f.server.URL + "/v3/", User: "gnocchi", Password: "secret", Timeout: time.Minute}
	if change != nil {
		change(&c)
	}
	k := NewKeystone(c, f.server.Client(), slog.New(slog.NewTextHandler(f.t.Output(), nil)))
	k.now = f.clock
	return k
}

func tokenRequest(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Auth-Token", token)
	// What comes from outside counts for nothing.
	for name, value := range map[string]string{"X-User-Id": "evil", "X-Project-Id": "evil", "X-Roles": "admin",
		"X-Identity-Status": "Confirmed"} {
		r.Header.Set(name, value)
	}
	return r
}

func TestKeystone(t *testing.T) {
	f := newFakeKeystone(t)
	k := f.client(nil)
	f.issue("member", "u1", "p1", time.Hour, "Member", "reader")
	f.issue("domain", "u2", "", time.Hour, "admin")
	is := func(token string, want Identity) {
		t.Helper()
		got, err := k.Authenticate(tokenRequest(token))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got): %s", diff)
		}
	}
	is("member", Identity{User: "u1", Project: "p1", Creator: "u1:p1", Roles: []string{"Member", "reader"}, Scoped: true})
	is("domain", Identity{User: "u2", Creator: "u2:", Roles: []string{"admin"}, Scoped: true})
	is("member", Identity{User: "u1", Project: "p1", Creator: "u1:p1", Roles: []string{"Member", "reader"}, Scoped: true})
	if f.asked != 2 || f.issued != 1 {
		t.Errorf("asked %d times, with %d tokens", f.asked, f.issued)
	}
	for _, token := range []string{"", "unknown", "unknown", strings.Repeat("x", maxToken+1)} {
		if id, err := k.Authenticate(tokenRequest(token)); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("token %.10q: %+v, %v", token, id, err)
		}
	}
	if f.asked != 3 {
		t.Errorf("asked %d times: what is no token is asked about, or asked about twice", f.asked)
	}
	if got := k.Challenge(); got != `Keystone uri="`+f.server.URL+`/v3"` {
		t.Error(got)
	}
	for token := range k.tokens {
		if strings.Contains(string(token[:]), "member") {
			t.Error("a token is kept as it is")
		}
	}
}

// A token is believed no longer than it is valid, a revoked one no longer than Cache.
func TestKeystoneExpiryAndRevocation(t *testing.T) {
	f := newFakeKeystone(t)
	k := f.client(nil)
	f.issue("short", "u", "p", 10*time.Second)
	f.issue("long", "u", "p", time.Hour)
	valid := func(token string, want bool) {
		t.Helper()
		if _, err := k.Authenticate(tokenRequest(token)); want != (err == nil) || !want && !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s at %s: %v", token, f.clock().Format(time.TimeOnly), err)
		}
	}
	valid("short", true)
	valid("long", true)
	f.set(func() { delete(f.tokens, "long"); f.now = f.now.Add(9 * time.Second) })
	valid("short", true)
	valid("long", true) // revoked, and not known to be
	f.set(func() { f.now = f.now.Add(time.Second) })
	valid("short", false) // Keystone still says 200, of a token that is over
	f.set(func() { f.now = f.now.Add(20 * time.Second) })
	valid("long", false)

	k = f.client(func(c *KeystoneConfig) { c.Cache = -1 })
	f.issue("long", "u", "p", time.Hour)
	valid("long", true)
	f.set(func() { delete(f.tokens, "long") })
	valid("long", false)
}

func TestKeystoneFaults(t *testing.T) {
	f := newFakeKeystone(t)
	f.issue("a", "u", "p", time.Hour)
	f.issue("b", "u", "p", time.Hour)
	k := f.client(nil)
	unavailable := func(what, token string) {
		t.Helper()
		_, err := k.Authenticate(tokenRequest(token))
		if _, ok := errors.AsType[*UnavailableError](err); !ok {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "own1")) {
			t.Errorf("%s: a secret in %v", what, err)
		}
	}
	good := func(what, token string) {
		t.Helper()
		if _, err := k.Authenticate(tokenRequest(token)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	good("at first", "a")
	for _, status := range []int{500, 503, 403, 429, 302} {
		f.set(func() { f.status = status })
		unavailable(fmt.Sprint(status), "b")
	}
	good("what was asked lately", "a")
	f.set(func() { f.status, f.hang = 0, true })
	patience := k.config.Timeout
	k.config.Timeout = 200 * time.Millisecond
	unavailable("no answer in time", "b")
	k.config.Timeout = patience
	f.set(func() { f.hang, f.broken = false, "<html>" })
	unavailable("no JSON", "b")
	// JSON, and nothing of a token: not even a token that isn't valid.
	for _, answer := range []string{`{}`, `{"token": null}`, `{"token": {"expires_at": "2030-01-01T00:00:00.000000Z"}}`,
		`{"token": {"user": {"id": "u"}}}`, `[]`, `{"token": {"expires_at": "never", "user": {"id": "u"}}}`,
		`{"token": {"catalog": "` + strings.Repeat("x", maxAnswer) + `"}}`} {
		f.set(func() { f.broken = answer })
		unavailable(answer[:min(len(answer), 50)], "b")
	}
	f.set(func() { f.broken = "" })
	good("afterwards", "b")

	// The service's own token is revoked, and then its password changed.
	f.issue("c", "u", "p", time.Hour)
	f.issue("d", "u", "p", time.Hour)
	f.set(func() { f.own = "another" })
	good("the own token is revoked", "c")
	f.set(func() { f.own, f.badClient = "yet another", true })
	unavailable("the password has changed", "d")
	f.set(func() { f.badClient = false })
	good("and is right again", "d")

	// The service's own token ends.
	before := f.issued
	f.set(func() { f.now = f.now.Add(f.lifetime - renewBefore) })
	f.issue("e", "u", "p", time.Hour)
	good("the own token is renewed", "e")
	if f.issued != before+1 {
		t.Errorf("%d own tokens, want one more than %d", f.issued, before)
	}

	f.server.Close()
	unavailable("nobody is there", "x")
}

// Many requests with a token that isn't known ask once, and one that gives up does
// not take the others with it.
func TestKeystoneAsksOnce(t *testing.T) {
	f := newFakeKeystone(t)
	f.issue("a", "u", "p", time.Hour)
	k := f.client(nil)
	f.mu.Lock() // nobody is answered before all have asked
	impatient, leave := context.WithCancel(t.Context())
	var gone, running sync.WaitGroup
	gone.Go(func() {
		if _, err := k.Authenticate(tokenRequest("a").WithContext(impatient)); err == nil {
			t.Error("was answered")
		}
	})
	for range 20 {
		running.Go(func() {
			if _, err := k.Authenticate(tokenRequest("a")); err != nil {
				t.Error(err)
			}
		})
	}
	leave()
	gone.Wait()
	f.mu.Unlock()
	running.Wait()
	if f.asked != 1 {
		t.Errorf("asked %d times", f.asked)
	}
}

func TestKeystoneCacheIsBounded(t *testing.T) {
	f := newFakeKeystone(t)
	k := f.client(func(c *KeystoneConfig) { c.MaxTokens = 20 })
	for i := range 100 {
		k.Authenticate(tokenRequest(fmt.Sprint("unknown", i)))
	}
	if len(k.tokens) > 20 {
		t.Errorf("%d tokens are kept", len(k.tokens))
	}
}

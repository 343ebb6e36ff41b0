package auth

import (
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBasic(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	good := func(header string, want Identity) {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", header)
		got, err := Basic{}.Authenticate(r)
		if err != nil {
			t.Errorf("%q: %v", header, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got): %s", header, diff)
		}
	}
	good("basic Zm9vYmFyOg==", Identity{User: "foobar", Creator: "foobar"})
	good("Basic "+encode("foobar:secret"), Identity{User: "foobar", Creator: "foobar"})
	good("BASIC YWRtaW46", Identity{User: "admin", Creator: "admin", Roles: []string{"admin"}})
	good("basic "+encode("Admin:"), Identity{User: "Admin", Creator: "Admin"})
	good("basic "+encode(":"), Identity{})
	good("basic "+encode("é:ü:x"), Identity{User: "é", Creator: "é"})

	bad := func(header string) {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if got, err := (Basic{}).Authenticate(r); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%q: got %+v, %v", header, got, err)
		}
	}
	bad("")
	bad("basic")
	bad("basic hello:")
	bad("basic " + encode("nocolon"))
	bad("basic " + encode("\xff:"))
	bad("Bearer Zm9vYmFyOg==")
}

func TestRules(t *testing.T) {
	var (
		foobar  = Identity{User: "foobar", Creator: "foobar"}
		root    = Identity{User: "root", Creator: "root", Roles: []string{"Admin"}}
		service = Identity{User: "s", Project: "sp", Creator: "s:sp", Roles: []string{"reader", "SERVICE"}}
		u1      = Identity{User: "u1", Project: "p1", Creator: "u1:p1"}
	)
	f := func(who Identity, r Rule, objectCreator, project string, want bool) {
		t.Helper()
		if got := who.Permit(r).For(objectCreator, project); got != want {
			t.Errorf("%s, %s, object of %q in %q: %v", who.User, r, objectCreator, project, got)
		}
	}
	f(foobar, Anyone, "", "", true)
	f(foobar, CreateMetric, "", "", true)
	f(foobar, CreateArchivePolicy, "foobar", "", false)
	f(service, CreateArchivePolicy, "", "", true)
	f(service, UpdateArchivePolicy, "", "", false)
	f(root, UpdateArchivePolicy, "", "", true)
	f(root, ManageDeadLetters, "", "", true)
	f(service, ManageDeadLetters, "", "", false)
	f(root, PostMeasures, "other", "", true)
	f(service, PostMeasures, "other", "", true)
	f(foobar, PostMeasures, "foobar", "", true)
	f(foobar, PostMeasures, "foobaz", "", false)
	f(foobar, PostMeasures, "foobaz:", "", false) // no project is not a project
	f(u1, PostMeasures, "u2:p1", "", true)
	f(u1, PostMeasures, "u1:p2", "", false)
	f(u1, PostMeasures, "u2:p2", "p1", false) // the resource's owner may not write
	f(u1, GetMeasures, "u2:p2", "p1", true)
	f(foobar, GetMeasures, "foobaz", "", false)
	f(service, DeleteMetric, "other", "", false)
	f(foobar, GetStatus, "foobar", "", false)

	for r := range rules {
		if rules[r].name == "" || rules[r].pass == 0 {
			t.Errorf("rule %d is not in the table", r)
		}
	}
}

func TestAccount(t *testing.T) {
	if id := (Identity{Creator: "foobar"}); id.Account() != "foobar" {
		t.Error(id.Account())
	}
	if id := (Identity{Creator: "u:p", Project: "p"}); id.Account() != "p" {
		t.Error(id.Account())
	}
}

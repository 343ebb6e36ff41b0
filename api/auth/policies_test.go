package auth

import (
	"strings"
	"testing"
)

func TestPolicies(t *testing.T) {
	p, err := parsePolicies("policy.yaml", []byte(`
# roles per rule
get status: role:admin or role:Reader
"create archive policy": [role:admin, role:service, role:metering]
list archive policy: "!"
delete metric: ""
get measures: rule:creator or rule:metric_owner
update resource: rule:admin_or_creator
get resource: [resource owner]
`))
	if err != nil {
		t.Fatal(err)
	}
	f := func(who Identity, r Rule, creator, project string, want bool) {
		t.Helper()
		who.Policies = p
		if got := who.Permit(r).For(creator, project); got != want {
			t.Errorf("%v, %s, object of %q in %q: %v", who.Roles, r, creator, project, got)
		}
	}
	reader := Identity{User: "r", Project: "p", Creator: "r:p", Roles: []string{"reader"}}
	root := Identity{User: "a", Creator: "a", Roles: []string{"admin"}}
	metering := Identity{User: "m", Creator: "m", Roles: []string{"METERING"}}
	f(reader, GetStatus, "", "", true)
	f(root, GetStatus, "", "", true)
	f(metering, GetStatus, "", "", false)
	f(metering, CreateArchivePolicy, "", "", true)
	f(reader, CreateArchivePolicy, "", "", false)
	f(root, ListArchivePolicy, "", "", false)
	f(metering, DeleteMetric, "other", "", true)
	f(reader, GetMeasures, "x:p", "", true)
	f(reader, GetMeasures, "x:y", "p", true)
	f(root, GetMeasures, "x:y", "p", false)
	f(root, UpdateResource, "x:y", "p", true)
	f(reader, UpdateResource, "x:y", "p", false)
	f(reader, GetResource, "r:p", "q", false)
	f(reader, GetResource, "x:y", "p", true)
	// what isn't mentioned stays
	f(root, PostMeasures, "other", "", true)
	f(reader, PostMeasures, "other", "", false)

	if d, err := parsePolicies("", []byte("# nothing")); err != nil || d.rules[GetStatus].pass != admin {
		t.Errorf("an empty file: %+v, %v", d, err)
	}
	if _, err := parsePolicies("policy.json", []byte(`{"get status": "role:admin or role:reader"}`)); err != nil {
		t.Error(err)
	}
}

func TestPoliciesThatAreWrong(t *testing.T) {
	_, err := parsePolicies("policy.yaml", []byte(`get statu: role:admin
get status: role:admin and role:reader
get status: role:x
list metric: not role:x
search metric: {a: b}
delete metric:
post measures: [role:admin, [x]]
anyone: role:x
`))
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		`policy.yaml:1: there is no rule "get statu"`,
		`policy.yaml:2: rule "get status": "role:admin and role:reader" is not known: want role:NAME`,
		`policy.yaml:3: rule "get status" is there twice`,
		`policy.yaml:4: rule "list metric": "not role:x" is not known`,
		`policy.yaml:5: rule "search metric": neither a text nor a list`,
		`policy.yaml:6: rule "delete metric": there is no value`,
		`policy.yaml:7: rule "post measures": an alternative is not a text`,
		`policy.yaml:8: there is no rule "anyone"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	for _, text := range []string{"list metric: creator", "list metric: [role:admin, metric owner]", "[]", "x", "a: [",
		"\t"} {
		if _, err := parsePolicies("p", []byte(text)); err == nil {
			t.Errorf("%q is a policy file", text)
		}
	}
	if _, err := ReadPolicies("/does/not/exist"); err == nil {
		t.Error("a file that isn't there")
	}
}

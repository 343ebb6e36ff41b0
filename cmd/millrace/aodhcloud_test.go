package main

import (
	"fmt"
	"testing"

	"millrace/testservers"
)

const aodhInCloud = `auth_type = password
auth_url = %s
username = %s
password = pw-%[2]s
project_name = %s
user_domain_id = default
project_domain_id = default
region_name = %s
interface = public
`

// In a cloud the resources of a project have been made by another, Ceilometer's. Alarms about
// them go off when Aodh evaluates them with the role of an ordinary member of the project,
// and when Aodh is an administrator and the alarms are an ordinary member's: then Aodh has made
// their queries narrower.
func TestAodhInCloud(t *testing.T) {
	t.Parallel()
	client := testservers.NewClient(t, "openstack", "aodh")
	c := startCloud(t, "aodh")
	tenant := c.create(t, "project", map[string]any{"name": "aodh-tenant", "domain_id": "default"})
	c.member(t, "aodh-member", "member", tenant)
	token := "X-Auth-Token: " + c.login(t, c.user, c.password, c.project)
	resources := &alarming{
		server:  &c.server.server,
		names:   [2]string{"9e8d1c56-0000-4000-8000-000000000001", "9e8d1c56-0000-4000-8000-000000000002"},
		project: tenant, header: []string{token},
	}
	resources.create(t)
	resources.load(t, 0, 90, 70)
	credentials := func(user, project string) string { return fmt.Sprintf(aodhInCloud, c.URL(), user, project, c.region) }
	for _, test := range []struct{ name, credentials, role, project string }{
		{"a member evaluates", credentials("aodh-member", "aodh-tenant"), "admin", c.projectID},
		{"an administrator evaluates a member's alarms", credentials(c.user, c.project), "member", tenant},
	} {
		t.Run(test.name, func(t *testing.T) {
			told, hook := webhook(t)
			aodh := startAodh(t, client, c.server, test.credentials, test.role, test.project, resources.alarms(hook))
			aodh.expect(t, told, "alarm", map[string]float64{"one": 90, "metrics": 80, "resources": 80, "steady": 0})
			aodh.finish(t)
		})
	}
	t.Logf("suite: Aodh %s: the same rules with Keystone, by a member and for a member", client.Version)
}

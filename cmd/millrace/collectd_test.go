package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"millrace/testservers"
)

// A real collectd writes the machine's load through its Gnocchi plugin, which makes its
// resource type and resource first. Times come as floats, and an archive policy rule
// decides for metrics that name no policy.
func TestCollectd(t *testing.T) {
	t.Parallel()
	p := startHere(t, t.TempDir(), "")
	c := testservers.NewCollectd(t, fmt.Sprintf(`
Hostname "h1"
Interval 1
LoadPlugin load
<LoadPlugin python>
  Globals true
</LoadPlugin>
<Plugin python>
  ModulePath %q
  Import "collectd_gnocchi"
  <Module collectd_gnocchi>
    auth_mode basic
    user admin
    endpoint %q
    resource_type collectd
  </Module>
</Plugin>
`, testservers.NewClient(t, "collectd").Path("python"), p.base))
	collectd, plugin, _ := strings.Cut(c.Version, ", ")
	documented(t, "collectd", collectd)
	inReadme(t, "collectd "+strings.SplitN(collectd, "-", 2)[0]+" with "+plugin)
	var r struct {
		Host, Type string
		Metrics    map[string]string
	}
	eventually(t, func() string {
		if err := p.fetch(t, "/resource/collectd/collectd:h1", &r); err != nil {
			log, _ := os.ReadFile(c.LogFile())
			return fmt.Sprintf("%v\n%s\n%s", err, log, p.log)
		}
		if len(r.Metrics) < 3 {
			return fmt.Sprintf("only %v have come", r.Metrics)
		}
		return ""
	})
	if r.Host != "h1" || r.Type != "collectd" || r.Metrics["load@load-1min"] == "" {
		t.Errorf("the resource is %+v", r)
	}
	eventually(t, func() string {
		var rows [][]any
		if err := p.fetch(t, "/metric/"+r.Metrics["load@load-1min"]+"/measures?aggregation=count&refresh=true",
			&rows); err != nil {
			return err.Error()
		}
		if len(rows) == 0 || rows[0][2].(float64) < 2 {
			return fmt.Sprintf("there are only %v", rows)
		}
		return ""
	})
	log, err := os.ReadFile(c.LogFile())
	if err != nil || strings.Contains(string(log), "Traceback") {
		t.Errorf("%v\n%s", err, log)
	}
}

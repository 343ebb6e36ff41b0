package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

// agentPatience is how long an agent may take to send what it has. They start slowly
// on a machine that is busy.
const agentPatience = 2 * time.Minute

// eventually waits until ask has no complaint.
func eventually(t *testing.T, ask func() (complaint string)) {
	t.Helper()
	for deadline := time.Now().Add(agentPatience); ; time.Sleep(100 * time.Millisecond) {
		complaint := ask()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
	}
}

// fetch reads the JSON of a path below /v1, as admin.
func (p *server) fetch(t *testing.T, path string, into any) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", p.base.String()+"/v1"+path, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth("admin", "")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

// A real Telegraf writes line protocol through its InfluxDB output, which creates its
// database first; what it sends again changes nothing.
func TestTelegraf(t *testing.T) {
	t.Parallel()
	const lines = `weather,host=garden,sensor=a/b temperature=21.5,open=true,rain=0i,note="dry" 1700000000000000000
weather,host=garden,sensor=a/b temperature=22.5 1700000060000000000
weather,host=roof temperature=-3 1700000000000000001
`
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	p := startHere(t, t.TempDir(), "")
	telegraf := testservers.NewTelegraf(t, fmt.Sprintf(`
[agent]
  interval = "1s"
  flush_interval = "1s"
  omit_hostname = true
[[inputs.file]]
  files = [%q]
  data_format = "influx"
[[inputs.mem]]
  [inputs.mem.tags]
    host = "here"
[[outputs.influxdb]]
  urls = ["%s/v1/influxdb"]
  database = "telegraf"
  username = "admin"
  password = "x"
  content_encoding = "gzip"
`, file, p.base))
	documented(t, telegraf.Name, telegraf.Version)
	var garden struct {
		Type    string
		Metrics map[string]string
	}
	eventually(t, func() string {
		if err := p.fetch(t, "/resource/telegraf/garden", &garden); err != nil {
			return err.Error() + "\n" + p.log.String()
		}
		return ""
	})
	if garden.Type != "telegraf" || len(garden.Metrics) != 3 {
		t.Errorf("the resource: %+v", garden)
	}
	f := func(metric, want string) {
		t.Helper()
		eventually(t, func() string {
			var rows [][]any
			if err := p.fetch(t, "/resource/telegraf/garden/metric/"+metric+"/measures?granularity=300&refresh=true",
				&rows); err != nil {
				return err.Error()
			}
			if got := fmt.Sprint(rows); got != want {
				return metric + ": " + got
			}
			return ""
		})
	}
	f("weather.temperature@sensor=a_b", "[[2023-11-14T22:10:00+00:00 300 22]]")
	f("weather.open@sensor=a_b", "[[2023-11-14T22:10:00+00:00 300 1]]")
	f("weather.rain@sensor=a_b", "[[2023-11-14T22:10:00+00:00 300 0]]")
	eventually(t, func() string {
		var here struct{ Metrics map[string]string }
		if err := p.fetch(t, "/resource/telegraf/here", &here); err != nil {
			return err.Error()
		}
		if here.Metrics["mem.used_percent"] == "" {
			return fmt.Sprintf("of the memory there is only %v", here.Metrics)
		}
		return ""
	})
}

// A real Prometheus writes what it scrapes of us to us.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	p := startHere(t, t.TempDir(), "")
	prometheus := testservers.NewPrometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: millrace, static_configs: [{targets: ["%s"]}]}
remote_write:
  - url: %s/v1/prometheus/write
    basic_auth: {username: admin, password: x}
    queue_config: {batch_send_deadline: 1s}
`, p.base.Host, p.base))
	documented(t, prometheus.Name, prometheus.Version)
	name := "millrace@" + strings.ReplaceAll(p.base.Host, "/", "_")
	var r struct {
		Job, Instance string
		Metrics       map[string]string
	}
	eventually(t, func() string {
		if err := p.fetch(t, "/resource/prometheus/"+name, &r); err != nil {
			return err.Error() + "\n" + p.log.String()
		}
		if r.Metrics["up"] == "" || r.Metrics["go_goroutines"] == "" {
			return fmt.Sprintf("only %d metrics have come", len(r.Metrics))
		}
		return ""
	})
	if r.Job != "millrace" || r.Instance != p.base.Host {
		t.Errorf("the resource is %+v", r)
	}
	eventually(t, func() string {
		var rows [][]any
		if err := p.fetch(t, "/resource/prometheus/"+name+"/metric/up/measures?granularity=300&refresh=true&aggregation=max",
			&rows); err != nil {
			return err.Error()
		}
		if len(rows) == 0 || rows[0][2] != 1.0 {
			return fmt.Sprintf("up is %v", rows)
		}
		return ""
	})
}

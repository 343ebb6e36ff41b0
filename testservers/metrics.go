package testservers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// NewPrometheus is a Prometheus of the test's own, with the configuration given (word:
// prometheus). Its ready state, /-/ready, has been seen.
func NewPrometheus(t testing.TB, config string) *Process {
	t.Helper()
	return own(t, "prometheus", []string{"prometheus"}, func(i []installation) (*Process, error) {
		p, _, err := newProcess("Prometheus", i[0].version)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(p.Dir, "prometheus.yml")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, err
		}
		p.command = func() *exec.Cmd {
			return exec.Command(i[0].program("prometheus"), "--config.file", file, "--web.listen-address", p.Addr,
				"--storage.tsdb.path", filepath.Join(p.Dir, "data"), "--log.level", "warn")
		}
		return begun(p, "/-/ready")
	})
}

// NewVictoriaMetrics is a VictoriaMetrics of the test's own (word: victoria-metrics).
func NewVictoriaMetrics(t testing.TB, args ...string) *Process {
	t.Helper()
	return own(t, "victoria-metrics", []string{"victoria-metrics"}, func(i []installation) (*Process, error) {
		p, _, err := newProcess("VictoriaMetrics", i[0].version)
		if err != nil {
			return nil, err
		}
		all := append([]string{"-httpListenAddr=" + p.Addr, "-storageDataPath=" + filepath.Join(p.Dir, "data"),
			"-retentionPeriod=100y"}, args...)
		p.command = func() *exec.Cmd { return exec.Command(i[0].program("victoria-metrics"), all...) }
		return begun(p, "/health")
	})
}

// NewTelegraf is a Telegraf of the test's own, with the configuration given; it has the
// inputs cpu, mem and file (with Influx line protocol), and the outputs influxdb and
// influxdb_v2 (word: telegraf). It listens nowhere: it has Addr, and nobody is there.
func NewTelegraf(t testing.TB, config string) *Process {
	t.Helper()
	return own(t, "telegraf", []string{"telegraf"}, func(i []installation) (*Process, error) {
		p, _, err := newProcess("Telegraf", i[0].version)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(p.Dir, "telegraf.conf")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, err
		}
		p.command = func() *exec.Cmd { return exec.Command(i[0].program("telegraf"), "--config", file) }
		p.ready = func(context.Context) error { return nil }
		if err := p.Start(); err != nil {
			p.close()
			return nil, err
		}
		return p, nil
	})
}

// begun starts a server that says by HTTP when it is ready.
func begun(p *Process, path string) (*Process, error) {
	p.ready = func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr+path, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, answer.Status)
		}
		return nil
	}
	if err := p.Start(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

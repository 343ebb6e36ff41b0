package testservers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// GnocchiServer is a real Gnocchi, to compare with: its API in basic mode on a PostgreSQL,
// and one gnocchi-metricd, which works off what the API has taken. Both keep their files in Dir.
type GnocchiServer struct {
	*Process
	metricd *Process
}

// NewGnocchi is a Gnocchi of the test's own (word: gnocchi). scripts/servers installs it
// only when it is named.
func NewGnocchi(t testing.TB) *GnocchiServer {
	t.Helper()
	if _, err := find("gnocchi", "gnocchi"); err != nil { // before PostgreSQL is started for nothing
		missing(t, "gnocchi", notInstalled{err})
	}
	postgres := Postgres(t)
	// SQLAlchemy knows no postgres://; an index that can't be reached is tried for ever.
	index := strings.Replace(postgres.URL(postgres.Database(t)), "postgres://", "postgresql://", 1)
	return own(t, "gnocchi", []string{"gnocchi"}, func(i []installation) (*GnocchiServer, error) {
		return startGnocchi(i[0], index)
	})
}

// URL is the address above /v1.
func (g *GnocchiServer) URL() string { return "http://" + g.Addr }

func (g *GnocchiServer) close() {
	g.metricd.close()
	g.Process.close()
}

func startGnocchi(i installation, index string) (*GnocchiServer, error) {
	api, _, err := newProcess("Gnocchi", i.version)
	if err != nil {
		return nil, err
	}
	metricd, _, err := newProcess("gnocchi-metricd", i.version)
	if err != nil {
		api.close()
		return nil, err
	}
	g := &GnocchiServer{Process: api, metricd: metricd}
	file := filepath.Join(api.Dir, "gnocchi.conf")
	if err := os.WriteFile(file, []byte(gnocchiConfig(api, index)), 0o600); err != nil {
		g.close()
		return nil, err
	}
	command := func(ctx context.Context, program string) *exec.Cmd {
		c := exec.CommandContext(ctx, i.program(program), "--config-file", file)
		// gnocchi-api looks for uwsgi, and uwsgi for the environment that it is installed in.
		venv := filepath.Join(i.folder, "venv")
		c.Env = append(os.Environ(), "PATH="+filepath.Join(venv, "bin")+":"+os.Getenv("PATH"), "VIRTUAL_ENV="+venv)
		return c
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if out, err := command(ctx, "gnocchi-upgrade").CombinedOutput(); err != nil {
		g.close()
		return nil, fmt.Errorf("gnocchi-upgrade: %w\n%s", err, out)
	}
	metricd.command = func() *exec.Cmd { return command(context.Background(), "gnocchi-metricd") }
	metricd.ready = func(context.Context) error { return nil }
	if err := metricd.Start(); err != nil {
		g.close()
		return nil, err
	}
	api.command = func() *exec.Cmd { return command(context.Background(), "gnocchi-api") }
	if _, err := begun(api, "/"); err != nil { // which also ends it
		metricd.close()
		return nil, err
	}
	return g, nil
}

// gnocchiConfig lets queries take their time, and has metricd work without a pause.
func gnocchiConfig(p *Process, index string) string {
	host, port, err := net.SplitHostPort(p.Addr)
	if err != nil {
		panic(err) // the address is ours
	}
	return fmt.Sprintf(`[api]
auth_mode = basic
host = %s
port = %s
operation_timeout = 600
[indexer]
url = %s
[storage]
driver = file
file_basepath = %s
[metricd]
workers = 1
metric_processing_delay = 1
`, host, port, index, filepath.Join(p.Dir, "data"))
}

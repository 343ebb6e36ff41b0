package testservers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// PostgresServer is a PostgreSQL with its own data, whose superuser is postgres, without a
// password. Its fsync is off: it survives Kill, not a power cut.
type PostgresServer struct {
	*Process
	psql    string
	counter atomic.Int64
}

// Postgres is the PostgreSQL that all tests of this binary share (word: postgres).
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	return shared(t, "postgres", []string{"postgres"}, "postgres",
		func(i []installation) (*PostgresServer, error) { return startPostgres(i) })
}

// NewPostgres is a PostgreSQL of the test's own (word: postgres). Settings, as "name=value",
// are its postgresql.conf's.
func NewPostgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	return own(t, "postgres", []string{"postgres"}, func(i []installation) (*PostgresServer, error) {
		return startPostgres(i, settings...)
	})
}

func startPostgres(i []installation, settings ...string) (*PostgresServer, error) {
	p, port, err := newProcess("PostgreSQL", i[0].version)
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{Process: p, psql: i[0].program("psql")}
	if p.credential, err = unprivileged("postgres", "nobody"); err != nil {
		return nil, err
	}
	if err := p.chown(p.Dir); err != nil {
		return nil, err
	}
	data := filepath.Join(p.Dir, "data")
	initdb := exec.Command(i[0].program("initdb"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
		"-N", "-D", data)
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: p.credential}, p.Dir
	if out, err := initdb.CombinedOutput(); err != nil {
		p.close()
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-k", p.Dir, "-c", "fsync=off"}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	p.command = func() *exec.Cmd { return exec.Command(i[0].program("postgres"), args...) }
	p.ready = func(ctx context.Context) error { return s.query(ctx, "postgres", "select 1") }
	p.interrupt = syscall.SIGINT // PostgreSQL's fast shutdown
	// Those who served the clients of a server that was killed need a moment to notice.
	p.startFailed = func(log string) bool {
		return strings.Contains(log, "still in use") || strings.Contains(log, "lock file \"postmaster.pid\" already exists")
	}
	if err := p.Start(); err != nil {
		p.close()
		return nil, err
	}
	return s, nil
}

// URL is where pgx connects to, in the database named.
func (s *PostgresServer) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", s.Addr, database)
}

// Database creates an empty database for the test, which goes with it, and gives its name.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), s.counter.Add(1))
	if err := s.query(t.Context(), "postgres", "create database "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what a test has left connected doesn't keep its database
		if s.Running() {
			_ = s.query(context.Background(), "postgres", "drop database if exists "+name+" with (force)")
		}
	})
	return name
}

// query runs a statement with psql, so that this package needs no client library.
func (s *PostgresServer) query(ctx context.Context, database, statement string) error {
	command := exec.CommandContext(ctx, s.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, s.URL(database))
	command.Dir = "/"
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// BouncerServer is a PgBouncer before a PostgreSQL.
type BouncerServer struct{ *Process }

// NewPgBouncer is a PgBouncer before a server, in transaction mode: a client has another
// session of PostgreSQL with each transaction (word: pgbouncer).
func NewPgBouncer(t testing.TB, server *PostgresServer) *BouncerServer {
	t.Helper()
	return own(t, "pgbouncer", []string{"pgbouncer"}, func(i []installation) (*BouncerServer, error) {
		p, port, err := newProcess("PgBouncer", i[0].version)
		if err != nil {
			return nil, err
		}
		if p.credential, err = unprivileged("postgres", "nobody"); err != nil {
			return nil, err
		}
		host, serverPort, _ := strings.Cut(server.Addr, ":")
		config := filepath.Join(p.Dir, "pgbouncer.ini")
		users := filepath.Join(p.Dir, "users.txt")
		text := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
auth_type = trust
auth_file = %s
pool_mode = transaction
max_client_conn = 500
default_pool_size = 10
unix_socket_dir =
ignore_startup_parameters = extra_float_digits
`, host, serverPort, port, users)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
		if err := os.WriteFile(users, []byte("\"postgres\" \"\"\n"), 0o644); err != nil {
			return nil, err
		}
		if err := p.chown(p.Dir, config, users); err != nil {
			return nil, err
		}
		b := &BouncerServer{p}
		p.command = func() *exec.Cmd { return exec.Command(i[0].program("pgbouncer"), config) }
		through := PostgresServer{Process: p, psql: server.psql}
		p.ready = func(ctx context.Context) error { return through.query(ctx, "postgres", "select 1") }
		if err := p.Start(); err != nil {
			p.close()
			return nil, err
		}
		return b, nil
	})
}

// URL is where pgx connects to, in the database named.
func (b *BouncerServer) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", b.Addr, database)
}

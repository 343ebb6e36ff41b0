package index

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A postgresServer is a PostgreSQL of a test's own: on a free port of the loopback
// interface, in a folder that goes with it.
type postgresServer struct {
	bin, dir string
	port     int
	as       []string // who runs it: not root, which PostgreSQL refuses
	process  *exec.Cmd
	exited   chan struct{} // closed when process has ended
}

// shared is the server of all tests of a run. TestMain stops it.
var shared struct {
	sync.Mutex
	server *postgresServer
	err    error
	named  int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.remove()
	}
	os.Exit(code)
}

// postgres returns the URL of a new, empty database.
func postgres(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = startPostgres()
	}
	needs(t, shared.err)
	shared.named++
	name := fmt.Sprintf("test_%d", shared.named)
	must(t, shared.server.sql("CREATE DATABASE "+name))
	return shared.server.url(name)
}

// needs skips a test whose server isn't to be had, and fails it where it has to be.
func needs(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case slices.Contains(strings.Split(os.Getenv("MILLRACE_TEST_REQUIRE"), ","), "postgres"):
		t.Fatal(err)
	default:
		t.Skip("no PostgreSQL: ", err)
	}
}

// startPostgres starts a server of its own.
func startPostgres() (*postgresServer, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, errors.New("there is no /usr/lib/postgresql/*/bin/initdb (Debian's package postgresql)")
	}
	s := &postgresServer{bin: filepath.Dir(found[len(found)-1])}
	if s.dir, err = os.MkdirTemp("", "millrace-postgres-"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		uid, err := strconv.Atoi(nobody.Uid)
		if err != nil {
			return nil, err
		}
		if err := os.Chown(s.dir, uid, -1); err != nil {
			return nil, err
		}
		// It dies with the test binary, whatever that dies of.
		s.as = []string{"setpriv", "--reuid", nobody.Uid, "--clear-groups", "--pdeathsig", "QUIT", "--"}
	}
	if out, err := s.command("initdb", "-A", "trust", "-U", "millrace", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D", s.data()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	return s, s.start()
}

func (s *postgresServer) data() string { return filepath.Join(s.dir, "data") }

func (s *postgresServer) command(name string, args ...string) *exec.Cmd {
	line := append(slices.Clone(s.as), filepath.Join(s.bin, name))
	line = append(line, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = s.dir
	return cmd
}

// start starts it and waits until it answers. What is left of a server that was
// killed may keep it from starting for a moment.
func (s *postgresServer) start() error {
	until := time.Now().Add(time.Minute)
	for {
		if err := s.launch(); err != nil {
			return err
		}
		for {
			err := s.sql("SELECT 1")
			switch {
			case err == nil:
				return nil
			case time.Now().After(until):
				log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
				return fmt.Errorf("%w; its log: %s", err, log)
			}
			time.Sleep(20 * time.Millisecond)
			if s.ended() {
				break
			}
		}
	}
}

func (s *postgresServer) launch() error {
	s.process = s.command("postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", s.dir,
		"-c", "fsync=off", "-c", "max_connections=200")
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		_ = s.process.Wait()
		close(s.exited)
	}()
	return nil
}

func (s *postgresServer) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// kill ends it as a power failure would, and returns when it is gone.
func (s *postgresServer) kill() {
	if s.process == nil {
		return
	}
	pid := s.process.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	_ = s.process.Process.Kill()
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	<-s.exited
	s.process = nil
}

func (s *postgresServer) remove() {
	s.kill()
	_ = os.RemoveAll(s.dir)
}

func (s *postgresServer) url(name string) string {
	return fmt.Sprintf("postgres://millrace@127.0.0.1:%d/%s?sslmode=disable", s.port, name)
}

// sql runs a statement on the database that every server has.
func (s *postgresServer) sql(statement string) error {
	db, err := openDatabase(s.url("postgres"), 1)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = db.reading().exec(ctx, statement)
	return errors.Join(err, db.close())
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

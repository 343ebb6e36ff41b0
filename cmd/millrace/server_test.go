package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds the command once for all tests that need a process to kill.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "millrace-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "millrace")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// required says whether MILLRACE_TEST_REQUIRE names something, so that a test must
// fail where it would skip.
func required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("MILLRACE_TEST_REQUIRE"), ","), name)
}

// skipOrFail skips a test that lacks something, or fails it where that is required.
func skipOrFail(t *testing.T, name, format string, args ...any) {
	t.Helper()
	if required(name) {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// shared finds the folder of shared material beside the project.
func shared(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "shared"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		skipOrFail(t, "shared", "there is no %s", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A process is a running server.
type process struct {
	*client
	cmd    *exec.Cmd
	log    *bytes.Buffer
	exited chan error
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// launch starts the server on a data directory and doesn't wait.
func launch(t *testing.T, dir string, settings ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := &process{cmd: exec.Command(path, "serve"), log: new(bytes.Buffer), exited: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), append(settings, "MILLRACE_DATA_DIR="+dir, "MILLRACE_API_LISTEN="+listen)...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	f := clientFlags{url: "http://" + listen, user: "admin"}
	if p.client, err = f.client(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// start launches a server and waits until it answers.
func start(t *testing.T, dir string, settings ...string) *process {
	t.Helper()
	p := launch(t, dir, settings...)
	p.awaitUp(t)
	return p
}

// startTimeout is how long a start may take on a busy machine.
const startTimeout = time.Minute

func (p *process) awaitUp(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-p.exited:
			p.exited <- err
			t.Fatalf("the server has ended by itself: %v\n%s", err, p.log)
		default:
		}
		resp, err := http.Get(p.base.String() + "/healthcheck")
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			p.kill()
			t.Fatalf("the server does not answer\n%s", p.log)
		}
	}
}

// kill ends the server as a power cut ends it, but for the disk.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.wait()
}

// terminate asks the server to stop, and waits until it has.
func (p *process) terminate() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

func (p *process) wait() error {
	err := <-p.exited
	p.exited <- err
	return err
}

// command runs a command of ours against the server, in this process.
func (p *process) command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if code := run(ctx, append(args, "--url", p.base.String()), nil, &out, &errOut); code != 0 {
		t.Fatalf("millrace %s: status %d\n%s", strings.Join(args, " "), code, errOut.String())
	}
	return out.String()
}

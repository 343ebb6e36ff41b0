package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/testservers"
)

// binaryDir is where binary builds; TestMain makes and removes it.
var binaryDir string

// binary builds the command once for all tests that need a process to kill.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "millrace")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	var err error
	if binaryDir, err = os.MkdirTemp("", "millrace-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(binaryDir)
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

// A server is a running server, and a client of it.
type server struct {
	*client
	log *output
}

// newServer returns a server that listens on an address, or will.
func newServer(t *testing.T, listen string) server {
	t.Helper()
	f := clientFlags{url: "http://" + listen, user: "admin"}
	c, err := f.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	return server{client: c, log: new(output)}
}

// An output keeps what is written to it, from whichever goroutine.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A process is a server in a process of its own, which can be killed.
type process struct {
	server
	cmd    *exec.Cmd
	exited chan error
}

// A thread is a server in this process, which the race detector sees.
type thread struct {
	server
	stop   context.CancelFunc // as SIGTERM does
	exited chan int
}

// listenOf is the address that settings name, or a free one.
func listenOf(t *testing.T, settings []string) string {
	t.Helper()
	for _, s := range settings {
		if address, ok := strings.CutPrefix(s, "MILLRACE_API_LISTEN="); ok {
			return address
		}
	}
	return fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
}

// launch starts the server on a data directory and doesn't wait.
func launch(t *testing.T, dir string, settings ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	listen := listenOf(t, settings)
	return launchAs(t, path, listen, nil, serverSettings(dir, listen, settings))
}

// launchAs starts a server with flags and settings as they are.
func launchAs(t *testing.T, path, listen string, flags, settings []string) *process {
	t.Helper()
	p := &process{server: newServer(t, listen), cmd: exec.Command(path, append([]string{"serve"}, flags...)...),
		exited: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), settings...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(p.kill)
	return p
}

// serverSettings are those of a server that tests start; the ones given win.
func serverSettings(dir, listen string, settings []string) []string {
	return append([]string{
		"MILLRACE_DATA_DIR=" + dir, "MILLRACE_API_LISTEN=" + listen, "MILLRACE_SACKS=3",
		"MILLRACE_INDEX_CREATE_DEFAULTS=true", "MILLRACE_LOG_LEVEL=warn",
	}, settings...)
}

// start launches a server and waits until it answers.
func start(t *testing.T, dir string, settings ...string) *process {
	t.Helper()
	p := launch(t, dir, settings...)
	p.awaitUp(t)
	return p
}

// startHere starts a server in this process, with the roles given (none: all), and
// waits until it answers.
func startHere(t *testing.T, dir, roles string, settings ...string) *thread {
	t.Helper()
	listen := listenOf(t, settings)
	ctx, cancel := context.WithCancel(context.Background())
	p := &thread{server: newServer(t, listen), stop: cancel, exited: make(chan int, 1)}
	args := []string{"serve"}
	if roles != "" {
		args = append(args, "--roles", roles)
	}
	go func() { p.exited <- run(ctx, args, serverSettings(dir, listen, settings), io.Discard, p.log) }()
	t.Cleanup(func() { p.terminate() })
	awaitUp(t, &p.server, p.exited)
	return p
}

// terminate asks the server to stop, and returns its status when it has.
func (p *thread) terminate() int {
	p.stop()
	code := <-p.exited
	p.exited <- code
	return code
}

// startTimeout is how long a start may take on a busy machine.
const startTimeout = time.Minute

func (p *process) awaitUp(t *testing.T) {
	t.Helper()
	awaitUp(t, &p.server, p.exited)
}

// awaitUp waits until a server answers. What it ends with, should it, is in exited.
func awaitUp[T any](t *testing.T, p *server, exited chan T) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		select {
		case end := <-exited:
			exited <- end
			t.Fatalf("the server has ended by itself: %v\n%s", end, p.log)
		default:
		}
		resp, err := http.Get(p.base.String() + "/healthcheck")
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
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

// command runs a command of ours in this process.
func command(t *testing.T, environ []string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	code = run(ctx, args, environ, &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

const commandTimeout = 2 * time.Minute

// command runs a command of ours against the server, which must succeed.
func (p *server) command(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, code := command(t, nil, append(args, "--url", p.base.String())...)
	if code != 0 {
		t.Fatalf("millrace %s: status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// commandOf runs a command in a process of its own, which is killed when ctx ends.
func commandOf(ctx context.Context, path string, args ...string) (output string, err error) {
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	return string(out), err
}

// A row is a bucket of a series as the API writes it: ["2015-03-06T14:33:57+00:00", 60.0, 4.5].
type row struct {
	at    time.Time
	value float64
}

func (r *row) UnmarshalJSON(data []byte) error {
	cells := strings.Split(strings.Trim(string(data), "[]"), ",")
	if len(cells) != 3 {
		return fmt.Errorf("%s is no row", data)
	}
	var err, valueErr error
	r.at, err = time.Parse(`"`+time.RFC3339+`"`, strings.TrimSpace(cells[0]))
	r.value, valueErr = strconv.ParseFloat(strings.TrimSpace(cells[2]), 64)
	return errors.Join(err, valueErr)
}

package benchmarks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/testservers"
)

// A program is bin/millrace in a process of its own.
type program struct {
	url string
	pid int
	log string // a file
	cmd *exec.Cmd

	once sync.Once // of its end
}

// startProgram starts a server with all roles and an empty data directory. It ends with the
// test.
func startProgram(t *testing.T, settings ...string) *program {
	t.Helper()
	return startRoles(t, dataDir(t), "api,worker", settings...)
}

// dataDir is a new folder on a real disk, which a temporary one may not be. It goes with the
// test.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("../.cache", strings.ToLower(rand.Text())))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// startRoles starts a server with some roles on a data directory. It ends with the test.
func startRoles(t *testing.T, dir, roles string, settings ...string) *program {
	t.Helper()
	binary, err := filepath.Abs("../bin/millrace")
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("the program is measured as it is built, by make build: %v", err)
	}
	address := freeAddress(t)
	log, err := os.CreateTemp(dir, "server-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "serve", "--roles", roles)
	cmd.Env = append(os.Environ(), "MILLRACE_DATA_DIR="+filepath.Join(dir, "data"), "MILLRACE_API_LISTEN="+address,
		"MILLRACE_INDEX_CREATE_DEFAULTS=true", "MILLRACE_LOG_LEVEL=warn")
	cmd.Env = append(cmd.Env, settings...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{url: "http://" + address, pid: cmd.Process.Pid, log: log.Name(), cmd: cmd}
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	if err := p.awaitReady(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, p.said())
	}
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
}

// end ends the server by a signal, waits until it has ended, and says what CPU time it has
// taken in its whole life, in seconds.
func (p *program) end(signal syscall.Signal) float64 {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(signal)
		_ = p.cmd.Wait()
	})
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

// awaitReady waits until clients are served.
func (p *program) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(answer.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// said is the end of the server's log.
func (p *program) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// ticksPerSecond is what /proc counts CPU time in: USER_HZ, which is 100 on every
// architecture that Go knows.
const ticksPerSecond = 100

// cpuSeconds is the CPU time that a process has taken, user and system, of all its threads:
// fields 14 and 15 of /proc/PID/stat (proc_pid_stat(5)).
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have spaces in it
	fields := strings.Fields(rest)
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond
}

// residentMiB is what of a process is in memory.
func residentMiB(pid int) (float64, error) { return memoryMiB(pid, "VmRSS:") }

// memoryMiB is a line of /proc/PID/status (proc_pid_status(5)): VmHWM is the most that was
// in memory at one time.
func memoryMiB(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}

// awaitIdle waits until a process takes less than a tenth of a processor: what it does about
// earlier work is then no part of what is measured next. After half a minute it gives up.
func awaitIdle(t *testing.T, pid int) {
	t.Helper()
	for range 60 {
		before := cpuSeconds(t, pid)
		time.Sleep(500 * time.Millisecond)
		if cpuSeconds(t, pid)-before < 0.05 {
			return
		}
	}
}

// fromEnv is the number, or the duration, that an environment variable says.
func fromEnv[T any](t *testing.T, name string, otherwise T, parse func(string) (T, error)) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	value, err := parse(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

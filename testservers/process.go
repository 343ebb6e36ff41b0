package testservers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds a start, on a machine that is busy with other tests.
const startTimeout = 3 * time.Minute

// Process is a server's process, or the place where it was: killed, stopped and started
// again, it has the same address and the same data. Its methods may be called at once.
type Process struct {
	// Name and Version say what runs, as its maker calls it.
	Name, Version string
	// Addr is host:port of what clients connect to.
	Addr string
	// Dir is the folder of the server's data and log.
	Dir string

	command     func() *exec.Cmd            // what to run
	credential  *syscall.Credential         // as whom, if not as the test
	ready       func(context.Context) error // nil once clients are served
	interrupt   syscall.Signal              // asks it to stop
	startFailed func(log string) bool       // may a start that ended be tried again?

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// newProcess makes a folder for a server that listens on a free port.
func newProcess(name, version string) (*Process, int, error) {
	dir, err := os.MkdirTemp("", "millrace-"+filepath.Base(name)+"-")
	if err != nil {
		return nil, 0, err
	}
	if err := theReaper.tell("folder", dir); err != nil {
		return nil, 0, errors.Join(err, os.RemoveAll(dir))
	}
	port, err := freePort()
	return &Process{Name: name, Version: version, Addr: address(port), Dir: dir, interrupt: syscall.SIGTERM}, port, err
}

// String is the server's name and version.
func (p *Process) String() string { return p.Name + " " + p.Version }

// LogFile is where the server's output goes.
func (p *Process) LogFile() string { return filepath.Join(p.Dir, "server.log") }

// Start starts the server and returns when it serves clients; it does nothing if it runs.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := p.startLocked(ctx)
		if err == nil {
			return nil
		}
		log := p.logTail()
		p.killLocked()
		again := bytes.Contains(log, []byte("ddress already in use")) || p.startFailed != nil && p.startFailed(string(log))
		if !again || ctx.Err() != nil {
			return fmt.Errorf("%s does not start: %w; its log ends with:\n%s", p, err, log)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (p *Process) startLocked(ctx context.Context) error {
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup(p.credential)
	if cmd.Dir == "" {
		cmd.Dir = p.Dir
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := theReaper.tell("group", cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		_ = theReaper.tell("forget", cmd.Process.Pid)
		close(exited)
	}()
	return p.await(ctx)
}

// await returns when the server serves clients, has ended, or takes too long.
func (p *Process) await(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := p.ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended with %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w", startTimeout, err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// Kill ends the server with SIGKILL, and returns when it is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killLocked()
}

// Stop asks the server to end, and kills it when it takes more than 20 seconds.
func (p *Process) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return
	}
	_ = p.cmd.Process.Signal(p.interrupt)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
	}
	p.killLocked()
}

// Restart kills the server and starts it again.
func (p *Process) Restart() error {
	p.Kill()
	return p.Start()
}

// Pause stops the server's process where it stands: connections stay, answers don't come.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Running says whether the process is there.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// PID is the id of the server's process, or of the last that it had; 0: it has not been started.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *Process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *Process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return fmt.Errorf("%s does not run", p)
	}
	return syscall.Kill(-p.cmd.Process.Pid, s)
}

func (p *Process) killLocked() {
	if p.running() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
	}
}

// close ends the server and deletes its data.
func (p *Process) close() {
	p.Kill()
	_ = os.RemoveAll(p.Dir)
}

// logTail is the end of what the server has said.
func (p *Process) logTail() []byte {
	log, err := os.ReadFile(p.LogFile())
	if err != nil {
		return []byte(err.Error())
	}
	return log[max(0, len(log)-4000):]
}

// ownGroup makes a process the head of a group of its own, so that what it starts can be
// ended with it, and an interrupt of the test at a terminal does not reach it first.
func ownGroup(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential}
}

// unprivileged is an account for servers that refuse to run as root, or nil where the test
// is not root itself.
func unprivileged(names ...string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
	}
	return nil, fmt.Errorf("none of the accounts %v exists", names)
}

// chown gives files to the account that the server runs as.
func (p *Process) chown(paths ...string) error {
	if p.credential == nil {
		return nil
	}
	for _, path := range paths {
		if err := os.Chown(path, int(p.credential.Uid), int(p.credential.Gid)); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// SIGTERM under load: what was begun is answered, what was acknowledged has been
// applied when the process ends, and the next one has it.
func TestServeStopsGracefully(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "MILLRACE_WORKER_FLUSH_INTERVAL=1h", "MILLRACE_LOG_LEVEL=info")
	const writers = 4
	ids, acked := make([]string, writers), make([]int, writers)
	for w := range writers {
		ids[w] = p.newMetric(t, fmt.Sprint(w), "high")
	}
	begun := make(chan struct{}, 100*writers)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for s := 0; ; s++ {
				body := fmt.Appendf(nil, `[{"timestamp": %d, "value": %d}]`, 1_700_000_000+s, s)
				if _, err := p.do(context.Background(), "POST", "/metric/"+ids[w]+"/measures", nil, body, nil); err != nil {
					if !isUnreachable(err) { // however a connection that is being closed looks to its client
						t.Errorf("writer %d: %v", w, err)
					}
					return
				}
				acked[w]++
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 * writers {
		<-begun
	}

	slow := p.newMetric(t, "slow", "high")
	request := begin(t, p.base.Host, "/v1/metric/"+slow+"/measures", `[{"timestamp": 1700000000, "value": 7}]`)
	ended := make(chan error, 1)
	go func() { ended <- p.terminate() }()
	writing.Wait() // nobody is accepted any more
	if answer := request.finish(t); !strings.HasPrefix(answer, "HTTP/1.1 202 Accepted") {
		t.Errorf("a request that was being answered: %s", answer)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}

	q := startHere(t, dir, "api") // nobody applies: it has been
	for w, id := range append(ids, slow) {
		want := 1
		if w < writers {
			want = acked[w]
		}
		var rows []row
		if _, err := q.do(t.Context(), "GET", "/metric/"+id+"/measures?granularity=1", nil, nil, &rows); err != nil ||
			len(rows) != want {
			t.Errorf("metric %d: %d rows, want %d (%v)\n%s", w, len(rows), want, err, p.log)
		}
	}
}

// A stop during the start is a stop like any other: status 0, and no error of whatever
// was being opened.
func TestServeStopsDuringTheStart(t *testing.T) {
	f := func(what string, ok bool, log string) {
		t.Helper()
		if !ok || strings.Contains(log, "millrace: ") || strings.Contains(log, "level=ERROR") ||
			strings.Contains(log, "layout.json") {
			t.Errorf("%s: %v\n%s", what, ok, log)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	var log output
	code := run(stopped, []string{"serve"}, serverSettings(t.TempDir(), "127.0.0.1:0",
		[]string{"MILLRACE_LOG_LEVEL=info"}), io.Discard, &log)
	f("before it has begun", code == 0, log.String())

	began := time.Now()
	start(t, t.TempDir()).kill()
	took := time.Since(began)
	const tries = 40
	within := 0
	for i := range tries {
		p := launch(t, t.TempDir(), "MILLRACE_LOG_LEVEL=info")
		time.Sleep(took * time.Duration(i) / tries)
		err := p.terminate()
		log := p.log.String()
		if log == "" && err != nil { // the program had not come to its first line
			continue
		}
		f(fmt.Sprintf("after %s of %s", took*time.Duration(i)/tries, took), err == nil, log)
		if strings.Contains(log, "stopped during the start") {
			within++
		}
	}
	t.Logf("%d of %d were stopped during the start", within, tries)
}

// SIGHUP is no reason to die.
func TestServeHangup(t *testing.T) {
	p := start(t, t.TempDir(), "MILLRACE_LOG_LEVEL=info")
	for range 3 {
		p.cmd.Process.Signal(syscall.SIGHUP)
	}
	for deadline := time.Now().Add(startTimeout); !strings.Contains(p.log.String(),
		"SIGHUP changes nothing"); time.Sleep(time.Millisecond) {
		select {
		case err := <-p.exited:
			p.exited <- err
			t.Fatalf("the server has ended: %v\n%s", err, p.log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is said of it\n%s", p.log)
		}
	}
	if _, err := p.do(t.Context(), "GET", "/status", nil, nil, nil); err != nil {
		t.Error(err)
	}
	if err := p.terminate(); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
}

// A begunRequest is a POST of which the server has read the header, and waits for the body.
type begunRequest struct {
	conn   net.Conn
	reader *bufio.Reader
	body   string
}

func begin(t *testing.T, host, path, body string) *begunRequest {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic YWRtaW46\r\nContent-Type: "+
		"application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, host, len(body))
	r := &begunRequest{conn, bufio.NewReader(conn), body}
	if line := r.line(t); !strings.HasPrefix(line, "HTTP/1.1 100 Continue") {
		t.Fatalf("the server does not want the body: %s", line)
	}
	r.line(t)
	return r
}

func (r *begunRequest) line(t *testing.T) string {
	t.Helper()
	line, err := r.reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// finish sends the body and returns the answer's first line.
func (r *begunRequest) finish(t *testing.T) string {
	t.Helper()
	if _, err := io.WriteString(r.conn, r.body); err != nil {
		t.Error(err)
	}
	return r.line(t)
}

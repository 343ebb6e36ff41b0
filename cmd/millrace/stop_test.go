package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
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
		if _, err := q.do(t.Context(), "GET", "/metric/"+id+"/measures?granularity=1", nil, nil, &rows); err != nil || len(rows) != want {
			t.Errorf("metric %d: %d rows, want %d (%v)\n%s", w, len(rows), want, err, p.log)
		}
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
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic YWRtaW46\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, host, len(body))
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

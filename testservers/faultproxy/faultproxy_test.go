package faultproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers with what it was sent, and counts.
func echo(t *testing.T) (addr string, executed *atomic.Int64) {
	executed = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		executed.Add(1)
		w.Header().Set("X-Host", r.Host)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), executed
}

func TestHTTP(t *testing.T) {
	addr, executed := echo(t)
	p, err := NewHTTP(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	sent := bytes.Repeat([]byte("x"), 100)
	// f makes one request with a fault, and expects an execution or more, a status (0: no
	// answer), and an answer.
	f := func(name string, fault Fault, times int64, status int, want string) {
		t.Run(name, func(t *testing.T) {
			before := executed.Load()
			p.Inject(fault)
			defer func() {
				if hits := p.Clear(); hits != 1 {
					t.Errorf("%d requests were hit", hits)
				}
			}()
			answer, err := client.Post(p.URL()+"/a%20b?q", "text/plain", bytes.NewReader(sent))
			got, body := 0, ""
			if err == nil {
				got = answer.StatusCode
				data, failed := io.ReadAll(answer.Body)
				body, err = string(data), failed
				_ = answer.Body.Close()
			}
			if got != status || executed.Load()-before != times || body != want {
				t.Errorf("status %d, %d executions, %q (%v); want %d, %d, %q", got, executed.Load()-before, body, err, status,
					times, want)
			}
			if (fault.Kind == Truncate || status == 0) != (err != nil) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	same, half := string(sent), string(sent[:50])
	flipped := half + "h" + string(sent[51:])
	f("Refuse", Fault{Kind: Refuse, Body: "no"}, 0, 503, "no")
	f("RefuseDone", Fault{Kind: RefuseDone, Status: 500, Body: "no"}, 1, 500, "no")
	f("Lose", Fault{Kind: Lose}, 1, 0, "")
	f("Reset", Fault{Kind: Reset}, 0, 0, "")
	f("Slow", Fault{Kind: Slow, Delay: time.Millisecond}, 1, 200, same)
	f("Truncate", Fault{Kind: Truncate}, 1, 200, half)
	f("Flip", Fault{Kind: Flip}, 1, 200, flipped)
	f("FlipRequest", Fault{Kind: FlipRequest}, 1, 200, flipped)
	f("Repeat", Fault{Kind: Repeat}, 2, 200, same)
	f("Hang", Fault{Kind: Hang}, 0, 0, "")

	p.Inject(Fault{Kind: Reset, Skip: 1, Many: 1})
	for i, ok := range []bool{true, false, true} {
		answer, err := client.Get(p.URL())
		if (err == nil) != ok {
			t.Errorf("request %d: %v", i, err)
		}
		if err == nil {
			if answer.Header.Get("X-Host") != p.Addr {
				t.Errorf("the server was asked for host %q", answer.Header.Get("X-Host"))
			}
			_ = answer.Body.Close()
		}
	}
	if c := p.Counts(); c["GET"].Requests != 3 || c["POST"].Requests != 10 || c["POST"].Sent != 1000 {
		t.Errorf("counted %+v", c)
	}
	p.SetDown(true)
	if _, err := client.Get(p.URL()); err == nil {
		t.Error("a server that is down answers")
	}
}

func TestTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	p, err := NewTCP(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	// f sends ten bytes on a new connection and says what comes back.
	f := func(m Mode) (string, error) {
		t.Helper()
		p.Set(m)
		conn, err := net.Dial("tcp", p.Addr)
		if err != nil { // reset at once
			return "", err
		}
		defer func() { _ = conn.Close() }()
		patience := time.Minute
		if m.LoseAnswers {
			patience = 200 * time.Millisecond
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte("0123456789"))
		got := make([]byte, 10)
		n, err := io.ReadFull(conn, got)
		return string(got[:n]), err
	}
	if got, err := f(Mode{}); err != nil || got != "0123456789" {
		t.Errorf("unharmed: %q, %v", got, err)
	}
	if got, err := f(Mode{FlipAnswer: 5}); err != nil || got != "0123$5678)" {
		t.Errorf("flipped: %q, %v", got, err)
	}
	if got, err := f(Mode{LoseAnswers: true}); got != "" || !errors.Is(err, errTimeout(err)) {
		t.Errorf("lost: %q, %v", got, err)
	}
	if got, err := f(Mode{ResetAfter: 5}); got != "" || err == nil {
		t.Errorf("reset: %q, %v", got, err)
	}
	if got, err := f(Mode{Down: true}); got != "" || err == nil {
		t.Errorf("down: %q, %v", got, err)
	}
	began := time.Now()
	if _, err := f(Mode{Latency: 50 * time.Millisecond}); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("latency: %v after %v", err, time.Since(began))
	}
	if sent, received := p.Bytes(); sent < 40 || received < 40 {
		t.Errorf("counted %d and %d bytes", sent, received)
	}
}

// errTimeout is err if it is a timeout.
func errTimeout(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

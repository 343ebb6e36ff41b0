package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A client that sends all of its body before it looks at the answer gets the answer,
// whatever is wrong with the request, and not a reset connection.
func TestEarlyRefusalsArrive(t *testing.T) {
	h := newHouse(t, build{config: Config{MaxBody: 1 << 20}})
	server := httptest.NewServer(h)
	defer server.Close()
	const size = 24 << 20 // more than the buffers of a connection hold
	send := func(t *testing.T, conn net.Conn, chunked bool) error {
		piece := []byte(strings.Repeat("x", 64<<10))
		for range size / len(piece) {
			var err error
			if chunked {
				_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(piece), piece)
			} else {
				_, err = conn.Write(piece)
			}
			if err != nil {
				return err
			}
		}
		if chunked {
			_, err := io.WriteString(conn, "0\r\n\r\n")
			return err
		}
		return nil
	}
	f := func(want int, method, path, header string, chunked bool) {
		t.Helper()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		length := fmt.Sprintf("Content-Length: %d", size)
		if chunked {
			length = "Transfer-Encoding: chunked"
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s\r\n\r\n", method, path, length, header)
		if err := send(t, conn, chunked); err != nil {
			t.Errorf("%s %s, chunked %v: the body can't be sent: %v", method, path, chunked, err)
			return
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s %s, chunked %v: %v", method, path, chunked, err)
			return
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != want || len(body) == 0 {
			t.Errorf("%s %s, chunked %v: %d %s %v", method, path, chunked, answer.StatusCode, body, err)
		}
	}
	const foobar = "Authorization: basic Zm9vYmFyOg=="
	for _, chunked := range []bool{false, true} {
		f(413, "POST", batchPath, foobar+"\r\nContent-Type: application/json", chunked)
		f(401, "POST", batchPath, "X: y", chunked)
		f(403, "POST", "/v1/archive_policy", foobar, chunked)
		f(404, "POST", "/nothing", foobar, chunked)
		f(405, "PUT", batchPath, foobar, chunked)
		f(415, "POST", batchPath, foobar, chunked)
	}
}

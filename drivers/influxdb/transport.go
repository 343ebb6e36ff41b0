package influxdb

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

// A statusError is an answer that is not the one hoped for.
type statusError struct {
	status     int
	message    string
	line       int // that the server blames, from 1; 0: none named
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("InfluxDB answers %d", e.status)
	if e.message != "" {
		text += ": " + e.message
	}
	return text + e.advice()
}

// advice says what an operator can do about it.
func (e *statusError) advice() string {
	switch e.status {
	case http.StatusUnauthorized:
		return " (it does not accept the token; nothing is lost, the sack stands still until it does)"
	case http.StatusForbidden:
		return " (the token has no permission for this; nothing is lost, the sack stands still until it has)"
	case http.StatusNotFound:
		return " (organisation or bucket are not there; nothing is lost, the sack stands still until they are)"
	}
	return ""
}

// A strictTransport makes an error of every answer that is not a success: of a write,
// of every answer but 204, since the client takes any 2xx for one.
type strictTransport struct{ next http.RoundTripper }

const writePath = "/api/v2/write"

func (t strictTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	write := strings.HasSuffix(request.URL.Path, writePath)
	if write && answer.StatusCode == http.StatusNoContent || !write && answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, errorOf(answer)
}

// maxErrorBody bounds what is read of an answer that is an error.
const maxErrorBody = 64 << 10

// errorOf reads an answer that is an error.
func errorOf(answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("InfluxDB answers %d, and the answer is cut: %w", answer.StatusCode, err)
	}
	e := &statusError{status: answer.StatusCode}
	var said struct {
		Message, Error string
		Line           int
	}
	if json.Unmarshal(body, &said) == nil {
		e.message, e.line = cmp.Or(said.Message, said.Error), said.Line
	}
	e.message = oneLine(cmp.Or(e.message, answer.Header.Get("X-Influxdb-Error"), string(body)))
	e.retryAfter = retryAfterOf(answer.Header.Get("Retry-After"), time.Now())
	return e
}

// maxMessage bounds how much of a server's message is kept: it quotes the lines.
const maxMessage = 500

// oneLine makes a message of a server fit for a log.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + " …"
	}
	return text
}

// retryAfterOf reads a Retry-After header: seconds, or a date.
func retryAfterOf(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// failed wraps an error of a request, with the pause that the server asks for.
func failed(what string, err error) error {
	e, ok := errors.AsType[*statusError](err)
	if !ok {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	wrapped := fmt.Errorf("cannot %s: %w", what, e)
	if e.retryAfter > 0 {
		return ingest.RetryAfter(wrapped, e.retryAfter)
	}
	return wrapped
}

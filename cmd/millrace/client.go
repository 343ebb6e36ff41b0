package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// A client speaks to a running server, for the commands that need one.
type client struct {
	base *url.URL
	user string
	http *http.Client

	password, token secret
}

// A clientFlags is where a command finds its server.
type clientFlags struct {
	url, user string
}

func (f *clientFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "url", "", "the server [from the settings: api.listen and api.prefix]")
	flags.StringVar(&f.user, "user", "admin", "who to be; "+passwordVariable+" is the password, "+tokenVariable+
		" a Keystone token instead")
}

// The variables that hold what must not stand on a command line.
const (
	passwordVariable = envPrefix + "CLIENT_PASSWORD"
	tokenVariable    = envPrefix + "CLIENT_TOKEN"
)

// authorize says who the client is.
func (c *client) authorize(r *http.Request) {
	if c.token != "" {
		r.Header.Set("X-Auth-Token", string(c.token))
		return
	}
	r.SetBasicAuth(c.user, string(c.password))
}

// client returns a client for the server that the flags, or else the settings, name.
func (f *clientFlags) client(source *configSource) (*client, error) {
	c := &client{user: f.user, http: &http.Client{Timeout: time.Minute}}
	if source != nil {
		c.password, c.token = secret(source.variable(passwordVariable)), secret(source.variable(tokenVariable))
	}
	address := f.url
	if address == "" {
		settings, _, err := source.load()
		if err != nil {
			return nil, err
		}
		address = settings.API.address()
		if err := c.trust(settings.API.TLSCert); err != nil {
			return nil, err
		}
	}
	var err error
	if c.base, err = url.Parse(strings.TrimRight(address, "/")); err != nil || c.base.Host == "" {
		return nil, fmt.Errorf("--url: %q is not an address such as http://127.0.0.1:8041", address)
	}
	return c, nil
}

// address is where a server with these settings is found from this machine.
func (c *apiConfig) address() string {
	host, port, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		host = "localhost" // it listens on all addresses
	}
	at := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
	if c.TLSCert != "" {
		at.Scheme = "https"
	}
	return at.JoinPath(c.Prefix).String()
}

// trust makes the client believe a server that shows this certificate, or one that
// it has signed, beside those that everybody believes.
func (c *client) trust(certificate string) error {
	if certificate == "" {
		return nil
	}
	data, err := os.ReadFile(certificate)
	if err != nil {
		return fmt.Errorf("cannot read api.tls_cert: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(data)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	c.http.Transport = transport
	return nil
}

// An apiError is an answer that is no success.
type apiError struct {
	status      int
	description string
	retryAfter  time.Duration
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the server answers %d %s: %s", e.status, http.StatusText(e.status), e.description)
}

// do sends a request below /v1 and reads the answer's JSON into out, if it isn't
// nil. The path is escaped already. An answer that is no success is an *apiError.
func (c *client) do(ctx context.Context, method, path string, query url.Values, in, out any) (http.Header, error) {
	return c.prefer(ctx, "", method, path, query, in, out)
}

// lenient posts measures of which the server may leave some out, and says which.
func (c *client) lenient(ctx context.Context, path string, body []byte, doc *ingestDoc) (http.Header, error) {
	return c.prefer(ctx, "handling=lenient", "POST", path, nil, body, doc)
}

// await asks what became of a write, and waits a little for it to be applied.
func (c *client) await(ctx context.Context, token string, doc *ingestDoc) error {
	_, err := c.prefer(ctx, "wait=4", "GET", "/ingest/"+url.PathEscape(token), nil, nil, doc)
	return err
}

// createOnce is a POST that may be sent again: the same key creates one thing.
func (c *client) createOnce(ctx context.Context, path, key string, in, out any) error {
	_, err := c.with(ctx, "Idempotency-Key", key, "POST", path, nil, in, out)
	return err
}

// prefer is do with a Prefer header.
func (c *client) prefer(ctx context.Context, preference, method, path string, query url.Values, in,
	out any) (http.Header, error) {
	return c.with(ctx, "Prefer", preference, method, path, query, in, out)
}

// with is do with a header, unless it is empty.
func (c *client) with(ctx context.Context, name, value, method, path string, query url.Values, in,
	out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		data, ok := in.([]byte)
		if !ok {
			var err error
			if data, err = json.Marshal(in); err != nil {
				return nil, err
			}
		}
		body = bytes.NewReader(data)
	}
	address := c.base.String() + "/v1" + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	c.authorize(req)
	req.Header.Set("Accept", "application/json")
	if value != "" {
		req.Header.Set(name, value)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &unreachableError{fmt.Errorf("cannot reach the server: %w", err)}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<30))
	if err != nil {
		return nil, &unreachableError{fmt.Errorf("cannot read the server's answer: %w", err)}
	}
	if resp.StatusCode >= 300 {
		return resp.Header, newAPIError(resp, data)
	}
	if out != nil && len(data) > 0 {
		if err := json.Unmarshal(data, out); err != nil {
			return resp.Header, fmt.Errorf("cannot understand the server's answer to %s %s: %w", method, path, err)
		}
	}
	return resp.Header, nil
}

func newAPIError(resp *http.Response, data []byte) *apiError {
	e := &apiError{status: resp.StatusCode}
	var doc struct {
		Description any `json:"description"`
	}
	if json.Unmarshal(data, &doc) == nil && doc.Description != nil {
		if text, ok := doc.Description.(string); ok {
			e.description = text
		} else {
			text, _ := json.Marshal(doc.Description)
			e.description = string(text)
		}
	} else {
		e.description = strings.TrimSpace(string(data[:min(len(data), 500)]))
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(s) * time.Second
	}
	return e
}

// An unreachableError says that there was no answer: what became of the request is
// not known.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

func isUnreachable(err error) bool {
	_, ok := errors.AsType[*unreachableError](err)
	return ok
}

// isStatus says whether err is an answer of that status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.status == status
}

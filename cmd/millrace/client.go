package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
}

// A clientFlags is where a command finds its server.
type clientFlags struct {
	url, user string
}

func (f *clientFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "url", "", "the server [from the settings: api.listen and api.prefix]")
	flags.StringVar(&f.user, "user", "admin", "who to be (basic authentication)")
}

// client returns a client for the server that the flags, or else the settings, name.
func (f *clientFlags) client(source *configSource) (*client, error) {
	address := f.url
	if address == "" {
		c, _, err := source.load()
		if err != nil {
			return nil, err
		}
		scheme := "http"
		if c.API.TLSCert != "" {
			scheme = "https"
		}
		address = scheme + "://" + c.API.Listen + c.API.Prefix
	}
	base, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("--url: %q is not an address such as http://127.0.0.1:8041", address)
	}
	return &client{base: base, user: f.user, http: &http.Client{Timeout: time.Minute}}, nil
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

// prefer is do with a Prefer header.
func (c *client) prefer(ctx context.Context, preference, method, path string, query url.Values, in, out any) (http.Header, error) {
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
	req.SetBasicAuth(c.user, "")
	req.Header.Set("Accept", "application/json")
	if preference != "" {
		req.Header.Set("Prefer", preference)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the server: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<30))
	if err != nil {
		return nil, fmt.Errorf("cannot read the server's answer: %w", err)
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

// isStatus says whether err is an answer of that status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.status == status
}

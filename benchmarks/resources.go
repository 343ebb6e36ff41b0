package benchmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// A ResourceBatch says of which resources a load's metrics are: PREFIX-0 has the metrics
// m0 to m9, if there are ten per resource, and so on. The metrics are created by the
// requests that first bring measures of them, as collectors of OpenStack do it.
type ResourceBatch struct {
	Prefix      string
	Metrics     int    // in all
	PerResource int    // metrics of one resource
	Policy      string // archive policy of metrics that are created; none: the server's rules
}

func (b *ResourceBatch) validate() error {
	switch {
	case b.PerResource < 1:
		return errors.New("metrics per resource must be at least 1")
	case strings.ContainsFunc(b.Prefix, func(c rune) bool { return c == '/' || !strconv.IsPrint(c) }):
		return fmt.Errorf("resources can't be called %q", b.Prefix)
	}
	return nil
}

// body appends the request for the metrics from one number to before another.
func (b *ResourceBatch) body(dst []byte, from, to int, measures func(dst []byte) []byte) []byte {
	dst = append(dst, '{')
	for i := from; i < to; i++ {
		switch {
		case i == from:
			dst = b.open(dst, i)
		case i%b.PerResource == 0:
			dst = b.open(append(dst, "},"...), i)
		default:
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `"m`...), int64(i%b.PerResource), 10)
		dst = measures(append(dst, `":{"measures":`...))
		if b.Policy != "" {
			dst = append(strconv.AppendQuote(append(dst, `,"archive_policy_name":`...), b.Policy), '}')
		} else {
			dst = append(dst, '}')
		}
	}
	return append(dst, "}}"...)
}

// open appends the beginning of the resource that has metric i.
func (b *ResourceBatch) open(dst []byte, i int) []byte {
	return append(strconv.AppendQuote(dst, b.resource(i/b.PerResource)), ":{"...)
}

func (b *ResourceBatch) resource(n int) string { return b.Prefix + "-" + strconv.Itoa(n) }

// CreateResources makes the generic resources that there aren't yet, many at a time.
func (b *ResourceBatch) CreateResources(ctx context.Context, url, user string) error {
	if err := b.validate(); err != nil {
		return err
	}
	const clients = 32
	client := newHTTPClient(clients)
	defer client.CloseIdleConnections()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for n := range (b.Metrics + b.PerResource - 1) / b.PerResource {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return createResource(ctx, client, url, user, b.resource(n)) })
	}
	return group.Wait()
}

func createResource(ctx context.Context, client *http.Client, url, user, id string) error {
	body, err := json.Marshal(map[string]string{"id": id})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/resource/generic", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(user, "")
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusConflict { // it may be there already
		return err
	}
	return fmt.Errorf("cannot create resource %s: the server answers %d: %s", id, resp.StatusCode,
		strings.TrimSpace(string(text)))
}

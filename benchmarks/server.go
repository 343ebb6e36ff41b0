package benchmarks

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Usage is what a server process has taken since its start, as its /metrics say.
type Usage struct {
	CPU      float64 // seconds
	Resident float64 // bytes
}

// MeasureUsage reads a server's /metrics, which are outside of its prefix.
func MeasureUsage(ctx context.Context, server string) (Usage, error) {
	base, err := url.Parse(server)
	if err != nil {
		return Usage{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.Scheme+"://"+base.Host+"/metrics", nil)
	if err != nil {
		return Usage{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Usage{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Usage{}, fmt.Errorf("/metrics answers %d", resp.StatusCode)
	}
	var u Usage
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue
		}
		switch name {
		case "process_cpu_seconds_total":
			u.CPU, err = strconv.ParseFloat(value, 64)
		case "process_resident_memory_bytes":
			u.Resident, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return u, err
		}
	}
	return u, lines.Err()
}

// AwaitApplied waits until what a position says can be read.
func AwaitApplied(ctx context.Context, server, user, position string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/v1/ingest/"+position, nil)
		if err != nil {
			return err
		}
		req.SetBasicAuth(user, "")
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Prefer", "wait=4")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the server answers %d when asked about %s", resp.StatusCode, position)
		}
		if resp.Header.Get("Preference-Applied") != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

package benchmarks

import (
	"bufio"
	"context"
	"encoding/json"
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

// AwaitApplied waits until a server has applied everything that it has accepted.
func AwaitApplied(ctx context.Context, server, user string) error {
	for {
		records, err := waiting(ctx, server, user)
		if err != nil || records == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// waiting asks how many records of the log have not been applied.
func waiting(ctx context.Context, server, user string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/v1/status?details=false", nil)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth(user, "")
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var status struct {
		Ingest struct {
			Lag struct {
				Records int64 `json:"records"`
			} `json:"lag"`
		} `json:"ingest"`
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the server answers %d when asked for its status", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return 0, fmt.Errorf("cannot understand the server's status: %w", err)
	}
	return status.Ingest.Lag.Records, nil
}

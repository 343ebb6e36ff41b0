package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// validate refuses what can't be meant, naming every such setting.
func (c *config) validate() error {
	var v validator
	for _, s := range c.settings() {
		if len(s.oneOf) > 0 {
			v.oneOf(s.key, *s.into.(*string), s.oneOf)
		}
	}
	v.check(c.DataDir != "", "data_dir must not be empty")
	v.check(c.Sacks >= 1 && c.Sacks <= 65535, "sacks must be between 1 and 65535, not %d", c.Sacks)
	v.api(&c.API)

	v.check(c.Ingest.MaxFuture >= 0, "ingest.max_future must not be negative; 0 lets every time in")
	v.positive("ingest.max_age", c.Ingest.MaxAge)
	v.check(c.Ingest.MaxInFlight > 0, "ingest.max_in_flight must be positive")
	v.check(c.Ingest.MinRoom > 0, "ingest.min_room must be positive")
	v.check(c.Ingest.MinRoom <= 0 || c.Ingest.MinRoom >= c.minRoom(), "ingest.min_room (%s) must be at least %s%s",
		c.Ingest.MinRoom, c.minRoom(), c.whyRoom())
	v.check(c.Ingest.ProjectQuota >= 0, "ingest.project_quota must not be negative; 0 is no quota")

	v.check(c.Worker.FlushInterval >= 0, "worker.flush_interval must not be negative; 0 is as the storage likes it")
	v.check(c.Worker.Maintainers >= 1, "worker.maintainers must be at least 1, not %d", c.Worker.Maintainers)

	v.check(c.Worker.NudgeInterval >= 0, "worker.nudge_interval must not be negative")
	v.check(c.Worker.FlushBytes >= 0 && c.Worker.TableBytes >= 0 && c.Worker.FetchAhead >= 0,
		"worker.flush_bytes, worker.table_bytes and worker.fetch_ahead must not be negative; 0 is as the storage likes it")
	flush, table, _ := c.workerMemory()
	v.check(table >= flush, "worker.table_bytes (%s) must be at least worker.flush_bytes (%s)", table, flush)

	v.queue(&c.Queue)
	v.check(c.Queue.MaxBytes == 0 || c.Queue.MaxBytes > c.Ingest.MinRoom,
		"queue.max_bytes (%s) must be more than ingest.min_room (%s), which the log keeps free: else nothing is accepted",
		c.Queue.MaxBytes, c.Ingest.MinRoom)

	v.storage(&c.Storage)
	v.check(strings.HasPrefix(c.Index.URL, "sqlite:") || strings.HasPrefix(c.Index.URL, "postgres://") ||
		strings.HasPrefix(c.Index.URL, "postgresql://"), "index.url must start with sqlite: or postgres://")
	v.check(c.Index.Believe >= time.Second, "index.believe must be at least 1s, not %s", c.Index.Believe)
	v.check(c.Index.MaxDefinitions >= 1, "index.max_definitions must be at least 1, not %d", c.Index.MaxDefinitions)
	v.check(c.Index.MaxLetters >= 1 && c.Index.MaxLetterBytes >= 1,
		"index.max_letters and index.max_letter_bytes must be positive")
	v.check(c.Index.CacheMetrics >= 1, "index.cache_metrics must be at least 1, not %d", c.Index.CacheMetrics)

	v.checkListener("telemetry.metrics_listen", c.Telemetry.Listen)
	v.checkListener("telemetry.pprof", c.Telemetry.Pprof)
	v.check(c.Telemetry.TraceRatio >= 0 && c.Telemetry.TraceRatio <= 1,
		"telemetry.trace_ratio must be between 0 and 1, not %g", c.Telemetry.TraceRatio)
	return errors.Join(v...)
}

// A validator gathers what is wrong.
type validator []error

func (v *validator) check(ok bool, format string, args ...any) {
	if !ok {
		*v = append(*v, fmt.Errorf(format, args...))
	}
}

func (v *validator) positive(key string, d time.Duration) {
	v.check(d > 0, "%s must be positive, not %s", key, d)
}

func (v *validator) oneOf(key, value string, known []string) {
	v.check(slices.Contains(known, value), "%s %q is not known: want %s", key, value, strings.Join(known, ", "))
}

func (v *validator) api(c *apiConfig) {
	v.check(c.MaxLimit >= 1, "api.max_limit must be at least 1, not %d", c.MaxLimit)
	v.check(c.MaxReads >= 0, "api.max_reads must not be negative")
	v.check(c.MaxReadBytes > 0, "api.max_read_bytes must be positive")
	v.check(c.MaxPoints >= 1, "api.max_points must be at least 1, not %d", c.MaxPoints)
	v.check(c.MaxBody > 0, "api.max_body must be positive")
	v.positive("api.wait_cap", c.WaitCap)
	v.positive("api.timeout", c.Timeout)
	v.positive("api.ready_lag", c.ReadyLag)
	v.check(!strings.ContainsAny(c.Prefix, "?#% "), "api.prefix %q is not a path such as /gnocchi", c.Prefix)
	v.check((c.TLSCert == "") == (c.TLSKey == ""), "api.tls_cert and api.tls_key belong together")
	v.auth(c)
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		v.check(false, "api.listen: %w", err)
		return
	}
	v.check(c.Insecure || !c.believes() || isLoopback(host),
		"api.listen %s can be reached from other machines, and api.auth %s checks no passwords: "+
			"set api.insecure to true if that is meant",
		c.Listen, c.Auth)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// checkListener takes no address for one that isn't opened.
func (v *validator) checkListener(name, address string) {
	if address != "" {
		_, _, err := net.SplitHostPort(address)
		v.check(err == nil, name+": %w", err)
	}
}

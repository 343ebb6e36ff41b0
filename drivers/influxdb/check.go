package influxdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

// check finds out whether the server will do: its version, the organisation, the bucket,
// what the token permits, how long points are kept, and what its clock says.
func (d *Driver) check(ctx context.Context) error {
	version, name, err := d.askVersion(ctx)
	if err != nil {
		return failed("find out the version of InfluxDB at "+redactedURL(d.config.URL), err)
	}
	d.major.Store(int64(version))
	retention, err := d.checkBucket(ctx, version)
	if err != nil {
		return err
	}
	if err := d.checkRetention(ctx, retention); err != nil {
		return err
	}
	if err := d.checkPermissions(ctx); err != nil {
		return err
	}
	d.log.Info("InfluxDB will do", "url", redactedURL(d.config.URL), "version", name, "bucket", d.config.Bucket,
		"retention", retention)
	return nil
}

// version is 1 or 2, once the server has been asked.
func (d *Driver) version() int { return int(d.major.Load()) }

// askVersion tells 1.8 from 2.x, also of those that were built without a version.
func (d *Driver) askVersion(ctx context.Context) (major int, name string, err error) {
	var health struct{ Name, Version string }
	if err := d.call(ctx, http.MethodGet, "/health", "", nil, &health); err != nil {
		return 0, "", err
	}
	name = strings.TrimPrefix(health.Version, "v")
	switch {
	case strings.HasPrefix(name, "1."):
		minor, _, _ := strings.Cut(name[len("1."):], ".")
		if n, err := strconv.Atoi(minor); err != nil || n < 8 {
			return 0, "", ingest.Permanent(fmt.Errorf("it is %s: 1.8 and 2.x will do", name))
		}
		return 1, name, nil
	case strings.HasPrefix(name, "2."):
		return 2, name, nil
	case health.Name != "influxdb" || strings.HasPrefix(name, "3."):
		return 0, "", ingest.Permanent(fmt.Errorf("it is %q %q: InfluxDB 1.8 and 2.x will do", health.Name, health.Version))
	}
	err = d.call(ctx, http.MethodGet, "/api/v2/setup", "", nil, &struct{ Allowed bool }{}) // 2.x only
	if isStatus(err, http.StatusNotFound) {
		return 1, name, nil
	}
	return 2, name, err
}

// checkBucket finds the bucket, or creates it, and returns how long it keeps points: 0
// for ever.
func (d *Driver) checkBucket(ctx context.Context, version int) (time.Duration, error) {
	find, create := d.findBucket, d.createBucket
	if version == 1 {
		find, create = d.findDatabase, d.createDatabase
	}
	retention, err := find(ctx)
	if !errors.Is(err, errNoBucket) {
		return retention, err
	}
	if !d.config.CreateBucket {
		return 0, fmt.Errorf("InfluxDB has no bucket %q that the token may see: create it, or let it be created "+
			"(create_bucket)", d.config.Bucket)
	}
	if err := create(ctx); err != nil {
		return 0, failed(fmt.Sprintf("create bucket %q", d.config.Bucket), err)
	}
	d.log.Info("created the bucket in InfluxDB", "bucket", d.config.Bucket, "retention", d.config.Retention)
	return find(ctx)
}

var errNoBucket = errors.New("no such bucket")

func (d *Driver) findBucket(ctx context.Context) (time.Duration, error) {
	var found struct {
		Buckets []struct {
			Name           string
			RetentionRules []struct{ EverySeconds int64 }
		}
	}
	query := url.Values{"org": {d.config.Org}, "name": {d.config.Bucket}}
	err := d.call(ctx, http.MethodGet, "/api/v2/buckets?"+query.Encode(), "", nil, &found)
	if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusNotFound {
		if strings.Contains(e.message, "bucket") {
			return 0, errNoBucket
		}
		return 0, fmt.Errorf("InfluxDB has no organisation %q that the token may see: %w", d.config.Org, err)
	}
	if err != nil {
		return 0, failed(fmt.Sprintf("look for bucket %q of organisation %q", d.config.Bucket, d.config.Org), err)
	}
	for _, b := range found.Buckets {
		if b.Name != d.config.Bucket {
			continue
		}
		var keep int64
		for _, r := range b.RetentionRules {
			keep = r.EverySeconds
		}
		return time.Duration(keep) * time.Second, nil
	}
	return 0, errNoBucket
}

func (d *Driver) createBucket(ctx context.Context) error {
	var found struct{ Orgs []struct{ ID string } }
	if err := d.call(ctx, http.MethodGet, "/api/v2/orgs?"+url.Values{"org": {d.config.Org}}.Encode(), "", nil,
		&found); err != nil {
		return err
	}
	if len(found.Orgs) != 1 {
		return fmt.Errorf("there is no organisation %q", d.config.Org)
	}
	rule := map[string]any{"type": "expire", "everySeconds": int64(d.config.Retention / time.Second)}
	if d.config.ShardDuration > 0 {
		rule["shardGroupDurationSeconds"] = int64(d.config.ShardDuration / time.Second)
	}
	body, err := json.Marshal(map[string]any{"orgID": found.Orgs[0].ID, "name": d.config.Bucket,
		"retentionRules": []any{rule}})
	if err != nil {
		return err
	}
	err = d.call(ctx, http.MethodPost, "/api/v2/buckets", "application/json", body, nil)
	if isStatus(err, http.StatusUnprocessableEntity) && strings.Contains(err.Error(), "already exists") {
		return nil // another process was faster
	}
	return err
}

// findDatabase finds a database of 1.8 and the retention policy that is meant.
func (d *Driver) findDatabase(ctx context.Context) (time.Duration, error) {
	database, policy, named := strings.Cut(d.config.Bucket, "/")
	var series []struct{ Values [][]any }
	err := d.influxQL(ctx, "SHOW RETENTION POLICIES ON "+quoted(database), &series)
	if err != nil && strings.Contains(err.Error(), "database not found") {
		return 0, errNoBucket
	}
	if err != nil {
		return 0, failed(fmt.Sprintf("look for database %q", database), err)
	}
	for _, s := range series {
		for _, v := range s.Values {
			if len(v) < 5 {
				continue
			}
			if isDefault, _ := v[4].(bool); named && v[0] == policy || !named && isDefault {
				text, _ := v[1].(string)
				keep, err := time.ParseDuration(text)
				return keep, err
			}
		}
	}
	return 0, errNoBucket
}

func (d *Driver) createDatabase(ctx context.Context) error {
	database, policy, named := strings.Cut(d.config.Bucket, "/")
	duration := "INF"
	if d.config.Retention > 0 {
		duration = fmt.Sprintf("%ds", int64(d.config.Retention/time.Second))
	}
	statement := "CREATE DATABASE " + quoted(database) + " WITH DURATION " + duration
	if d.config.ShardDuration > 0 {
		statement += fmt.Sprintf(" SHARD DURATION %ds", int64(d.config.ShardDuration/time.Second))
	}
	if named {
		statement += " NAME " + quoted(policy)
	}
	return d.influxQL(ctx, statement, nil)
}

// quoted is a name in InfluxQL.
func quoted(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// leastRetention is what a bucket must keep points for at least, or it would take the
// watermarks of sacks between two of their renewals.
const leastRetention = 3 * day

// checkRetention refuses a bucket that forgets the watermarks, and warns of one that
// forgets what a policy keeps.
func (d *Driver) checkRetention(ctx context.Context, keep time.Duration) error {
	if keep == 0 {
		return nil
	}
	if keep < leastRetention {
		return ingest.Permanent(fmt.Errorf("bucket %q keeps points for %v, and must keep them for %v at least: it would "+
			"forget how far it has come",
			d.config.Bucket, keep, leastRetention))
	}
	if d.config.LongestTimespan == nil {
		return nil
	}
	if longest, any := d.config.LongestTimespan(ctx); any && (longest == 0 || longest > keep) {
		d.log.Warn("the bucket keeps points for less time than an archive policy does: what it drops can't be read, and "+
			"what is older is refused",
			"bucket", d.config.Bucket, "retention", keep, "longest_timespan", longest)
	}
	return nil
}

// checkPermissions writes nothing, reads nothing and deletes nothing, which the token
// must permit.
func (d *Driver) checkPermissions(ctx context.Context) error {
	if err := d.writeLines(ctx, []byte("\n")); err != nil {
		return failed(fmt.Sprintf("write to bucket %q", d.config.Bucket), err)
	}
	var flux strings.Builder
	d.from(&flux, 0, 1)
	flux.WriteString(` |> filter(fn: (r) => r._measurement == "millrace_check")`)
	err := d.query(ctx, flux.String(), func(*row) error { return nil })
	if isStatus(err, http.StatusForbidden) && d.version() == 1 {
		return fmt.Errorf("InfluxDB 1.8 must have Flux switched on (flux-enabled = true in the section [http]): %w", err)
	}
	if err != nil {
		return failed(fmt.Sprintf("read from bucket %q", d.config.Bucket), err)
	}
	if err := d.deleteRange(ctx, "millrace_check", "sack", "none", 0, 1); err != nil {
		return failed(fmt.Sprintf("delete from bucket %q", d.config.Bucket), err)
	}
	return nil
}

// maxSkew is how far the clocks of two machines may be apart before that is worth a word.
const maxSkew = time.Minute

// noteClock warns, once, when the server's clock is not ours.
func (d *Driver) noteClock(date string) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	if skew := time.Since(at); skew > maxSkew || skew < -maxSkew {
		d.skewed.Do(func() {
			d.log.Warn("the clock of InfluxDB is not that of this machine", "ahead", -skew.Round(time.Second))
		})
	}
}

// isStatus says whether an error is an answer with a status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status == status
}

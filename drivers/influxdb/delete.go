package influxdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"millrace/ingest"
)

// tombstoneAge is how long a deleted metric is remembered here. By then the index has
// forgotten it too, and what it doesn't know isn't written.
const tombstoneAge = 30 * day

// A tombstone says that a metric was deleted, by which record.
type tombstone struct {
	metric ingest.MetricID
	offset ingest.Offset
}

// writeTombstones writes a point for each deleted metric. Which one is at which time is
// of no account, but that no two of a sack share one.
func (d *Driver) writeTombstones(ctx context.Context, sack ingest.Sack, list []tombstone, at int64) error {
	var lines []byte
	for i, t := range list {
		lines = fmt.Appendf(lines, "%s,sack=%d metric=%q,offset=%di %d\n", deletions, sack, t.metric.String(), t.offset,
			at+int64(i))
		if len(lines) >= d.config.BatchBytes || i == len(list)-1 {
			if err := d.writeLines(ctx, lines); err != nil {
				return failed("remember deleted metrics", err)
			}
			lines = lines[:0]
		}
	}
	return nil
}

// readTombstones returns the deleted metrics of a sack, with the first record that
// deleted each.
func (d *Driver) readTombstones(ctx context.Context, sack ingest.Sack) (map[ingest.MetricID]ingest.Offset, error) {
	var flux strings.Builder
	now := time.Now()
	d.from(&flux, now.Add(-tombstoneAge).UnixNano(), now.Add(10*day).UnixNano())
	fmt.Fprintf(&flux, ` |> filter(fn: (r) => r._measurement == %q and r.sack == "%d")`, deletions, sack)
	flux.WriteString(` |> keep(columns: ["_time", "_value", "_field"])` +
		` |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")`)
	gone := make(map[ingest.MetricID]ingest.Offset)
	err := d.query(ctx, flux.String(), func(r *row) error {
		id, err := ingest.ParseMetricID(r.text("metric"))
		if err != nil {
			return fmt.Errorf("%w: a tombstone of sack %d: %w", ingest.ErrCorrupted, sack, err)
		}
		offset, err := strconv.ParseInt(r.text("offset"), 10, 64)
		if err != nil {
			return fmt.Errorf("%w: a tombstone of sack %d: %w", ingest.ErrCorrupted, sack, err)
		}
		if first, ok := gone[id]; !ok || ingest.Offset(offset) < first {
			gone[id] = ingest.Offset(offset)
		}
		return nil
	})
	if err != nil {
		return nil, failed("read which metrics were deleted", err)
	}
	return gone, nil
}

// deleteMetric deletes the points of a metric, and what it was called.
func (d *Driver) deleteMetric(ctx context.Context, id ingest.MetricID) error {
	err := d.deleteRange(ctx, "", "metric", id.String(), minTime, maxTime)
	if err != nil {
		return failed(fmt.Sprintf("delete metric %s", id), err)
	}
	return nil
}

// deleteRange deletes the points of a measurement that have a tag, of a range of time; where
// none is named, of those that are about metrics.
func (d *Driver) deleteRange(ctx context.Context, measurement, tag, value string, from, to int64) error {
	if d.version() == 1 {
		source := quoted(measurement)
		if measurement == "" { // in others there are fields of that name, which a deletion stumbles over
			source = "/^(" + measures + "|" + descriptions + ")$/"
		}
		return d.influxQL(ctx, fmt.Sprintf(`DELETE FROM %s WHERE %s = '%s' AND time >= %d AND time <= %d`, source,
			quoted(tag), value, from, to), nil)
	}
	predicate := fmt.Sprintf(`%s=%q`, tag, value)
	if measurement != "" {
		predicate = fmt.Sprintf(`_measurement=%q AND %s`, measurement, predicate)
	}
	body, err := json.Marshal(map[string]string{
		"start": stamp(from), "stop": stamp(to), "predicate": predicate,
	})
	if err != nil {
		return err
	}
	query := url.Values{"org": {d.config.Org}, "bucket": {d.config.Bucket}}
	return d.call(ctx, http.MethodPost, "/api/v2/delete?"+query.Encode(), "application/json", body, nil)
}

// influxQL runs a statement on the database of a 1.8.
func (d *Driver) influxQL(ctx context.Context, statement string, answer any) error {
	database, _, _ := strings.Cut(d.config.Bucket, "/")
	form := url.Values{"db": {database}, "q": {statement}, "epoch": {"ns"}}
	var said struct {
		Results []struct {
			Error  string
			Series json.RawMessage
		}
		Error string
	}
	if err := d.call(ctx, http.MethodPost, "/query", "application/x-www-form-urlencoded", []byte(form.Encode()),
		&said); err != nil {
		return err
	}
	for _, r := range said.Results {
		if r.Error != "" {
			return fmt.Errorf("InfluxDB answers %q", oneLine(r.Error))
		}
		if answer != nil && len(r.Series) > 0 {
			return json.Unmarshal(r.Series, answer)
		}
	}
	if said.Error != "" {
		return fmt.Errorf("InfluxDB answers %q", oneLine(said.Error))
	}
	return nil
}

// call sends a small request and decodes its answer, which is JSON.
func (d *Driver) call(ctx context.Context, method, path, contentType string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(d.config.URL, "/")+path,
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := d.client.HTTPService().DoHTTPRequestWithResponse(request, func(r *http.Request) {
		r.Header.Set("Accept", "application/json")
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
	})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	d.noteClock(response.Header.Get("Date"))
	var text bytes.Buffer
	if _, err := text.ReadFrom(http.MaxBytesReader(nil, response.Body, 16<<20)); err != nil {
		return fmt.Errorf("the answer of InfluxDB is cut: %w", err)
	}
	if answer == nil || text.Len() == 0 {
		return nil
	}
	if err := json.Unmarshal(text.Bytes(), answer); err != nil {
		return fmt.Errorf("the answer of InfluxDB is no JSON: %w", err)
	}
	return nil
}

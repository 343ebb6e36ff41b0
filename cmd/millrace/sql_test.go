package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/testservers"
)

// What deploy/sql/segments.py says of a deployment by SQL, and by pyarrow, is what the API says,
// while the server runs and writes: a week of sealed aggregates, and of measures that are not sealed yet.
func TestSQL(t *testing.T) {
	python := os.Getenv("MILLRACE_PYTHON")
	if _, err := os.Stat(python); err != nil {
		skipOrFail(t, "parquet-readers", "MILLRACE_PYTHON is %q, which is no Python with duckdb and pyarrow", python)
	}
	t.Run("files", func(t *testing.T) {
		dir := t.TempDir()
		testSQL(t, python, dir, filepath.Join(dir, "storage"), nil)
	})
	t.Run("S3", func(t *testing.T) {
		server := testservers.MinIO(t)
		bucket := server.Bucket(t)
		testSQL(t, python, t.TempDir(), "s3://"+bucket+"/millrace",
			[]string{"AWS_ACCESS_KEY_ID=" + server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + server.SecretKey, "AWS_ENDPOINT_URL=" +
				server.Endpoint()},
			"MILLRACE_STORAGE_DRIVER=s3", "MILLRACE_STORAGE_S3_ENDPOINT="+server.Endpoint(), "MILLRACE_STORAGE_S3_BUCKET="+
				bucket,
			"MILLRACE_STORAGE_S3_PREFIX=millrace", "MILLRACE_STORAGE_S3_ACCESS_KEY="+server.AccessKey,
			"MILLRACE_STORAGE_S3_SECRET_KEY="+server.SecretKey)
	})
}

// sqlProgram prints, as JSON, the minutes of one metric by DuckDB, the number of raw measures by
// both, and the sealed minutes by pyarrow.
const sqlProgram = `
import json, os, sys, uuid
sys.path.insert(0, "../../deploy/sql")
import segments
storage, metric = sys.argv[1:]
db = segments.connect(storage)
minutes = db.execute("""
  with sealed_minutes as (select timestamp, mean from sealed where metric = $m and granularity = 60e9),
  raw_minutes as (select time_bucket(interval 1 minute, timestamp) as timestamp, avg(value) as mean from raw where metric = $m group by 1)
  select epoch(timestamp)::bigint, mean from sealed_minutes
  union all select epoch(timestamp)::bigint, mean from raw_minutes where timestamp not in (select timestamp from sealed_minutes)
  order by 1""", {"m": metric}).fetchall()
filesystem = None
if storage.startswith("s3://"):
    import pyarrow.fs
    scheme, host = os.environ["AWS_ENDPOINT_URL"].split("://")
    filesystem = pyarrow.fs.S3FileSystem(scheme=scheme, endpoint_override=host, region="us-east-1")
raw, sealed = (segments.table(storage, kind, filesystem) for kind in ("raw", "sealed"))
mine = sealed.to_pandas()
mine = mine[(mine["metric"] == uuid.UUID(metric).bytes) & (mine["granularity"] == 60 * 10**9)]
mine_raw = (m == uuid.UUID(metric).bytes for m in raw["metric"].to_pylist())
print(json.dumps({
    "minutes": minutes,
    "raw": [db.execute("select count(*) from raw where metric = $m", {"m": metric}).fetchone()[0], sum(mine_raw)],
    "sealed": [db.execute("select count(*) from sealed where metric = $m and granularity = 60e9", {"m": metric}).fetchone()[0], len(mine)],
    "doubled": db.execute("select count(*) from (select 1 from raw group by metric, timestamp having count(*) > 1)").fetchone()[0],
}))
`

func testSQL(t *testing.T, python, dir, storage string, environ []string, settings ...string) {
	p := start(t, dir, append(settings, "MILLRACE_SACKS=1", "MILLRACE_WORKER_FLUSH_INTERVAL=200ms",
		"MILLRACE_STORAGE_VIEW_TTL=0s")...)
	policy := map[string]any{"name": "sql", "definition": []any{map[string]any{"granularity": 60},
		map[string]any{"granularity": 3600}}, "aggregation_methods": []string{"mean", "sum", "count"}}
	if _, err := p.do(t.Context(), "POST", "/archive_policy", nil, policy, nil); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 2 {
		var made struct{ ID string }
		if _, err := p.do(t.Context(), "POST", "/metric", nil, map[string]string{"archive_policy_name": "sql"},
			&made); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made.ID)
	}
	// Forty thousand measures of each metric in more than a week, seconds apart, some of them
	// twice: more than what makes a seal due.
	const batches, each = 20, 2000
	for b := range batches {
		body := []byte{'{'}
		for i, id := range ids {
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, "%q:[", id)
			for m := range each {
				if m > 0 {
					body = append(body, ',')
				}
				at := oracleStart + 16*(b*each+m-b) // the last of one batch is the first of the next
				body = fmt.Appendf(body, `{"timestamp":%d,"value":%d.25}`, at, (at+b)%1000)
			}
			body = append(body, ']')
		}
		if _, err := p.do(t.Context(), "POST", "/batch/metrics/measures", nil, append(body, '}'), nil); err != nil {
			t.Fatal(err)
		}
		if b%5 == 4 { // several segments
			time.Sleep(300 * time.Millisecond)
		}
	}
	var want []row
	query := url.Values{"aggregation": {"mean"}, "granularity": {"60"}, "refresh": {"true"}}
	if _, err := p.do(t.Context(), "GET", "/metric/"+ids[0]+"/measures", query, nil, &want); err != nil {
		t.Fatal(err)
	}
	// From here on the other metric is written to all the while, so that segments come and go below
	// whoever reads them; that one the reader asks for stays as it is.
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	written := 0
	writing.Go(func() {
		for at := int64(oracleStart + 16*batches*each); ctx.Err() == nil; at += 100 {
			var body []byte
			for second := range int64(100) {
				body = fmt.Appendf(body, `,{"timestamp":%d,"value":1}`, at+second)
			}
			body[0] = '['
			if _, err := p.do(ctx, "POST", "/metric/"+ids[1]+"/measures", nil, append(body, ']'), nil); err == nil {
				written++
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	defer func() { stop(); writing.Wait() }()
	var got struct {
		Minutes     [][2]float64
		Raw, Sealed [2]int
		Doubled     int
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(200 * time.Millisecond) {
		cmd := exec.Command(python, "-c", sqlProgram, storage, ids[0])
		var problems strings.Builder
		cmd.Env, cmd.Stderr = append(os.Environ(), environ...), &problems
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &got)
		}
		if err == nil && got.Sealed[0] >= 7*24*60 { // a week
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is sealed: %v\n%s%s\n%s", err, out, problems.String(), p.log)
		}
	}
	stop()
	writing.Wait()
	if written == 0 {
		t.Error("nothing was written meanwhile")
	}
	if got.Raw[0] != got.Raw[1] || got.Sealed[0] != got.Sealed[1] || got.Doubled > 0 {
		t.Errorf("DuckDB and pyarrow see %d and %d raw measures (%d of them double), %d and %d sealed minutes",
			got.Raw[0], got.Raw[1], got.Doubled, got.Sealed[0], got.Sealed[1])
	}
	if len(got.Minutes) != len(want) {
		t.Fatalf("DuckDB sees %d minutes, the API %d", len(got.Minutes), len(want))
	}
	for i, w := range want {
		if at, mean := int64(got.Minutes[i][0]), got.Minutes[i][1]; at != w.at.Unix() || mean != w.value {
			t.Fatalf("minute %d is %d: %v by SQL, and %d: %v by the API", i, at, mean, w.at.Unix(), w.value)
		}
	}
	t.Logf("suite: SQL over %s: %d minutes, %d of them sealed, as the API has them, while %d batches were written",
		storage, len(want), got.Sealed[0], written)
}

//go:build !race

// Bytes allocated are counted here, and the race detector slows what makes them tenfold:
// this runs without it.

package api

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// What a request costs grows with its body and no faster, whatever stands in it. The
// memory that is taken stands for the work: time would not be told the same twice.
func TestCostIsLinear(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "x", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/archive_policy_rule", call{as: "admin",
		body: `{"name": "x", "metric_pattern": "*", "archive_policy_name": "x"}`})
	h.must(t, "POST", "/v1/influxdb/query?q=create+database+db", call{as: "admin"})
	h.must(t, "POST", "/v1/resource/generic", call{as: "admin", body: `{"id": "r", "metrics": {"m": {}}}`})
	id := h.must(t, "POST", "/v1/metric", call{as: "admin", body: `{}`})["id"].(string)
	const one = `[{"timestamp": 1, "value": 1}, {"timestamp": 2, "value": 2}]`
	lenient := "Prefer: handling=lenient"
	lines := "Content-Type: text/plain"
	cases := []struct {
		name, path, header string
		n                  int
		body               func(n int) string
	}{
		{"one metric over and over", batchPath, "", 20_000, func(n int) string {
			return "{" + commas(n, func(int) string { return `"` + id + `": ` + one }) + "}"
		}},
		{"metrics that don't exist", batchPath, lenient, 4_000, func(n int) string {
			return "{" + commas(n, func(i int) string { return fmt.Sprintf(`"%032x": %s`, i, one) }) + "}"
		}},
		{"measures of one metric", "/v1/metric/" + id + "/measures", "", 20_000, func(n int) string {
			return "[" + commas(n, func(i int) string { return fmt.Sprintf(`{"timestamp": %d, "value": 1}`, i) }) + "]"
		}},
		{"bad measures", "/v1/metric/" + id + "/measures", lenient, 10_000, func(n int) string {
			return `[{"timestamp": 1, "value": 1},` + commas(n, func(int) string { return "{}" }) + "]"
		}},
		{"one named metric over and over", "/v1/batch/resources/metrics/measures", "", 10_000, func(n int) string {
			return "{" + commas(n, func(int) string { return `"r": {"m": ` + one + `}` }) + "}"
		}},
		{"resources that can't be", "/v1/batch/resources/metrics/measures", lenient, 4_000, func(n int) string {
			return "{" + commas(n, func(i int) string { return fmt.Sprintf(`"a/%d": {"m": %s}`, i, one) }) + "}"
		}},
		{"metrics that are to be created, and can't", "/v1/batch/resources/metrics/measures?create_metrics=true", lenient,
			2_000, func(n int) string {
				return `{"r": {` + commas(n, func(i int) string { return fmt.Sprintf(`"a/%d": %s`, i, one) }) + "}}"
			}},
		{"lines of one series", "/v1/influxdb/write?db=db", lines, 10_000,
			func(n int) string { return strings.Repeat("m,host=h v=1 1\n", n) }},
		{"a bad line at the end", "/v1/influxdb/write?db=db", lines, 10_000,
			func(n int) string { return strings.Repeat("m,host=h v=1 1\n", n) + "m v=1" }},
		{"series of one name", "/v1/prometheus/write", "", 4_000, func(n int) string {
			var all []any
			for range n {
				all = append(all, "__name__=up,instance=h,job=j", int64(1), 1.0)
			}
			return remoteWrite(all...)
		}},
		{"an archive policy", "/v1/archive_policy", "", 500, func(n int) string {
			return `{"name": "p", "definition": [` + commas(n, func(i int) string {
				return fmt.Sprintf(`{"granularity": %d}`,
					i+1)
			}) + `], "nope": 1}`
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cost := func(n int) float64 {
				request := call{as: "admin", body: c.body(n)}
				if c.header != "" {
					request.header = []string{c.header}
				}
				runtime.GC() // twice: then nothing is left in pools
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if w := h.do(t, "POST", c.path, request); w.Code >= 500 {
					t.Errorf("%d: %.200s", w.Code, w.Body)
				}
				runtime.ReadMemStats(&after)
				return float64(after.TotalAlloc - before.TotalAlloc)
			}
			cost(4 * c.n) // whatever is made once, and kept
			few, more := cost(c.n), cost(4*c.n)
			if more > 8*few+4<<20 {
				t.Errorf("%d take %.0f bytes, four times as many %.1f times that", c.n, few, more/few)
			}
		})
	}
}

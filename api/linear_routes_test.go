//go:build !race

package api

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A hurtful body grows with n, and is made to cost more than that.
type hurtful struct {
	name string
	make func(n int) string
}

// commas returns n items between commas.
func commas(n int, item func(i int) string) string {
	var s strings.Builder
	for i := range n {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(item(i))
	}
	return s.String()
}

func always(text string) func(int) string { return func(int) string { return text } }

// hurtfulJSON are bodies for any route that takes JSON. Those below a field are what
// stands in it.
func hurtfulJSON(fields []string) (all []hurtful) {
	for _, field := range fields {
		all = append(all,
			hurtful{field + " repeated", func(n int) string { return "{" + commas(n, always(`"`+field+`": {}`)) + "}" }},
			hurtful{field + " of numbers", func(n int) string {
				return `{"` + field + `": [` + commas(n, func(i int) string { return fmt.Sprint(i) }) + "]}"
			}},
			hurtful{field + " of one text", func(n int) string {
				return `{"` + field + `": [` + commas(n, always(`"mean"`)) + "]}"
			}},
			hurtful{field + " of texts", func(n int) string {
				return `{"` + field + `": [` + commas(n, func(i int) string { return fmt.Sprintf(`"t%d"`, i) }) + "]}"
			}},
			hurtful{field + " of objects", func(n int) string {
				return `{"` + field + `": [` + commas(n, func(i int) string { return fmt.Sprintf(`{"granularity": %d}`, i+1) }) +
					"]}"
			}},
			hurtful{field + " of keys", func(n int) string {
				return `{"` + field + `": {` + commas(n, func(i int) string { return fmt.Sprintf(`"k%d": {}`, i) }) + "}}"
			}},
			hurtful{field + " escaped", func(n int) string {
				return `{"` + field + `": "` + strings.Repeat(`\u00e9\ud83d\ude00\n`, n) + `"}`
			}},
			hurtful{field + " of stars", func(n int) string {
				return `{"` + field + `": "` + strings.Repeat("a*", n) + `"}`
			}},
			hurtful{field + " of parentheses", func(n int) string {
				return `{"` + field + `": "` + strings.Repeat("(- ", n) + strings.Repeat(")", n) + `"}`
			}},
			hurtful{field + " nested", func(n int) string {
				return `{"` + field + `": ` + strings.Repeat(`{"not": `, n) + `{}` + strings.Repeat("}", n) + `}`
			}},
		)
	}
	return append(all,
		hurtful{"one key repeated", func(n int) string {
			return "{" + commas(n, always(`"k": [{"timestamp": 1, "value": 1}]`)) + "}"
		}},
		hurtful{"keys", func(n int) string {
			return "{" + commas(n, func(i int) string { return fmt.Sprintf(`"k%d": 1`, i) }) + "}"
		}},
		hurtful{"empty objects", func(n int) string { return "[" + commas(n, always("{}")) + "]" }},
		hurtful{"lists in lists", func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }},
		hurtful{"lists without an end", func(n int) string { return strings.Repeat("[", n) }},
		hurtful{"conditions in conditions", func(n int) string {
			return strings.Repeat(`{"and": [`, n) + `{"=": {"id": 1}}` + strings.Repeat("]}", n)
		}},
		hurtful{"equalities", func(n int) string {
			return `{"or": [` + commas(n/4, always(`{"=": {"id": "x"}}`)) + "]}"
		}},
		hurtful{"comparisons", func(n int) string {
			return `{"or": [` + commas(n/16, always(`{">": {"id": "x"}}`)) + "]}"
		}},
		hurtful{"too many comparisons", func(n int) string {
			return `{"and": [` + commas(n, always(`{"!=": {"id": "x"}}`)) + "]}"
		}},
		hurtful{"one long text", func(n int) string { return `"` + strings.Repeat(`\u0061\\`, n) + `"` }},
		hurtful{"digits", func(n int) string { return `[{"timestamp": 1, "value": ` + strings.Repeat("1", n) + `}]` }},
		hurtful{"operations of a patch", func(n int) string {
			return "[" + commas(n, func(i int) string {
				return fmt.Sprintf(`{"op": "add", "path": "/attributes/a%d", "value": {"type": "string"}}`, i)
			}) + "]"
		}},
		hurtful{"one operation of a patch over and over", func(n int) string {
			return "[" + commas(n, always(`{"op": "add", "path": "/attributes/a", "value": {"type": "string"}}`)) + "]"
		}},
	)
}

// hurtfulLines are line protocol.
var hurtfulLines = []hurtful{
	{"tags", func(n int) string {
		return "m," + commas(n, func(i int) string { return fmt.Sprintf("t%d=x", i) }) + " v=1 1"
	}},
	{"one tag repeated", func(n int) string { return "m," + commas(n, always("t=x")) + " v=1 1" }},
	{"fields", func(n int) string {
		return "m " + commas(n, func(i int) string { return fmt.Sprintf("f%d=1", i) }) + " 1"
	}},
	{"one field repeated", func(n int) string { return "m,host=h " + commas(n, always("f=1")) + " 1" }},
	{"series", func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, "m,host=h%d v=1 1\n", i/100)
		}
		return s.String()
	}},
	{"escapes", func(n int) string { return "m,host=" + strings.Repeat(`\,\ \=`, n) + " v=1 1" }},
	{"quotes", func(n int) string { return `m,host=h v="` + strings.Repeat(`\"\\`, n) }},
	{"blanks", func(n int) string { return strings.Repeat(" \n#\n", n) }},
	{"bad lines", func(n int) string { return strings.Repeat("x\n", n) }},
}

// hurtfulWrites are of Prometheus' remote write.
var hurtfulWrites = []hurtful{
	{"labels", func(n int) string {
		return remoteWrite("__name__=up,"+commas(n, func(i int) string { return fmt.Sprintf("l%06d=x", i) }), int64(1), 1.0)
	}},
	{"one label repeated", func(n int) string {
		return remoteWrite("__name__=up,"+commas(n, always("l=x")), int64(1), 1.0)
	}},
	{"one series repeated", func(n int) string {
		var all []any
		for i := range n {
			all = append(all, "__name__=up,instance=h,job=j", int64(n-i), 1.0)
		}
		return remoteWrite(all...)
	}},
	{"no bytes", func(n int) string { return strings.Repeat("\x00", n) }},
}

// used is what a thread has taken of the processor, and the process of memory, in all.
func used(t *testing.T) (cpu time.Duration, bytes uint64) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		t.Fatal(err)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), memory.TotalAlloc
}

// Every route that takes a body costs no more than the body is long, whatever stands in it.
// What would be quadratic costs 64 times as much in a body that is eight times as long; half of
// that is allowed, above what is not worth a look, of the bytes that are allocated and of the
// thread's own processor time, which is not the clock's.
func TestEveryRouteIsLinear(t *testing.T) {
	const few, times = 2_000, 8
	h := newHouse(t, build{})
	h.policy(t, "x", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/archive_policy_rule", call{as: "admin",
		body: `{"name": "x", "metric_pattern": "*", "archive_policy_name": "x"}`})
	h.must(t, "POST", "/v1/resource_type", call{as: "admin", body: `{"name": "host"}`})
	h.must(t, "POST", "/v1/influxdb/query?q=create+database+db", call{as: "admin"})
	h.must(t, "POST", "/v1/resource/generic", call{as: "admin", body: `{"id": "r", "metrics": {"m": {}}}`})
	id := h.must(t, "POST", "/v1/metric", call{as: "admin", body: `{}`})["id"].(string)

	type target struct {
		path   string // "": the route's own
		bodies []hurtful
		header string
	}
	measures, batch := hurtfulJSON([]string{id}), hurtfulJSON([]string{id, "r"})
	targets := map[string]target{
		"POST /healthcheck/*":     {path: "/healthcheck/", bodies: hurtfulJSON(nil)},
		"POST /v1/archive_policy": {bodies: hurtfulJSON([]string{"definition", "aggregation_methods", "name"})},
		"PATCH /v1/archive_policy/{name}": {path: "/v1/archive_policy/x",
			bodies: hurtfulJSON([]string{"definition"})},
		"POST /v1/archive_policy_rule": {bodies: hurtfulJSON([]string{"metric_pattern"})},
		"PATCH /v1/archive_policy_rule/{name}": {path: "/v1/archive_policy_rule/x",
			bodies: hurtfulJSON([]string{"name"})},
		"POST /v1/metric":                 {bodies: hurtfulJSON([]string{"name", "unit", "resource_id"})},
		"POST /v1/metric/{id}/measures":   {path: "/v1/metric/" + id + "/measures", bodies: measures},
		"POST /v1/batch/metrics/measures": {bodies: batch},
		"POST /v1/search/metric": {path: "/v1/search/metric?metric_id=" + id,
			bodies: hurtfulJSON([]string{"=", "and", ">"})},
		"POST /v1/aggregates":         {bodies: hurtfulJSON([]string{"operations", "search", "resource_type"})},
		"POST /v1/aggregation/metric": {bodies: hurtfulJSON([]string{"metric"})},
		"POST /v1/aggregation/resource/{type}/metric": {path: "/v1/aggregation/resource/generic/metric",
			bodies: hurtfulJSON(nil)},
		"POST /v1/aggregation/resource/{type}/metric/{name}": {path: "/v1/aggregation/resource/generic/metric/m",
			bodies: hurtfulJSON([]string{"=", "and", "like"})},
		"POST /v1/dead-letters/replay":   {bodies: hurtfulJSON([]string{"ids"})},
		"POST /v1/resource_type":         {bodies: hurtfulJSON([]string{"attributes", "name"})},
		"PATCH /v1/resource_type/{name}": {path: "/v1/resource_type/host", bodies: hurtfulJSON(nil)},
		"POST /v1/resource/{type}": {path: "/v1/resource/generic",
			bodies: hurtfulJSON([]string{"metrics", "id"})},
		"PATCH /v1/resource/{type}/{id}": {path: "/v1/resource/generic/r",
			bodies: hurtfulJSON([]string{"metrics"})},
		"POST /v1/resource/{type}/{id}/metric": {path: "/v1/resource/generic/r/metric",
			bodies: hurtfulJSON([]string{"n"})},
		"POST /v1/resource/{type}/{id}/metric/{name}/measures": {path: "/v1/resource/generic/r/metric/m/measures",
			bodies: measures},
		"POST /v1/search/resource/{type}": {path: "/v1/search/resource/generic",
			bodies: hurtfulJSON([]string{"=", "and", "or", "not", "in", "like"})},
		"POST /v1/batch/resources/metrics/measures": {path: "/v1/batch/resources/metrics/measures?create_metrics=true",
			bodies: batch},
		"POST /v1/influxdb/query": {bodies: hurtfulLines, header: "Content-Type: application/x-www-form-urlencoded"},
		"POST /v1/influxdb/write": {path: "/v1/influxdb/write?db=db", bodies: hurtfulLines,
			header: "Content-Type: text/plain"},
		"POST /v1/prometheus/write": {bodies: hurtfulWrites},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, r := range h.routes() {
		if r.method != http.MethodPost && r.method != http.MethodPut && r.method != http.MethodPatch {
			continue
		}
		route := r.method + " " + r.path
		to, known := targets[route]
		if !known {
			t.Errorf("nobody tries to hurt %s", route)
			continue
		}
		if to.path == "" {
			to.path = r.path
		}
		for _, body := range to.bodies {
			cost := func(n int) (time.Duration, float64) {
				request := call{as: "admin", body: body.make(n)}
				if to.header != "" {
					request.header = []string{to.header}
				}
				cpu, bytes := used(t)
				if w := h.do(t, r.method, to.path, request); w.Code >= 500 && w.Code != http.StatusNotImplemented {
					t.Errorf("%s, %s: %d %.200s", route, body.name, w.Code, w.Body)
				}
				cpuThen, bytesThen := used(t)
				return cpuThen - cpu, float64(bytesThen - bytes)
			}
			cpu, bytes := cost(few)
			more, moreBytes := cost(few * times)
			if moreBytes > times*times/2*bytes+8<<20 || more > times*times/2*cpu+100*time.Millisecond {
				t.Errorf("%s, %s: %d take %v and %.0f bytes, %d times as many %v and %.0f", route, body.name, few, cpu, bytes,
					times, more, moreBytes)
			}
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// What both servers are loaded with: besideMinutes minutes from besideStart on.
const (
	besideStart   = 1_704_067_200 // 2024-01-01T00:00:00Z
	besideMinutes = 150
)

var besidePolicies = []string{
	`{"name": "three", "definition": [{"granularity": 60}, {"granularity": 300}, {"granularity": 3600}],
	  "aggregation_methods": ["mean", "min", "max", "sum", "std", "count", "median", "first", "last", "95pct",
	  "rate:mean", "rate:max"]}`,
	`{"name": "two", "definition": [{"granularity": 60}, {"granularity": 3600}],
	  "aggregation_methods": ["mean","max","count"]}`,
	`{"name": "five", "definition": [{"granularity": 300, "points": 12}], "aggregation_methods": ["mean","sum"]}`,
	`{"name": "second", "definition": [{"granularity": 1}, {"granularity": 60}],
	  "aggregation_methods": ["mean","last"]}`,
}

const besideType = `{"name": "vm", "attributes": {
	"flavor": {"type": "string", "required": false}, "host": {"type": "string"},
	"cpus": {"type": "number", "required": false}, "seen": {"type": "datetime", "required": false},
	"uid": {"type": "uuid", "required": false}, "on": {"type": "bool", "required": false},
	"odd-name": {"type": "string", "required": false}}}`

type besideMetric struct {
	ref, name, policy string
	seed              uint64
	every             int // seconds
	gaps, special     bool
	none              bool
}

// measures is one request: with values below zero, and, of some, NaN and gaps of minutes.
func (m besideMetric) measures() string {
	if m.none {
		return "[]"
	}
	random := rand.New(rand.NewPCG(m.seed, 1))
	var items []string
	skip := 0
	for at := besideStart; at < besideStart+60*besideMinutes; at += m.every {
		if skip--; skip > 0 {
			continue
		}
		if m.gaps && random.IntN(12) == 0 {
			skip = 1 + random.IntN(9*60/m.every)
			continue
		}
		value := fmt.Sprintf("%.2f", 20*random.NormFloat64())
		if m.special && random.IntN(15) == 0 {
			value = "NaN"
		}
		items = append(items, fmt.Sprintf(`{"timestamp": %d, "value": %s}`, at+random.IntN(m.every), value))
	}
	return "[" + strings.Join(items, ",") + "]"
}

type besideResource struct {
	typ, id, body string
	metrics       []besideMetric
}

func besideResources() []besideResource {
	random := rand.New(rand.NewPCG(7, 7))
	var out []besideResource
	for i := range 14 {
		r := besideResource{typ: "vm", id: fmt.Sprintf("vm-%d", i)}
		attributes := map[string]any{"id": r.id, "host": []string{"alpha", "Alpha", "be%ta", "g_mma", "étoile"}[i%5],
			"started_at": fmt.Sprintf("2023-12-%02dT%02d:00:00", 1+i, i)}
		optional := func(name string, value any) {
			if random.IntN(3) > 0 {
				attributes[name] = value
			}
		}
		optional("flavor", []string{"m1.small", "m1.large", `back\slash`, "5", "it's"}[i%5])
		optional("cpus", []any{1, 2, 2.5, -3, 1e20}[i%5])
		optional("seen", fmt.Sprintf("2024-01-01T00:00:%02d.5", i))
		optional("uid", fmt.Sprintf("00000000-0000-0000-0000-0000000000%02d", i%4))
		optional("on", i%2 == 0)
		optional("odd-name", fmt.Sprintf("o%d", i%2))
		optional("project_id", fmt.Sprintf("p%d", i%3))
		optional("user_id", fmt.Sprintf("u%d", i%2))
		optional("ended_at", fmt.Sprintf("2025-01-%02dT00:00:00", 1+i))
		switch {
		case i == 11:
			r.id, attributes["id"] = "éñ☃", "éñ☃"
		case i > 11:
			r.typ, r.id = "generic", fmt.Sprintf("3f9a1c2e-0000-4000-8000-0000000000%02d", i)
			attributes = map[string]any{"id": strings.ToUpper(r.id), "project_id": "p1", "started_at": "2023-11-01"}
		}
		body, _ := json.Marshal(attributes)
		r.body = string(body)
		for j, name := range []string{"cpu", "mem", "disk.a", "disk.b", "Disk.a"}[:1+i%5] {
			r.metrics = append(r.metrics, besideMetric{ref: fmt.Sprintf("{%s/%s}", r.id, name), name: name,
				policy: []string{"three", "two", "three", "five"}[(i/4+j)%4], seed: uint64(100*i + j),
				every: []int{20, 60, 30}[j%3],
				gaps:  i%2 == 0})
		}
		out = append(out, r)
	}
	return out
}

// besideLoose are metrics without a resource, which questions name by their ids.
func besideLoose() []besideMetric {
	var out []besideMetric
	for i, policy := range []string{"three", "three", "three", "two", "two", "five", "second", "second", "three",
		"three"} {
		out = append(out, besideMetric{ref: fmt.Sprintf("{m%d}", i), name: fmt.Sprintf("loose-%d", i), policy: policy,
			seed: uint64(i), every: []int{20, 60, 25}[i%3], gaps: i%2 == 1, special: i == 2 || i == 7, none: i == 9})
	}
	return out
}

var besideChanges = [][2]string{
	{"vm/vm-1", `{"host": "moved", "flavor": "m1.huge"}`},
	{"vm/vm-1", `{"host": "alpha"}`},
	{"vm/vm-2", `{"project_id": "p9"}`},
	{"vm/vm-4", `{"ended_at": "2025-06-01T00:00:00"}`},
	{"vm/vm-5", `{"user_id": "u9"}`},
}

package api

import (
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// undescribed says whether a route is none that a client calls.
func undescribed(rt *route) bool {
	name := runtime.FuncForPC(reflect.ValueOf(rt.handle).Pointer()).Name()
	return rt.method == "HEAD" || rt.method == "POST" && strings.HasPrefix(rt.path, "/healthcheck") ||
		strings.HasSuffix(name, ".onlyPOST") || strings.HasSuffix(name, ".noMethod")
}

// The description has every route, and nothing else.
func TestOpenAPI(t *testing.T) {
	h := newHouse(t, build{config: Config{Prefix: "/gnocchi"}})
	w := h.do(t, "GET", "/gnocchi/v1/openapi.json", call{as: "-"})
	var doc struct {
		OpenAPI    string
		Servers    []struct{ URL string }
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	asJSON(t, w, &doc)
	if w.Code != 200 || !strings.HasPrefix(doc.OpenAPI, "3.") || doc.Servers[0].URL != "http://example.com/gnocchi" {
		t.Errorf("%d %s %v", w.Code, doc.OpenAPI, doc.Servers)
	}
	routes := map[string]bool{}
	ids := map[string]string{}
	for _, rt := range h.routes() {
		routes[rt.method+" "+rt.path] = true
		path := strings.TrimSuffix(rt.path, "/*")
		o, there := doc.Paths[path][strings.ToLower(rt.method)]
		if there == undescribed(&rt) {
			t.Errorf("%s %s: described %v", rt.method, rt.path, there)
		}
		if other := ids[o.OperationID]; there && other != "" {
			t.Errorf("%s %s and %s are both %s", rt.method, rt.path, other, o.OperationID)
		}
		ids[o.OperationID] = rt.method + " " + rt.path
	}
	for name := range described {
		if !routes[name] {
			t.Errorf("%s is described and isn't there", name)
		}
	}
	// Every reference leads somewhere, and every schema is referred to.
	for _, part := range strings.Split(w.Body.String(), `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
	for name := range doc.Components.Schemas {
		if !strings.Contains(w.Body.String(), `schemas/`+name+`"`) {
			t.Errorf("nobody refers to the schema %s", name)
		}
	}
	var any map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &any); err != nil {
		t.Error(err)
	}
}

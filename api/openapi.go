package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"millrace/api/gnocchi"
)

// getOpenAPI answers GET /v1/openapi.json: what the API is, for programs (OpenAPI 3.0).
func (q *request) getOpenAPI() error {
	return q.json(http.StatusOK, q.openAPI(q.base()))
}

// An operation is what a program has to know of a route. Path parameters, what may
// go wrong with every request and the credentials are added to it.
type operation struct {
	summary string
	query   []string // names of parameters: see openAPIParameters
	headers []string
	body    string         // name of a schema; "": none
	media   string         // of the body; "": JSON
	answers map[int]string // names of schemas; "": no body
	errors  []int          // beside those of every request
}

// openAPI describes the server that is found at base.
func (a *API) openAPI(base string) gnocchi.Object {
	paths := map[string]gnocchi.Object{}
	var order []string
	for _, rt := range a.routes() {
		o, ok := described[rt.method+" "+rt.path]
		if !ok {
			continue
		}
		path := strings.TrimSuffix(rt.path, "/*")
		if _, again := paths[path]; !again {
			order = append(order, path)
		}
		paths[path] = append(paths[path], gnocchi.Member{Name: strings.ToLower(rt.method), Value: o.object(&rt)})
	}
	all := gnocchi.Object{}
	for _, path := range order {
		all = append(all, gnocchi.Member{Name: path, Value: paths[path]})
	}
	return gnocchi.Object{
		{Name: "openapi", Value: "3.0.3"},
		{Name: "info", Value: gnocchi.Object{
			{Name: "title", Value: "Millrace: Gnocchi's v1 API, and what it adds"},
			{Name: "version", Value: a.config.Version},
			{Name: "license", Value: gnocchi.Object{{Name: "name", Value: "Apache-2.0"}}},
		}},
		{Name: "servers", Value: []any{gnocchi.Object{{Name: "url", Value: base}}}},
		{Name: "paths", Value: all},
		{Name: "components", Value: gnocchi.Object{
			{Name: "schemas", Value: openAPISchemas()},
			{Name: "securitySchemes", Value: gnocchi.Object{
				{Name: "basic", Value: gnocchi.Object{{Name: "type", Value: "http"}, {Name: "scheme", Value: "basic"}}},
				{
					Name: "keystone",
					Value: gnocchi.Object{
						{Name: "type", Value: "apiKey"}, {Name: "in", Value: "header"}, {Name: "name", Value: "X-Auth-Token"},
					},
				},
			}},
		}},
	}
}

// object describes one route.
func (o *operation) object(rt *route) gnocchi.Object {
	d := gnocchi.Object{{Name: "summary", Value: o.summary}, {Name: "operationId", Value: operationID(rt)}}
	if parameters := o.parameters(rt); len(parameters) > 0 {
		d = append(d, gnocchi.Member{Name: "parameters", Value: parameters})
	}
	if o.body != "" {
		media := o.media
		if media == "" {
			media = typeJSON
		}
		d = append(d, gnocchi.Member{Name: "requestBody", Value: gnocchi.Object{
			{Name: "required", Value: true}, {
				Name:  "content",
				Value: gnocchi.Object{{Name: media, Value: gnocchi.Object{{Name: "schema", Value: schemaRef(o.body)}}}},
			},
		}})
	}
	d = append(d, gnocchi.Member{Name: "responses", Value: o.responses(rt)})
	if rt.open {
		return append(d, gnocchi.Member{Name: "security", Value: []any{}})
	}
	return append(
		d,
		gnocchi.Member{
			Name: "security",
			Value: []any{
				gnocchi.Object{{Name: "basic", Value: []any{}}}, gnocchi.Object{{Name: "keystone", Value: []any{}}},
			},
		},
	)
}

// operationID is "getMetricById" and the like: method and path in one word.
func operationID(rt *route) string {
	id := strings.ToLower(rt.method)
	if rt.path == "/" {
		return id + "Versions"
	}
	for _, s := range appendSegments(nil, strings.TrimPrefix(rt.path, "/v1")) {
		by := strings.HasPrefix(s, "{")
		for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("{}_-.*", r) }) {
			if by {
				id += "By"
				by = false
			}
			id += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return id
}

func (o *operation) parameters(rt *route) []any {
	var all []any
	add := func(in, name string, required bool) {
		p, ok := openAPIParameters[name]
		if !ok {
			panic("BUG: nobody describes the parameter " + name)
		}
		d := gnocchi.Object{
			{Name: "name", Value: name}, {Name: "in", Value: in}, {Name: "description", Value: p.about},
			{Name: "schema", Value: p.schema},
		}
		if required {
			d = append(d, gnocchi.Member{Name: "required", Value: true})
		}
		all = append(all, d)
	}
	for _, s := range appendSegments(nil, rt.path) {
		if strings.HasPrefix(s, "{") {
			add("path", strings.Trim(s, "{}"), true)
		}
	}
	for _, name := range o.query {
		add("query", name, name == "metric_id")
	}
	for _, name := range o.headers {
		add("header", name, false)
	}
	return all
}

// responses describes the answers: those of success, and errors, which are all alike.
func (o *operation) responses(rt *route) gnocchi.Object {
	var all gnocchi.Object
	statuses := make([]int, 0, len(o.answers))
	for status := range o.answers {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		d := gnocchi.Object{{Name: "description", Value: http.StatusText(status)}}
		if schema := o.answers[status]; schema != "" {
			d = append(
				d,
				gnocchi.Member{
					Name:  "content",
					Value: gnocchi.Object{{Name: typeJSON, Value: gnocchi.Object{{Name: "schema", Value: schemaRef(schema)}}}},
				},
			)
		}
		all = append(all, gnocchi.Member{Name: strconv.Itoa(status), Value: d})
	}
	errors := append([]int{}, o.errors...)
	if !rt.open {
		errors = append(errors, 401, 503)
	}
	if !rt.any {
		errors = append(errors, 406)
	}
	if o.body != "" {
		errors = append(errors, 400, 408, 413, 415)
	}
	slices.Sort(errors)
	for _, status := range slices.Compact(errors) {
		if _, success := o.answers[status]; success {
			continue
		}
		content := gnocchi.Object{
			{Name: typeJSON, Value: gnocchi.Object{{Name: "schema", Value: schemaRef("Error")}}},
			{Name: typeProblem, Value: gnocchi.Object{{Name: "schema", Value: schemaRef("Problem")}}},
		}
		for _, media := range []string{typeText, typeHTML} {
			content = append(
				content,
				gnocchi.Member{
					Name:  media,
					Value: gnocchi.Object{{Name: "schema", Value: gnocchi.Object{{Name: "type", Value: "string"}}}},
				},
			)
		}
		all = append(
			all,
			gnocchi.Member{
				Name:  strconv.Itoa(status),
				Value: gnocchi.Object{{Name: "description", Value: explanations[status]}, {Name: "content", Value: content}},
			},
		)
	}
	return all
}

func schemaRef(name string) gnocchi.Object {
	return gnocchi.Object{{Name: "$ref", Value: "#/components/schemas/" + name}}
}

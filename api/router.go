package api

import (
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/metric"

	"millrace/api/auth"
)

// A route is what happens to one method on one path.
type route struct {
	method string
	path   string // segments; "{…}" matches any one, a last "*" any number
	handle func(*request) error

	find func(*request) error // look-up that belongs to routing: its 404 comes before everything else
	rule auth.Rule            // checked before the handler; Anyone: authenticated is enough
	open bool                 // needs no credentials
	any  bool                 // answers with other media types too: no 406

	measured [6]metric.MeasurementOption // attributes of the request metrics, per status class
}

// A router finds routes. It is our own because http.ServeMux cleans paths with
// redirects, and here "..", "" and everything else are names or nothing.
type router struct {
	prefix []string
	root   node
}

type node struct {
	literal map[string]*node
	param   *node
	below   *node // whatever follows
	methods map[string]*route
	allow   string
}

func newRouter(prefix string, routes []route, m *apiMetrics) *router {
	r := &router{prefix: appendSegments(nil, prefix)}
	for i := range routes {
		rt := &routes[i]
		n := &r.root
		for _, s := range appendSegments(nil, rt.path) {
			n = n.grow(s)
		}
		if n.methods == nil {
			n.methods = map[string]*route{}
		}
		if n.methods[rt.method] != nil {
			panic("BUG: two routes for " + rt.method + " " + rt.path)
		}
		n.methods[rt.method] = rt
		m.prepare(rt)
		names := make([]string, 0, len(n.methods))
		for method := range n.methods {
			names = append(names, method)
		}
		slices.Sort(names)
		n.allow = strings.Join(names, ", ")
	}
	return r
}

func (n *node) grow(segment string) *node {
	into := &n.param
	switch {
	case segment == "*":
		into = &n.below
	case segment[0] != '{':
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[segment] == nil {
			n.literal[segment] = &node{}
		}
		return n.literal[segment]
	}
	if *into == nil {
		*into = &node{}
	}
	return *into
}

// match finds the route of a request by its decoded path, and sets the request's
// parameters.
func (r *router) match(q *request) (*route, error) {
	path := q.r.URL.Path
	for _, want := range r.prefix {
		var segment string
		if segment, path = cutSegment(path); segment != want {
			return nil, notFound(nil)
		}
	}
	n := &r.root
	for {
		var segment string
		if segment, path = cutSegment(path); segment == "" {
			break
		}
		next := n.literal[segment]
		switch {
		case next != nil:
		case n.param != nil:
			next = n.param
			q.params = append(q.params, segment)
		case n.below != nil:
			n, path = n.below, ""
			continue
		default:
			return nil, notFound(nil)
		}
		n = next
	}
	if n.methods == nil && n.below != nil {
		n = n.below
	}
	if n.methods == nil {
		return nil, notFound(nil)
	}
	rt := n.methods[q.r.Method]
	if rt == nil {
		return nil, &failure{status: http.StatusMethodNotAllowed, description: "", allow: n.allow}
	}
	return rt, nil
}

// cutSegment returns the first segment that isn't empty, and what follows it.
func cutSegment(path string) (segment, rest string) {
	path = strings.TrimLeft(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

func appendSegments(dst []string, path string) []string {
	for {
		var s string
		if s, path = cutSegment(path); s == "" {
			return dst
		}
		dst = append(dst, s)
	}
}

package api

import "millrace/api/gnocchi"

// A parameter as OpenAPI has it.
type parameter struct {
	about  string
	schema gnocchi.Object
}

func typed(kind string, more ...gnocchi.Member) gnocchi.Object {
	return append(gnocchi.Object{{Name: "type", Value: kind}}, more...)
}

func with(name string, value any) gnocchi.Member { return gnocchi.Member{Name: name, Value: value} }

func oneOfTexts(values ...any) gnocchi.Object { return typed("string", with("enum", values)) }

func arrayOf(items gnocchi.Object) gnocchi.Object { return typed("array", with("items", items)) }

// objectOf is an object with these properties; required ones are named first.
func objectOf(required []any, properties ...gnocchi.Member) gnocchi.Object {
	o := typed("object", with("properties", gnocchi.Object(properties)))
	if len(required) > 0 {
		o = append(o, with("required", required))
	}
	return o
}

func closed(o gnocchi.Object) gnocchi.Object { return append(o, with("additionalProperties", false)) }

func nullable(o gnocchi.Object) gnocchi.Object { return append(o, with("nullable", true)) }

var (
	anyText  = typed("string")
	anyJSON  = gnocchi.Object{}
	flagText = oneOfTexts("true", "false")
	instants = typed("string", with("example", "2026-03-06T14:30:00"))
	spans    = typed("string", with("example", "60"))
	name255  = typed("string", with("maxLength", 255), with("pattern", `^[A-Za-z0-9_.@-]+$`))
)

// openAPIParameters are the parameters of paths, queries and headers.
var openAPIParameters = map[string]parameter{
	"name": {"name of the object", name255}, "id": {
		"id of the object", typed("string", with("minLength", 1), with("pattern", `^[A-Za-z0-9_.@:-]+$`)),
	},
	"type": {"resource type; generic is all of them", name255}, "token": {
		"what Millrace-Position said", typed("string", with("minLength", 1), with("pattern", `^[A-Za-z0-9_-]+$`)),
	},
	"limit": {
		"how many at most", typed("integer", with("minimum", 1)),
	}, "marker": {"id of the last object of the page before", anyText},
	"sort": {
		"key[:direction], the first one counts most", arrayOf(anyText),
	}, "attrs": {"attributes to show; none: all", arrayOf(anyText)},
	"filter": {
		"a search, as text", anyText,
	}, "history": {"past states too", flagText}, "details": {"everything", flagText},
	"start": {"the first instant", instants}, "stop": {"the instant behind the last", instants}, "granularity": {
		"width of the buckets, a time span", spans,
	},
	"aggregation": {
		"aggregation method", oneOfTexts("mean", "sum", "min", "max", "count", "std", "last", "rate:mean"),
	},
	"resample": {
		"a wider granularity, or Y, H, Q, M, W", spans,
	}, "refresh": {"wait for what was accepted before", flagText},
	"reaggregation": {
		"how series are put together", oneOfTexts("mean", "sum", "min", "max", "count", "std", "var", "median"),
	},
	"fill": {
		"what stands where a series has nothing",
		oneOfTexts("null", "dropna", "ffill", "bfill", "full_ffill", "full_bfill", "0"),
	},
	"needed_overlap": {
		"percentage of buckets that all series have", typed("number", with("minimum", 0), with("maximum", 100)),
	},
	"groupby": {"attributes of resources", arrayOf(anyText)}, "use_history": {
		"by the groups that resources were of at the time", flagText,
	},
	"metric": {
		"ids of metrics", arrayOf(typed("string", with("format", "uuid"))),
	}, "metric_id": {"ids of metrics", arrayOf(typed("string", with("format", "uuid")))},
	"unit": {"filter", anyText}, "archive_policy_name": {"filter", anyText}, "creator": {"filter", anyText}, "status": {
		"filter", oneOfTexts("active", "delete"),
	},
	"create_metrics": {"create metrics that don't exist, of resources that do", flagText},
	"q": {
		"a statement", typed("string", with("pattern", "^CREATE DATABASE [a-z_][a-z0-9_]*$")),
	}, "db": {"a resource type", name255},
	"Prefer": {
		"wait=N, handling=lenient, handling=strict (RFC 7240)",
		oneOfTexts("wait=1", "handling=lenient", "handling=strict", "respond-async"),
	},
	"Idempotency-Key": {
		"a creation with the same key is answered with what the first one made",
		typed("string", with("minLength", 1), with("maxLength", 255), with("pattern", "^[a-z0-9-]+$")),
	},
	"Millrace-Position": {"wait until this position has been applied", anyText},
	"all":               {"has to be true", oneOfTexts("true")},
}

// openAPISchemas are the shapes of bodies.
func openAPISchemas() gnocchi.Object {
	uuid := typed("string", with("format", "uuid"))
	rows := arrayOf(typed("array", with("items", anyJSON), with("minItems", 3), with("maxItems", 3)))
	text255 := typed("string", with("minLength", 1), with("maxLength", 255))
	definition := closed(
		objectOf(
			[]any{"granularity", "points"},
			with("granularity", typed("integer", with("minimum", 1), with("maximum", 86400))),
			with("points", typed("integer", with("minimum", 1), with("maximum", 10000))),
		),
	)
	window := typed("integer", with("minimum", 0), with("maximum", 100))
	definitions := append(arrayOf(definition), with("minItems", 1), with("maxItems", 3))
	measure := objectOf(
		[]any{"timestamp", "value"},
		with("timestamp", typed("number", with("minimum", 0), with("maximum", 1700000000))),
		with("value", typed("number")),
	)
	measures := append(arrayOf(measure), with("maxItems", 100))
	mapOf := func(value gnocchi.Object) gnocchi.Object { return typed("object", with("additionalProperties", value)) }
	return gnocchi.Object{
		with(
			"Error",
			objectOf(
				[]any{"code", "title", "description"}, with("code", typed("integer")), with("title", anyText),
				with("description", nullable(gnocchi.Object{})),
			),
		),
		with(
			"Problem",
			objectOf(
				[]any{"type", "title", "status"}, with("type", anyText), with("title", anyText),
				with("status", typed("integer")), with("detail", anyText),
			),
		),
		with("Object", typed("object")), with("Anything", anyJSON), with("Text", anyText),
		with("Rows", rows), with("RowsByMetric", mapOf(rows)), with("Binary", typed("string", with("format", "binary"))),
		with(
			"Policy",
			objectOf(
				[]any{"name", "back_window", "definition", "aggregation_methods"}, with("name", anyText),
				with("back_window", typed("integer")), with("definition", arrayOf(typed("object"))),
				with("aggregation_methods", arrayOf(anyText)),
			),
		),
		with("Policies", arrayOf(schemaRef("Policy"))),
		with("NewPolicy", closed(objectOf([]any{"name", "definition"},
			with("name", text255), with("back_window", window), with("definition", definitions),
			with("aggregation_methods", append(arrayOf(oneOfTexts("mean", "max", "rate:mean", "95pct")), with("minItems", 1))),
		))),
		with("PolicyChange", closed(objectOf([]any{"definition"}, with("back_window", window),
			with("definition", definitions)))),
		with(
			"Rule",
			objectOf(
				[]any{"name", "metric_pattern", "archive_policy_name"}, with("name", anyText),
				with("metric_pattern", anyText), with("archive_policy_name", anyText),
			),
		),
		with("Rules", arrayOf(schemaRef("Rule"))),
		with(
			"NewRule",
			closed(
				objectOf(
					[]any{"name", "metric_pattern", "archive_policy_name"}, with("name", text255),
					with("metric_pattern", text255), with("archive_policy_name", text255),
				),
			),
		),
		with("RuleChange", closed(objectOf([]any{"name"}, with("name", text255)))),
		with(
			"Metric",
			objectOf(
				[]any{"id", "name", "unit", "creator", "created_by_user_id", "created_by_project_id"}, with("id", uuid),
				with("name", nullable(typed("string"))), with("unit", nullable(typed("string"))), with("creator", anyText),
			),
		),
		with("Metrics", arrayOf(schemaRef("Metric"))),
		with(
			"NewMetric",
			closed(
				objectOf(
					nil, with("name", text255), with("unit", typed("string", with("maxLength", 31))),
					with("archive_policy_name", text255),
				),
			),
		),
		with(
			"NewMetrics",
			mapOf(
				closed(
					objectOf(nil, with("unit", typed("string", with("maxLength", 31))), with("archive_policy_name", text255)),
				),
			),
		),
		with("Measures", measures), with("MeasuresByMetric", mapOf(measures)), with(
			"MeasuresByResource", mapOf(mapOf(measures)),
		),
		with(
			"Ingest",
			objectOf(
				[]any{"state", "accepted", "refused", "rejected", "lag"},
				with("state", oneOfTexts("queued", "applied", "partly_rejected", "lost")),
				with("accepted", typed("integer")), with("refused", typed("integer")), with("rejected", typed("integer")),
				with("rejects", nullable(arrayOf(typed("object")))), with("lag", typed("object")),
			),
		),
		with("Type", objectOf([]any{"name", "attributes"}, with("name", anyText), with("attributes", typed("object")))),
		with("Types", arrayOf(schemaRef("Type"))),
		with(
			"NewType",
			closed(
				objectOf(
					[]any{"name"}, with("name", text255),
					with(
						"attributes",
						mapOf(
							closed(
								objectOf(
									[]any{"type"}, with("type", oneOfTexts("string", "uuid", "number", "bool", "datetime")),
									with("required", typed("boolean")),
								),
							),
						),
					),
				),
			),
		),
		with(
			"Patch",
			append(
				arrayOf(
					closed(
						objectOf(
							[]any{"op", "path"}, with("op", oneOfTexts("add", "remove")),
							with("path", typed("string", with("pattern", "^/attributes/[a-z]+$"))), with("value", typed("object")),
						),
					),
				),
				with("maxItems", 3),
			),
		),
		with(
			"Resource",
			objectOf(
				[]any{"id", "type", "creator", "original_resource_id"}, with("id", uuid), with("type", anyText),
				with("creator", anyText), with("original_resource_id", anyText),
			),
		),
		with("Resources", arrayOf(typed("object"))),
		with(
			"NewResource",
			objectOf(
				[]any{"id"}, with("id", text255), with("user_id", nullable(typed("string", with("maxLength", 255)))),
				with("project_id", nullable(typed("string", with("maxLength", 255)))),
			),
		),
		with(
			"ResourceChange",
			objectOf(
				nil, with("user_id", nullable(typed("string", with("maxLength", 255)))),
				with("project_id", nullable(typed("string", with("maxLength", 255)))),
			),
		),
		with("Search", objectOf(nil, with("=", typed("object")), with("and", arrayOf(typed("object"))))),
		with("ValueSearch", objectOf(nil, with(">", typed("number")), with("<=", typed("number")))),
		with(
			"Aggregates",
			objectOf(
				[]any{"operations"}, with("operations", anyJSON), with("search", anyJSON), with("resource_type", anyText),
			),
		),
		with("Ids", arrayOf(uuid)),
		with("Status", statusSchema()),
		with("Replay", objectOf(nil, with("ids", arrayOf(anyText)), with("all", typed("boolean")))),
		with(
			"Versions",
			objectOf([]any{"build", "versions"}, with("build", anyText), with("versions", arrayOf(typed("object")))),
		),
	}
}

// statusSchema is the shape of GET /v1/status.
func statusSchema() gnocchi.Object {
	whole, number := typed("integer"), typed("number")
	lag := objectOf([]any{"records", "bytes", "age"},
		with("records", whole), with("bytes", whole), with("age", number), with("error", anyText))
	sack := objectOf([]any{"sack", "applied", "lag"},
		with("sack", whole), with("applied", whole), with("owner", anyText), with("lag", lag))
	process := objectOf(
		[]any{"id", "host", "roles", "version", "formats", "log", "since", "beat", "alive", "sacks"},
		with("id", anyText), with("host", anyText), with("roles", arrayOf(oneOfTexts("api", "worker"))),
		with("version", anyText), with("formats", arrayOf(anyText)), with("log", anyText),
		with("since", number), with("beat", number), with("alive", typed("boolean")), with("sacks", arrayOf(whole)),
	)
	log := objectOf([]any{"id", "base"},
		with("id", anyText), with("base", whole), with("partitions", whole), with("replication", whole),
		with("settings", typed("object", with("additionalProperties", anyText))), with("risks", arrayOf(anyText)),
		with("error", anyText))
	damage := objectOf([]any{"object", "error", "first", "last"},
		with("object", anyText), with("error", anyText), with("first", anyText), with("last", anyText))
	return objectOf(
		[]any{"storage", "metricd", "index", "ingest", "dead_letters", "processes", "log"},
		with("storage", typed("object")), with("metricd", typed("object")), with("index", typed("object")),
		with("ingest", objectOf([]any{"lag"}, with("lag", lag), with("sacks", arrayOf(sack)))),
		with("dead_letters", whole), with("processes", arrayOf(process)), with("log", log), with("damages", arrayOf(damage)),
	)
}

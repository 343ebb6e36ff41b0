package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// deviation names the reason for an answer that is not Gnocchi's on purpose.
func deviation(q question, ours, theirs reply) string {
	our, their := fmt.Sprint(ours.description()), fmt.Sprint(theirs.description())
	has := func(parameter, pattern string) bool {
		return regexp.MustCompile(`[?&]` + parameter + `=` + pattern + `(&|$)`).MatchString(q.path)
	}
	switch {
	case theirs.status >= 500:
		return "Gnocchi fails"
	case has("(start|stop)", "") && strings.Contains(our, "start") || strings.Contains(our, "stop"):
		return "an empty time is refused"
	case strings.Contains(our, "can't be told apart"), strings.Contains(our, "use_history needs operations"):
		return "several series under one key are refused"
	case strings.Contains(their, "operation invalid") && strings.Contains(q.body, "resample") &&
		regexp.MustCompile(`resample("?,"?| )(first|last|count|90pct)`).MatchString(q.body):
		return "resample has more methods"
	case strings.Contains(q.path, "/search/metric") && strings.Contains(their, "does not exist"):
		return "a search for values may be for metrics with different granularities"
	case ours.status == 200 && strings.Contains(their, "No overlap") && strings.Contains(q.path, "/aggregation/"):
		return "nothing in the range is no error"
	case has("marker", ".*") && strings.Contains(their, "Invalid marker"):
		return "a page goes on after what is gone or doesn't match"
	case strings.Contains(their, "[None") && strings.Contains(q.path+q.body, "in"):
		return "null in a list matches nothing"
	case has("resample", "[^&]+") && strings.Contains(our, "A granularity must be specified"):
		return "a question about nothing is checked, too"
	case ours.status == 404 && theirs.status == 405 && q.path == "/archive_policy/x/y":
		return "there is nothing"
	case ours.status == 404 && theirs.status == 404 && our == "<nil>" && their == "":
		return "the router's 404 has no description"
	case ours.status == theirs.status && ours.status >= 400 && ours.status < 500 && otherwiseSaid(our, their):
		return "another of several faults, or other words for it"
	case ours.status != 200 || theirs.status != 200:
		return ""
	case has("fill", "-?[0-9.]+") && strings.Contains(q.path+q.body, "{m2}") || strings.Contains(q.path+q.body,
		"{m7}"):
		return "a NaN that was stored is filled"
	case byPlace(q) && (strings.Contains(q.path, "limit=") || sameItems(ours.doc, theirs.doc)):
		return "resources are listed in the order of their creation"
	case strings.HasPrefix(q.path, "/metric?") && sameItems(ours.doc, theirs.doc):
		return "ids of metrics are random, and so is their order"
	case strings.Contains(theirs.text, "NaT"):
		return "what is no time is refused"
	case strings.Contains(q.path, "/search/metric") && strings.Count(q.path, "metric_id=") > 1 &&
		!has("granularity", ".*"):
		return "a search for values may be for metrics with different granularities"
	case severalColumns.MatchString(q.body):
		return "columns are combined in the order in which they are named"
	case has("history", "true") && strings.Contains(q.path+q.body, "seen"):
		return "past states are searched by datetimes, too"
	}
	return ""
}

// severalColumns are operations with two operands of several metrics, or more.
var severalColumns = regexp.MustCompile(`(\(metric \(|\["metric",\[).*(\(metric \(|\["metric",\[)`)

// byPlace is true of listings in the default order.
func byPlace(q question) bool {
	return !strings.Contains(q.path, "sort=") || strings.HasSuffix(q.path, "sort=")
}

// sameItems compares lists without their order.
func sameItems(a, b any) bool {
	x, isList := a.([]any)
	y, isListToo := b.([]any)
	if !isList || !isListToo || len(x) != len(y) {
		return false
	}
	for _, item := range x {
		if !slices.ContainsFunc(y, func(other any) bool { return unlike("", item, other) == "" }) {
			return false
		}
	}
	return true
}

// otherwiseSaid compares errors by what clients look at: a status, and how texts begin.
func otherwiseSaid(ours, theirs string) bool {
	known := []string{"Argument value error", "Invalid input", "Invalid filter: ", "Unable to decode body",
		"Invalid value: `", "Invalid pagination: `",
		"Metrics cannot be aggregated", "Metrics with unknown aggregation", "Operations is invalid",
		"Invalid groupby attribute", "Unable to parse `",
		"Resource type", "Aggregation method '", "Unable to parse timespan", "Invalid operations",
		"Unknown metrics", "A granularity must be specified",
		"Resource type does not exist", "Aggregation does not exist", "Metric does not exist",
		"the query can not be empty",
		"can't remove a non-existent object", "is not supported in metric name", "Unknown resources",
		"Archive policy ", "Metric ",
		"Aggregation method does not exist"}
	of := func(text string) int {
		return slices.IndexFunc(known, func(k string) bool { return strings.Contains(text, k) })
	}
	return of(ours) >= 0 && of(theirs) >= 0
}

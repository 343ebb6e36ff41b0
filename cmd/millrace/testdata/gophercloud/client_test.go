//go:build acceptance

// Package gophercloud has what gophercloud's own acceptance tests leave out: what the
// answers say. Like those, it finds the server in the catalogue of a Keystone.
package gophercloud

import (
	"fmt"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/pagination"
	"github.com/gophercloud/utils/acceptance/clients"
	"github.com/gophercloud/utils/gnocchi/metric/v1/archivepolicies"
	"github.com/gophercloud/utils/gnocchi/metric/v1/measures"
	"github.com/gophercloud/utils/gnocchi/metric/v1/metrics"
	"github.com/gophercloud/utils/gnocchi/metric/v1/resources"
	"github.com/gophercloud/utils/gnocchi/metric/v1/resourcetypes"
	"github.com/gophercloud/utils/gnocchi/metric/v1/status"
)

func must[T any](t *testing.T, value T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: %s, want %s", what, g, w)
	}
}

// setUp makes an archive policy, a resource type and a resource with a metric.
func setUp(t *testing.T, client *gophercloud.ServiceClient) *resources.Resource {
	t.Helper()
	points := 3600
	policy, err := archivepolicies.Create(client, archivepolicies.CreateOpts{
		Name: "gopher", AggregationMethods: []string{"mean", "max"},
		Definition: []archivepolicies.ArchivePolicyDefinitionOpts{{Granularity: "1s", Points: &points, TimeSpan: "1h"},
			{Granularity: "1h", TimeSpan: "30 days"}},
	}).Extract()
	must(t, policy, err)
	equal(t, "the policy", policy.Definition, "[{0:00:01 3600 1:00:00} {1:00:00 720 30 days, 0:00:00}]")

	kind, err := resourcetypes.Create(client, resourcetypes.CreateOpts{Name: "gopher",
		Attributes: map[string]resourcetypes.AttributeOpts{
			"host": {Type: "string", Details: map[string]any{"max_length": 64, "required": true}},
		}}).Extract()
	must(t, kind, err)
	kind, err = resourcetypes.Update(client, "gopher",
		resourcetypes.UpdateOpts{Attributes: []resourcetypes.AttributeUpdateOpts{{
			Name: "cores", Operation: resourcetypes.AttributeAdd,
			Value: &resourcetypes.AttributeOpts{Type: "number", Details: map[string]any{"min": 1, "required": false}},
		}}}).Extract()
	must(t, kind, err)
	equal(t, "the type", fmt.Sprint(kind.Attributes["host"].Type, " ", kind.Attributes["cores"].Type, " ", kind.State),
		"string number active")

	started := time.Date(2024, 5, 5, 5, 5, 5, 123456000, time.UTC)
	resource, err := resources.Create(client, "gopher", resources.CreateOpts{
		ID: "burrow", StartedAt: &started, ExtraAttributes: map[string]any{"host": "h1"},
		Metrics: map[string]any{"cpu": map[string]string{"archive_policy_name": "gopher"}},
	}).Extract()
	must(t, resource, err)
	resource, err = resources.Update(client, "gopher", resource.ID,
		resources.UpdateOpts{ExtraAttributes: map[string]any{"cores": 8}}).Extract()
	must(t, resource, err)
	equal(t, "the resource", fmt.Sprint(resource.OriginalResourceID, " ", resource.ExtraAttributes, " ",
		resource.StartedAt.Equal(started), resource.EndedAt.IsZero()),
		"burrow map[cores:8 host:h1] true true")
	return resource
}

// list returns the measures of a metric as "minute:second granularity value".
func list(t *testing.T, client *gophercloud.ServiceClient, id string, options measures.ListOpts) (rows []string) {
	t.Helper()
	pages, err := measures.List(client, id, options).AllPages()
	must(t, pages, err)
	found, err := measures.ExtractMeasures(pages)
	must(t, found, err)
	for _, m := range found {
		rows = append(rows, fmt.Sprint(m.Timestamp.UTC().Format("04:05"), " ", m.Granularity, " ", m.Value))
	}
	return rows
}

func TestAnswers(t *testing.T) {
	client, err := clients.NewGnocchiV1Client()
	must(t, client, err)
	resource := setUp(t, client)
	id := resource.Metrics["cpu"]
	at := time.Date(2024, 5, 5, 5, 5, 5, 500000000, time.UTC)
	later := at.Add(time.Second)
	if err := measures.Create(client, id, measures.CreateOpts{Measures: []measures.MeasureOpts{{Timestamp: &at,
		Value: 1.5}, {Timestamp: &later, Value: 2.5}}}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	equal(t, "measures", list(t, client, id, measures.ListOpts{Refresh: true}), "[00:00 3600 2 05:05 1 1.5 05:06 1 2.5]")
	end := later.Add(time.Second)
	equal(t, "measures of a span", list(t, client, id, measures.ListOpts{Refresh: true, Start: &later, Stop: &end,
		Aggregation: "max", Granularity: "1s"}), "[05:06 1 2.5]")
	equal(t, "measures resampled", list(t, client, id, measures.ListOpts{Resample: "1m", Granularity: "1s"}),
		"[05:00 60 2]")

	if err := measures.BatchCreateResourcesMetrics(client, measures.BatchCreateResourcesMetricsOpts{CreateMetrics: true,
		BatchResourcesMetrics: []measures.BatchResourcesMetricsOpts{{
			ResourceID: "burrow", ResourcesMetrics: []measures.ResourcesMetricsOpts{{
				MetricName: "mem", ArchivePolicyName: "gopher", Unit: "B",
				Measures: []measures.MeasureOpts{{Timestamp: &at, Value: 4096}},
			}},
		}}}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	resource, err = resources.Get(client, "generic", "burrow").Extract()
	must(t, resource, err)
	metric, err := metrics.Get(client, resource.Metrics["mem"]).Extract()
	must(t, metric, err)
	equal(t, "the metric", fmt.Sprint(metric.Name, " ", metric.Unit, " ", metric.ArchivePolicy.Name, " ",
		metric.Resource.OriginalResourceID), "mem B gopher burrow")
	equal(t, "its measures", list(t, client, metric.ID, measures.ListOpts{Refresh: true}),
		"[00:00 3600 4096 05:05 1 4096]")

	_, err = metrics.Create(client, metrics.CreateOpts{ResourceID: resource.ID, Name: "cpu"}).Extract()
	if _, ok := err.(gophercloud.ErrDefault400); !ok {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err = metrics.Get(client, "00000000-0000-0000-0000-000000000000").Extract(); err == nil {
		t.Error("a metric that isn't there is found")
	} else if _, ok := err.(gophercloud.ErrDefault404); !ok {
		t.Errorf("a metric that isn't there: %v", err)
	}

	s, err := status.Get(client, status.GetOpts{}).Extract()
	must(t, s, err)
	equal(t, "measures to process", s.Storage.Summary.Measures, 0)
}

// Lists are read page by page, by markers.
func TestPages(t *testing.T) {
	client, err := clients.NewGnocchiV1Client()
	must(t, client, err)
	want := make(map[string]bool)
	for range 7 {
		metric, err := metrics.Create(client, metrics.CreateOpts{ArchivePolicyName: "low"}).Extract()
		must(t, metric, err)
		want[metric.ID] = true
	}
	pages := 0
	err = metrics.List(client, metrics.ListOpts{Limit: 3}).EachPage(func(page pagination.Page) (bool, error) {
		found, err := metrics.ExtractMetrics(page)
		pages++
		if len(found) > 3 {
			t.Errorf("a page of %d", len(found))
		}
		for _, m := range found {
			delete(want, m.ID)
		}
		return true, err
	})
	if err != nil || len(want) > 0 || pages < 3 {
		t.Errorf("%d pages, and %d metrics are not on them: %v", pages, len(want), err)
	}
}

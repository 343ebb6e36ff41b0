package intake

import (
	"context"

	"millrace/ingest"
)

// A Key is what a metric is known by.
type Key struct {
	Resource [16]byte
	Name     string
}

// A Metric is what is known about the metric of a Key.
type Metric struct {
	ID      ingest.MetricID
	Policy  string
	Creator string
	Found   bool // false: there is no such metric
}

// A ResourceInfo is what is known about a resource.
type ResourceInfo struct {
	Type, Creator, Project string
	Found                  bool // false: there is no such resource
}

// A NewMetric is a metric that is to be created.
type NewMetric struct {
	ID           ingest.MetricID
	Key          Key
	Policy, Unit string // no unit: ""
	Creator      string
}

// Created counts what was created for a batch.
type Created struct{ Resources, Metrics int }

// An Index knows resources and metrics. Its methods may be called concurrently. An
// error that doesn't blame the batch says that it can't be told now.
type Index interface {
	// FindMetrics fills in metrics, which is as long as keys. Keys may repeat. What has
	// been found before comes from memory: this is called for every request.
	FindMetrics(ctx context.Context, keys []Key, metrics []Metric) error

	// FindResources fills in resources, which is as long as ids.
	FindResources(ctx context.Context, ids [][16]byte, resources []ResourceInfo) error

	// Policy returns the archive policy for a new metric: wanted if it exists, or where
	// that is empty the one of the first rule that matches the name. Its errors blame
	// the batch: no such policy, no rule that matches.
	Policy(ctx context.Context, name, wanted string) (policy string, err error)

	// Create creates the resources and metrics that don't exist, all of them or, with an
	// error, none. Where a metric's key has a metric by now, because somebody else was
	// faster, that one stays and its ID, Policy and Creator are put into metrics. A
	// resource that exists by now stays too, if it is of the same type; else the error
	// is a ConflictError. Nothing is kept of what is passed.
	Create(ctx context.Context, creator string, resources []Resource, metrics []NewMetric) (Created, error)
}

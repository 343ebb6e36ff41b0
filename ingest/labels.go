package ingest

import "context"

// Labels are what dashboards that read a back-end directly may want to know of a
// metric beside its id: as it was when the metric was created. They never change, so
// a driver may cache them for good, and make them a part of a series' identity.
type Labels struct {
	Name         string // "": it has none
	Resource     string // as its client called it; "": it has none
	ResourceType string // ""
	Known        bool   // false: there is no such metric any more, and nothing is to be written of it
}

// A Labeler tells labels to a driver that wants them.
type Labeler interface {
	// Labels returns the labels of every metric, in their order. Those of a deleted
	// metric are known until the back-end can't be given anything more of it. An
	// error says that they can't be told now.
	Labels(ctx context.Context, metrics []MetricID) ([]Labels, error)
}

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

// A Description is what a metric and its resource are called now. It may change.
type Description struct {
	Name         string               // "": it has none
	Resource     string               // as its client called it; "": it has none
	ResourceType string               // ""
	Project      string               // of the resource, or else of the metric's creator
	User         string               // the same
	Attributes   []DescribedAttribute // all that the resource's type has, in its order
	Known        bool                 // false: there is no such metric any more
}

// A DescribedAttribute is an attribute of a resource as a text, times in RFC 3339.
type DescribedAttribute struct{ Name, Text string }

// A Describer is a Labeler that knows what things are called now, too. A driver asks it
// anew from time to time.
type Describer interface {
	Labeler
	// Describe returns the description of every metric, in their order. A deleted metric
	// isn't known from the moment on in which nobody sees it any more.
	Describe(ctx context.Context, metrics []MetricID) ([]Description, error)
}

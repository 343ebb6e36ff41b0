package intake

import (
	"errors"
	"fmt"
)

// ErrForbidden says that the caller may not do what the batch asks for.
var ErrForbidden = errors.New("Access was denied") //lint:ignore ST1005 a reason that clients read

// An UnknownMetricsError says that metrics don't exist and are not to be created.
type UnknownMetricsError struct{ Metrics []int } // indexes in Batch.Series, one of each metric

func (e *UnknownMetricsError) Error() string {
	return fmt.Sprintf("%d metrics do not exist", len(e.Metrics))
}

// A NoRuleError says that no archive policy rule matches the name of a metric that is
// to be created, and nobody has named an archive policy.
type NoRuleError struct{ Name string }

func (e *NoRuleError) Error() string {
	return "No archive policy name specified and no archive policy rule found matching the metric name " + e.Name
}

// A missingError is why a series of a lenient batch is left out.
type missingError struct{ reason string }

func (e *missingError) Error() string { return e.reason }

// An UnknownResourcesError says that resources of metrics that are to be created
// don't exist.
type UnknownResourcesError struct{ Resources []Resource } // distinct, in the order of the batch

func (e *UnknownResourcesError) Error() string {
	return fmt.Sprintf("%d resources do not exist", len(e.Resources))
}

// A NameError says that a metric can't have the name that it was given.
type NameError struct {
	Series int // index in Batch.Series
	Name   string
	Reason string
}

func (e *NameError) Error() string { return e.Reason }

// A ConflictError says that a resource exists and is of another type.
type ConflictError struct{ Resource Resource }

func (e *ConflictError) Error() string {
	return "Resource " + e.Resource.Original + " is of another type"
}

// An UnfinishedError says that a batch was let in, and then something went wrong:
// Created has been created, and Err says what became of the measures. Unless it is
// ErrForbidden, of a metric that somebody else was faster to create, they may be in
// the log or not.
type UnfinishedError struct {
	Created Created
	Err     error
}

func (e *UnfinishedError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *UnfinishedError) Unwrap() error { return e.Err }

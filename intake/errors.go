package intake

import (
	"errors"
	"fmt"
)

// ErrForbidden says that the caller may not do what the batch asks for.
var ErrForbidden = errors.New("Access was denied") //lint:ignore ST1005 a reason that clients read

// An UnknownMetricsError says that metrics don't exist and are not to be created.
type UnknownMetricsError struct{ Keys []Key }

func (e *UnknownMetricsError) Error() string {
	if len(e.Keys) == 1 {
		return "Metric " + e.Keys[0].Name + " does not exist"
	}
	return fmt.Sprintf("%d metrics do not exist", len(e.Keys))
}

// An UnknownResourcesError says that resources of metrics that are to be created
// don't exist.
type UnknownResourcesError struct{ Resources []Resource } // distinct, in the order of the batch

func (e *UnknownResourcesError) Error() string {
	if len(e.Resources) == 1 {
		return "Resource " + e.Resources[0].Original + " does not exist"
	}
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

// A CreatedError says that resources and metrics were created for a batch whose
// measures are not known to be in the log.
type CreatedError struct {
	Created Created
	Err     error
}

func (e *CreatedError) Error() string { return e.Err.Error() }

// Unwrap returns what became of the measures.
func (e *CreatedError) Unwrap() error { return e.Err }

package api

import (
	"millrace/ingest"
	"millrace/intake"
)

// resource checks a resource id.
func (q *request) resource(into **ingest.MetricID) check {
	return func(v any) error {
		text, ok := v.(string)
		if !ok {
			return wrong("expected str")
		}
		id, err := resourceID(text, q.who.Creator)
		if err != nil {
			return wrong(err.Error())
		}
		*into = &id
		return nil
	}
}

// resourceID maps a resource id to a UUID: see intake.ResourceID.
func resourceID(text, creator string) (ingest.MetricID, error) {
	return intake.ResourceID(text, creator)
}

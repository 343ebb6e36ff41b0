package api

import (
	"net/http"

	"millrace/ingest"
)

func (q *request) getCapabilities() error {
	all := ingest.AllMethods()
	return q.json(http.StatusOK, map[string]any{"aggregation_methods": all.Names()})
}

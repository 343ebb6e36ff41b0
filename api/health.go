package api

import (
	"fmt"
	"net/http"
	"time"

	"millrace/api/gnocchi"
)

// getHealth says that the process answers, and nothing else.
func (q *request) getHealth() error {
	switch mediaType := errorType(q.r.Header); mediaType {
	case typeJSON, typeProblem:
		return q.json(http.StatusOK, map[string]any{"detailed": false, "reasons": []any{}})
	case typeHTML:
		return q.bytes(http.StatusOK, typeHTML+"; charset=UTF-8",
			[]byte("<html>\n <head><title>Healthcheck Status</title></head>\n <body>OK</body>\n</html>"))
	default:
		return q.bytes(http.StatusOK, typeText+"; charset=UTF-8", nil)
	}
}

func (q *request) headHealth() error { return q.empty(http.StatusNoContent) }

// getReady says whether work gets done: 503 with the reasons when a sack has been
// standing still for longer than Config.ReadyGrace or has never been opened, or when the oldest record not yet applied
// is older than Config.ReadyLag.
// Why it stands still is for GET /v1/status to tell, which asks for credentials.
func (q *request) getReady() error {
	reasons := []any{}
	for _, lag := range q.progress.Lag(q.ctx) {
		switch {
		case lag.Err != nil && (!lag.Known || lag.Standing > q.config.ReadyGrace):
			reasons = append(reasons, fmt.Sprintf("sack %d has been standing still for %s", lag.Sack,
				lag.Standing.Round(time.Second)))
		case lag.Age > q.config.ReadyLag:
			reasons = append(reasons, fmt.Sprintf("sack %d is %s behind, and the limit is %s", lag.Sack,
				lag.Age.Round(time.Second), q.config.ReadyLag))
		}
	}
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	return q.bytes(status, typeJSON, gnocchi.Marshal(map[string]any{"ready": len(reasons) == 0, "reasons": reasons}))
}

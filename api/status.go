package api

import (
	"net/http"
	"time"

	"millrace/ingest"
)

// getStatus answers GET /v1/status. Below storage and metricd stands what Gnocchi
// has there, as far as a log can tell: it counts records, each of which has
// measures of at least one metric, so the numbers of the summary are lower
// bounds. The other keys are ours.
func (q *request) getStatus() error {
	details, err := flag(q.r.URL.Query(), "details", true)
	if err != nil {
		return err
	}
	counts, err := q.index.Counts(q.ctx)
	if err != nil {
		return err
	}
	lags := q.progress.Lag(q.ctx)
	total := sumLags(lags)
	behind := 0
	for _, lag := range lags {
		if lag.Records > 0 {
			behind++
		}
	}
	storage := map[string]any{"summary": map[string]any{"metrics": behind, "measures": total.Records}}
	progress := map[string]any{"lag": newLagDoc(total)}
	log, processes, owners, err := q.surroundings()
	if err != nil {
		return err
	}
	if details {
		storage["measures_to_process"] = map[string]any{}
		sacks := make([]sackDoc, len(lags))
		for i, lag := range lags {
			sacks[i] = sackDoc{lag.Sack, lag.Watermark, owners[lag.Sack], newLagDoc(lag)}
		}
		progress["sacks"] = sacks
	}
	doc := map[string]any{
		"storage": storage,
		"metricd": map[string]any{"processors": nil, "statistics": map[string]any{}},
		"index": map[string]any{"archive_policies": counts.Policies, "archive_policy_rules": counts.Rules,
			"metrics": counts.Metrics, "deleted_metrics": counts.Deleted},
		"ingest":       progress,
		"dead_letters": q.letters.Count(),
		"processes":    processes,
		"log":          log,
	}
	if found, ok := q.driver.(ingest.DamageLister); ok && details {
		doc["damages"] = newDamageDocs(found.Damages())
	}
	return q.json(http.StatusOK, doc)
}

// A damageDoc is something stored that this process could not read.
type damageDoc struct {
	Object string    `json:"object"`
	Error  string    `json:"error"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

func newDamageDocs(list []ingest.Damage) []damageDoc {
	docs := make([]damageDoc, 0, len(list))
	for _, d := range list {
		docs = append(docs, damageDoc{d.Name, d.Err.Error(), d.First.UTC(), d.Last.UTC()})
	}
	return docs
}

// sumLags adds sacks up: their records, and the greatest age.
func sumLags(lags []ingest.SackLag) ingest.SackLag {
	var sum ingest.SackLag
	for _, lag := range lags {
		sum.Records += lag.Records
		sum.Bytes += lag.Bytes
		sum.Age = max(sum.Age, lag.Age)
		if sum.Err == nil {
			sum.Err = lag.Err
		}
	}
	return sum
}

// A lagDoc says how far something is behind.
type lagDoc struct {
	Records int64   `json:"records"` // in the log and not yet applied
	Bytes   int64   `json:"bytes"`
	Age     float64 `json:"age"`             // of the oldest of them, in seconds
	Error   string  `json:"error,omitempty"` // why a sack stands still
}

func newLagDoc(lag ingest.SackLag) lagDoc {
	doc := lagDoc{Records: lag.Records, Bytes: lag.Bytes, Age: seconds(lag.Age)}
	if lag.Err != nil {
		doc.Error = lag.Err.Error()
	}
	return doc
}

// A sackDoc is the progress of one sack.
type sackDoc struct {
	Sack    ingest.Sack   `json:"sack"`
	Applied ingest.Offset `json:"applied"`
	Owner   string        `json:"owner,omitempty"` // the process that it is given to
	Lag     lagDoc        `json:"lag"`
}

// seconds rounds to the millisecond.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

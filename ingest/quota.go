package ingest

import (
	"fmt"
	"sync"
	"time"
)

// quotas holds each project to a rate of measures: a token bucket of ten
// seconds' worth per project.
type quotas struct {
	mu       sync.Mutex
	projects map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

const (
	quotaBurst    = 10      // seconds
	quotaProjects = 100_000 // buckets kept; full ones are forgotten beyond
)

func (q *quotas) take(project string, measures int, c AcceptConfig, now time.Time) error {
	if c.ProjectQuota <= 0 {
		return nil
	}
	burst := c.ProjectQuota * quotaBurst
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.projects[project]
	if b == nil {
		q.forget(burst, c.ProjectQuota, now)
		b = &bucket{tokens: burst, at: now}
		q.projects[project] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*c.ProjectQuota)
	b.at = now
	// A batch larger than the burst is let in when the bucket is full, and paid off after.
	if need := min(float64(measures), burst); b.tokens < need {
		wait := time.Duration((need - b.tokens) / c.ProjectQuota * float64(time.Second))
		return &RefusedError{
			Reason:     fmt.Sprintf("quota of %g measures per second is used up", c.ProjectQuota),
			RetryAfter: max(time.Second, wait), Quota: true,
		}
	}
	b.tokens -= float64(measures)
	return nil
}

// give puts back what was taken for a batch that came to nothing.
func (q *quotas) give(project string, measures int, c AcceptConfig) {
	if c.ProjectQuota <= 0 || measures == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.projects[project]; b != nil { // one that was forgotten is full
		b.tokens = min(c.ProjectQuota*quotaBurst, b.tokens+float64(measures))
	}
}

// forget drops the buckets that have filled up again, when there are too many.
func (q *quotas) forget(burst, rate float64, now time.Time) {
	if q.projects == nil {
		q.projects = make(map[string]*bucket)
	}
	if len(q.projects) < quotaProjects {
		return
	}
	for name, b := range q.projects {
		if b.tokens+now.Sub(b.at).Seconds()*rate >= burst {
			delete(q.projects, name)
		}
	}
}

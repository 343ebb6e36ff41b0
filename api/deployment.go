package api

import (
	"context"
	"fmt"
	"slices"

	"millrace/index"
	"millrace/ingest"
)

// A Deployment is what a process shares with others.
type Deployment interface {
	// Processes lists the processes, the oldest first.
	Processes(ctx context.Context) ([]index.Process, error)
	// Owners tells, for each sack, the id of the process whose worker it is given to;
	// "" where there is none.
	Owners(ctx context.Context) ([]string, error)
	// Log describes the log that this process writes to.
	Log() LogReport
}

// untold is a deployment that nothing is said of.
type untold struct{ sacks int }

func (untold) Processes(context.Context) ([]index.Process, error) { return nil, nil }
func (u untold) Owners(context.Context) ([]string, error)         { return make([]string, u.sacks), nil }
func (untold) Log() LogReport                                     { return LogReport{} }

// A LogReport says what a log is like. What an embedded one doesn't have is zero.
type LogReport struct {
	ID          ingest.LogID
	Partitions  int
	Replication int               // of the partition that has the fewest
	Settings    map[string]string // that matter to what was acknowledged
	Risks       []string          // what may lose it
}

// A processDoc describes a process of the deployment.
type processDoc struct {
	ID      string        `json:"id"`
	Host    string        `json:"host"`
	Roles   []string      `json:"roles"` // api, worker
	Version string        `json:"version"`
	Formats []string      `json:"formats"`
	Log     string        `json:"log"`
	Since   float64       `json:"since"` // seconds since it started
	Beat    float64       `json:"beat"`  // seconds since its heart has last beaten
	Alive   bool          `json:"alive"`
	Sacks   []ingest.Sack `json:"sacks"` // given to its worker
}

// A logDoc describes the log.
type logDoc struct {
	ID          string            `json:"id"`
	Base        ingest.Offset     `json:"base"`
	Partitions  int               `json:"partitions,omitempty"`
	Replication int               `json:"replication,omitempty"`
	Settings    map[string]string `json:"settings,omitempty"`
	Risks       []string          `json:"risks,omitempty"`
	Error       string            `json:"error,omitempty"` // why it can't be said who owns what
}

func newLogDoc(r LogReport) logDoc {
	return logDoc{ID: r.ID.ID, Base: r.ID.Base, Partitions: r.Partitions, Replication: r.Replication,
		Settings: r.Settings, Risks: r.Risks}
}

// surroundings describes the log and the processes, and says who owns which sack. A log
// that can't say so is no reason to say nothing.
func (q *request) surroundings() (log logDoc, processes []processDoc, owners []string, err error) {
	log = newLogDoc(q.deployment.Log())
	ctx, cancel := context.WithTimeout(q.ctx, q.config.Timeout/2)
	defer cancel()
	owners, err = q.deployment.Owners(ctx)
	if err != nil {
		log.Error, owners = err.Error(), make([]string, q.sacks)
	}
	known, err := q.deployment.Processes(q.ctx)
	if err != nil {
		return log, nil, nil, err
	}
	processes = make([]processDoc, 0, len(known))
	for i := range known {
		p := &known[i]
		doc := processDoc{
			ID: p.ID, Host: p.Host, Roles: p.Roles, Version: p.Version, Formats: p.Formats, Log: p.Log.ID,
			Since: seconds(p.Since), Beat: seconds(p.Beat), Alive: p.Alive(), Sacks: []ingest.Sack{},
		}
		for s, owner := range owners {
			if owner == p.ID {
				doc.Sacks = append(doc.Sacks, ingest.Sack(s))
			}
		}
		processes = append(processes, doc)
	}
	return log, processes, owners, nil
}

// isLost says whether some of what a ticket stands for was in a log that the deployment
// has left before all of it was applied. Offsets of one log lie between its base and that
// of the next.
func (q *request) isLost(t ingest.Ticket) (bool, error) {
	current := q.deployment.Log().ID
	old := slices.ContainsFunc(t.Position, func(end ingest.Offset) bool { return end > 0 && end <= current.Base })
	if !old {
		return false, nil
	}
	logs, err := q.index.Logs(q.ctx)
	if err != nil {
		return false, fmt.Errorf("cannot tell what became of an earlier log: %w", err)
	}
	slices.SortFunc(logs, func(a, b index.Log) int { return int(min(max(a.ID.Base-b.ID.Base, -1), 1)) })
	for s, end := range t.Position {
		if end == 0 {
			continue
		}
		of := -1
		for i := range logs {
			if logs[i].ID.Base < end {
				of = i
			}
		}
		if of >= 0 && logs[of].ID != current && (s >= len(logs[of].Applied) || logs[of].Applied[s] < end) {
			return true, nil
		}
	}
	return false, nil
}

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"millrace/api"
	"millrace/index"
	"millrace/queue"
)

// newProcessID is a name for this life of the process: its host, for those who read it,
// and what makes it the only one.
func newProcessID() string {
	host, _ := os.Hostname()
	return host + "-" + strings.ToLower(rand.Text()[:10])
}

// process is how this one is known to the others.
func (p *parts) process(r roles) index.Process {
	host, _ := os.Hostname()
	return index.Process{
		ID: p.id, Host: host, Roles: strings.Split(r.String(), ","), Version: versionString(),
		Formats: []string{fmt.Sprintf("record-%d", queue.Version)}, Log: p.log.Log(),
	}
}

// started is when this process began, for those that are alone.
var started = time.Now()

// surroundings tells the API of the processes around it, and of the log between them: an
// api.Deployment.
type surroundings struct {
	parts *parts
	self  index.Process
}

var _ api.Deployment = (*surroundings)(nil)

// Processes are those that the index knows; where no other can be, this one.
func (s *surroundings) Processes(ctx context.Context) ([]index.Process, error) {
	if s.parts.hints != nil {
		return s.parts.index.Processes(ctx)
	}
	self := s.self
	self.Since = time.Since(started)
	return []index.Process{self}, nil
}

// Owners are the workers that sacks belong to.
func (s *surroundings) Owners(ctx context.Context) ([]string, error) {
	if s.parts.kafka != nil {
		return s.parts.kafka.Owners(ctx)
	}
	owners := make([]string, len(s.parts.progress.Watermarks()))
	for i := range owners {
		if strings.Contains(strings.Join(s.self.Roles, ","), "worker") {
			owners[i] = s.self.ID
		}
	}
	return owners, nil
}

// Log is the log that is written to, and what was found of its topic at the start.
func (s *surroundings) Log() api.LogReport {
	report := api.LogReport{ID: s.parts.log.Log()}
	if s.parts.kafka != nil {
		topic := s.parts.kafka.Topic()
		report.Partitions, report.Replication = topic.Partitions, topic.Replication
		report.Settings, report.Risks = topic.Settings, topic.Risks
	}
	return report
}

package drivertest

import (
	"context"
	"sync"
	"time"

	"millrace/ingest"
)

// policies are the archive policies of a trial; they can be replaced and can fail.
type policies struct {
	mu     sync.Mutex
	byName map[string]*ingest.ArchivePolicy
	broken error
}

func newPolicies(list []ingest.ArchivePolicy) *policies {
	p := &policies{byName: make(map[string]*ingest.ArchivePolicy)}
	for _, policy := range list {
		p.replace(policy)
	}
	return p
}

// Policy finds a policy as it is now.
func (p *policies) Policy(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return nil, p.broken
	}
	policy := p.byName[name]
	if policy == nil {
		return nil, ingest.ErrNoPolicy
	}
	return policy, ctx.Err()
}

// of returns a policy that exists.
func (p *policies) of(name string) *ingest.ArchivePolicy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byName[name]
}

func (p *policies) exists(name string) bool { return p.of(name) != nil }

// replace sets a policy, as the API does: others keep the value they have.
func (p *policies) replace(policy ingest.ArchivePolicy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byName[policy.Name] = &policy
}

// fail makes every look-up fail; nil ends that.
func (p *policies) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = err
}

// endless gives every policy a back window without end: nothing is ever late.
type endless struct{ *policies }

func (e endless) Policy(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	policy, err := e.policies.Policy(ctx, name)
	if err != nil {
		return nil, err
	}
	wide := *policy
	wide.BackWindow = 1 << 62
	return &wide, nil
}

// keep is a definition that keeps points buckets of g; for ever when points is 0.
func keep(g time.Duration, points int64) ingest.Definition {
	return ingest.Definition{Granularity: g, Points: points, Timespan: g * time.Duration(points)}
}

// policy builds an archive policy.
func policy(name string, backWindow int, methods ingest.MethodSet,
	definitions ...ingest.Definition) ingest.ArchivePolicy {
	return ingest.ArchivePolicy{Name: name, BackWindow: backWindow, Methods: methods, Definitions: definitions}
}

package influxdb

import (
	"context"
	"sync"
)

// A gate lets calls through once a check has been passed. Until then every call checks
// again, one at a time, and fails with what the check says.
type gate struct {
	check  func(context.Context) error
	turn   chan struct{} // holds one token while nobody checks
	passed chan struct{} // closed when the check has been passed
	once   sync.Once
}

func newGate(check func(context.Context) error) *gate {
	g := &gate{check: check, turn: make(chan struct{}, 1), passed: make(chan struct{})}
	g.turn <- struct{}{}
	return g
}

func (g *gate) pass(ctx context.Context) error {
	select {
	case <-g.passed:
		return nil
	default:
	}
	select {
	case <-g.passed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.turn:
	}
	defer func() { g.turn <- struct{}{} }()
	select {
	case <-g.passed: // meanwhile
		return nil
	default:
	}
	err := g.check(ctx)
	if err == nil {
		g.once.Do(func() { close(g.passed) })
	}
	return err
}

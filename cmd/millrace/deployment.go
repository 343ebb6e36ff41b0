package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"millrace/index"
)

// A deployment has three parts that know each other: the index, the log and the
// storage. One that was lost, emptied or replaced looks like the part of a new
// deployment, and to go on with it would lose the others' data. So a start compares
// them, and refuses what doesn't fit.

// joinDeployment founds the deployment when all its parts are new, and else checks
// that the index belongs to the log, and to as many sacks. Where the settings choose
// another log, the deployment goes on with that, once all of the old one has been applied.
func (p *parts) joinDeployment(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	if err := p.joinLog(ctx, c, log, t); err != nil || p.kafka == nil {
		return err
	}
	logs, err := p.index.Logs(ctx)
	if err != nil {
		return err
	}
	for i := range logs {
		if logs[i].ID == p.kafka.Log() {
			p.kafka.BeginAt(logs[i].Applied)
		}
	}
	applied, err := p.watermarks(ctx, c.Sacks)
	if err != nil { // a start without the storage accepts all the same
		log.Warn("cannot compare the log with what has been applied", "err", err)
		return nil
	}
	p.kafka.Expect(applied)
	return nil
}

func (p *parts) joinLog(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	err := p.checkDeployment(ctx, c)
	e, ok := errors.AsType[*index.LogError](err)
	switch {
	case !ok:
		return err
	case e.Current.ID == e.Given.ID && c.Queue.isShared():
		return p.followFirst(ctx, c, log, t)
	case kindOf(e.Current.ID) != kindOf(e.Given.ID) || c.Queue.isShared():
		err := p.switchLog(ctx, c, e.Current, e.Given, log, t)
		if err == nil || !c.Queue.isShared() {
			return err
		}
		if now, failed := p.index.CurrentLog(ctx); failed == nil && now.ID == e.Given.ID {
			return p.followFirst(ctx, c, log, t)
		}
		return err
	}
	return fmt.Errorf("the index %s belongs to the log %s (base %d), and the log here is %s (base %d): the log of "+
		"this deployment was lost "+
		"or replaced, or index.url names the index of another; restore the one that is wrong, or have the index take this "+
		"log with \"millrace index adopt\": what the other log still held is then given up",
		indexName(c), e.Current.ID, e.Current.Base, e.Given.ID, e.Given.Base)
}

// followFirst opens the log again, which another process was the first to open, with a
// base of its own.
func (p *parts) followFirst(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	if err := p.openQueue(ctx, c, log, t); err != nil {
		return err
	}
	return p.checkDeployment(ctx, c)
}

// kindOf is what a log is kept by: disklog, kafka.
func kindOf(id string) string {
	kind, _, _ := strings.Cut(id, ":")
	return kind
}

func (p *parts) checkDeployment(ctx context.Context, c *config) error {
	id, log := p.log.Log(), p.log
	_, err := p.index.Deployment(ctx)
	if errors.Is(err, index.ErrNoDeployment) {
		held, err := p.held(ctx, c)
		if err != nil {
			return err
		}
		if held != "" {
			return isNew(c, held)
		}
	} else if err != nil {
		return err
	}
	if _, err := p.index.FoundDeployment(ctx, c.Sacks); err != nil {
		return err
	}
	if _, err := p.index.CurrentLog(ctx); errors.Is(err, index.ErrNoLog) {
		// Its first process has stopped before it opened the log: nothing was accepted.
		held, err := holds(ctx, log)
		if err != nil {
			return err
		}
		if held {
			return fmt.Errorf("the index %s knows no log, but the log %s holds records: "+
				"they are of different deployments, or one is an old copy; restore the one that is wrong, or have the index "+
				"take the log with \"millrace index adopt\"", indexName(c), id.ID)
		}
	}
	return p.index.OpenLog(ctx, id)
}

// held names what of the log and the storage holds anything; "" when both are new.
func (p *parts) held(ctx context.Context, c *config) (string, error) {
	held, err := holds(ctx, p.log)
	if err != nil {
		return "", err
	}
	if held {
		return "the log", nil
	}
	at, err := p.watermarks(ctx, c.Sacks)
	if err != nil {
		return "", err
	}
	for _, offset := range at {
		if offset > 0 {
			return "the storage", nil
		}
	}
	return "", nil
}

// holds says whether any record was ever written to a log.
func holds(ctx context.Context, log queueLog) (bool, error) {
	end, err := log.End(ctx)
	if err != nil {
		return false, fmt.Errorf("cannot tell whether the log holds anything: %w", err)
	}
	base := log.Log().Base
	for _, offset := range end {
		if offset > base {
			return true, nil
		}
	}
	return false, nil
}

// indexName is the index's URL, without secrets.
func indexName(c *config) string { return index.Redacted(c.Index.URL) }

// isNew says that the index is new, and what else is not: a part of this deployment, or of
// another one, to which adopting would do harm.
func isNew(c *config, held string) error {
	return fmt.Errorf("the index %s is new, but %s holds data: either the index of this deployment was lost or emptied, "+
		"or index.url names another; restore it, or give it up with \"millrace index adopt\": all metrics are then "+
		"unknown. Or the data are of another deployment, which must not be adopted: give this one a bucket, prefix, topic or "+
		"directory of its own", indexName(c), held)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/index"
	"millrace/queue/disklog"
)

// A membership is what index, log and storage have to agree on.
type membership struct {
	deployment string // its id, which all of them carry
	log        string // what its present log is kept by: disklog, kafka; none: it has had none
	topic      string // of that log, where it is on Kafka
}

// mustHave says whether the deployment has had a log of that kind, so that one which is
// new has taken the place of one that was lost.
func (i membership) mustHave(kind string) bool { return i.log == kind }

// inUse says whether the deployment has been up: then no part of it may be new.
func (i membership) inUse() bool { return i.log != "" }

// identify finds out which deployment this is: the index says. One that is new founds a
// deployment, if nothing else is there of one. With adopt the index takes part in what
// is there, and what is not there may be made.
func (p *parts) identify(ctx context.Context, c *config, storage func(context.Context) (string, error),
	adopt bool) error {
	log, err := logOf(c)
	if err != nil {
		return err
	}
	if adopt {
		return p.adopt(ctx, c, log, storage)
	}
	d, err := p.index.Deployment(ctx)
	if errors.Is(err, index.ErrNoDeployment) {
		held, heldErr := holdsData(ctx, log, storage)
		if heldErr != nil {
			return heldErr
		}
		if held != "" {
			return isNew(c, held)
		}
		d, err = p.index.FoundDeployment(ctx, c.Sacks)
	}
	if err != nil {
		return err
	}
	p.membership = membership{deployment: d.ID}
	current, err := p.index.CurrentLog(ctx)
	switch {
	case errors.Is(err, index.ErrNoLog):
		return nil // it has never been up
	case err != nil:
		return err
	}
	p.membership.log = kindOf(current.ID)
	p.membership.topic, _ = topicOf(current.ID)
	return nil
}

// adopt has the index take part in the deployment that log and storage are of.
func (p *parts) adopt(ctx context.Context, c *config, log disklog.State,
	storage func(context.Context) (string, error)) error {
	stored, err := deploymentOf(ctx, storage)
	if err != nil {
		return err
	}
	id := stored
	switch {
	case id == "":
		id = log.Deployment
	case log.Deployment != "" && log.Deployment != id:
		return fmt.Errorf("the log is of deployment %s, and the storage of deployment %s: put the one that is foreign "+
			"elsewhere first", log.Deployment, id)
	}
	if id == "" {
		d, err := p.index.FoundDeployment(ctx, c.Sacks)
		if err != nil {
			return err
		}
		id = d.ID
	}
	d, err := p.index.AdoptDeployment(ctx, id, c.Sacks)
	p.membership = membership{deployment: d.ID}
	return err
}

// logOf returns the state of the embedded log; the zero State where there is none, or
// where the settings choose another.
func logOf(c *config) (disklog.State, error) {
	if c.Queue.Driver != "disklog" {
		return disklog.State{}, nil
	}
	s, err := disklog.Look(disk.OS{}, filepath.Join(c.DataDir, "log"))
	if errors.Is(err, fs.ErrNotExist) {
		return disklog.State{}, nil
	}
	return s, err
}

// deploymentOf asks a storage which deployment it is of; "" where it is new, or can't be
// asked yet.
func deploymentOf(ctx context.Context, storage func(context.Context) (string, error)) (string, error) {
	if storage == nil {
		return "", nil
	}
	return storage(ctx)
}

// layoutOf returns the deployment that a store's layout names; "" where there is none.
func layoutOf(ctx context.Context, store carbonara.Store) (string, error) {
	l, err := carbonara.ReadLayout(ctx, store)
	if errors.Is(err, carbonara.ErrNotFound) {
		return "", nil
	}
	return l.Deployment, err
}

// holdsData names what holds anything of a deployment; "" when nothing does.
func holdsData(ctx context.Context, log disklog.State, storage func(context.Context) (string, error)) (string, error) {
	if log.Used {
		return "the log", nil
	}
	deployment, err := deploymentOf(ctx, storage)
	if err != nil {
		return "", fmt.Errorf("cannot tell whether the storage holds anything: %w", err)
	}
	if deployment != "" {
		return "the storage", nil
	}
	return "", nil
}

// lost says what to do about a storage that isn't the one that the deployment has had.
func (i membership) lost(err error) error {
	if !i.inUse() {
		return err
	}
	return fmt.Errorf("index and storage are not of one deployment, or the storage was lost: %w (restore the one that "+
		"is wrong; if only "+
		"the storage's layout.json is lost, \"millrace check --repair\" makes it again; \"millrace index adopt\" goes on "+
		"with what is there)", err)
}

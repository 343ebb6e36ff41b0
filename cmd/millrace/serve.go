package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"millrace/api/auth"
	"millrace/ingest"
)

// newServe is the command that runs the server.
func newServe(source *configSource) *cobra.Command {
	var names []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Serve runs everything in one process: HTTP API, log, worker and storage. SIGTERM or SIGINT stops it: requests
that are being answered are answered, and what they brought is applied. A second signal ends it at once, which
loses nothing that was acknowledged either. SIGHUP changes nothing: settings are read at a start.

Settings and their defaults:

` + settingsHelp(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, strange, err := source.load()
			if err != nil {
				return err
			}
			r, err := parseRoles(names)
			if err != nil {
				return err
			}
			log, err := newLogger(c.Log, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer ignoreHangup(log)()
			for _, name := range strange {
				log.Warn("ignoring an environment variable that is no setting", "name", name)
			}
			return serve(cmd.Context(), &c, r, log)
		},
	}
	cmd.Flags().StringSliceVar(&names, "roles", []string{"api", "worker"},
		"what this process does: api (accept and answer), worker (apply)")
	return cmd
}

// roles is what a process does. An embedded log belongs to one process at a time, but
// that process may do one half only: accept while the storage is worked on, or
// apply what is left and accept nothing.
type roles struct{ api, worker bool }

func parseRoles(names []string) (roles, error) {
	var r roles
	for _, name := range names {
		switch name {
		case "api":
			r.api = true
		case "worker":
			r.worker = true
		default:
			return r, fmt.Errorf("there is no role %q: api and worker are", name)
		}
	}
	if !r.api && !r.worker {
		return r, errors.New("--roles must name api, worker or both")
	}
	return r, nil
}

func (r roles) String() string {
	var names []string
	if r.api {
		names = append(names, "api")
	}
	if r.worker {
		names = append(names, "worker")
	}
	return strings.Join(names, ",")
}

// How long a stop may take: until requests have been answered, until the worker has
// caught up with the log (what it does not get done, the next start does), and until
// telemetry has been sent. Together with what the worker itself needs to stop they
// stay below the 30 s that orchestrators give.
const (
	answerTimeout    = 10 * time.Second
	catchUpTimeout   = 5 * time.Second
	telemetryTimeout = 3 * time.Second
)

// ignoreHangup has SIGHUP, which tells daemons to read their settings again, leave a
// server alive, until stop is called.
func ignoreHangup(log *slog.Logger) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-hangups:
				log.Info("SIGHUP changes nothing: settings are read at a start")
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		close(done)
		watching.Wait()
	}
}

// serve runs until ctx ends, be it during the start. Parts stop in the reverse order of
// their start: first nothing new is accepted, then the worker applies what is left, then
// all is closed.
func serve(ctx context.Context, c *config, r roles, log *slog.Logger) (err error) {
	began := time.Now()
	secure, err := c.API.tls()
	if err != nil {
		return err
	}
	t, err := newTelemetry(ctx, c.Telemetry, log)
	if err != nil {
		return err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), telemetryTimeout)
		defer cancel()
		if err := t.stop(late); err != nil {
			log.Warn("cannot send the last of the telemetry", "err", err)
		}
	}()
	p, err := build(ctx, c, r, log, t)
	if ctx.Err() != nil && err != nil { // whatever was being opened says so in its own words
		log.Debug("what was being opened ends with", "err", err)
		log.Info("stopped during the start")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	listener, err := net.Listen("tcp", c.API.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on api.listen: %w", err)
	}
	if c.Telemetry.Guarded && t.metrics != nil {
		t.metrics = p.api.Guard(auth.GetStatus, t.metrics)
	}
	if err := p.listenBeside(&c.Telemetry, t, secure, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := httpServer(p.handler(r, c.API.Prefix, t), secure, log)
	log.Info("millrace is up", "listen", listener.Addr().String(), "tls", secure != nil, "prefix", c.API.Prefix, "roles",
		r.String(),
		"data_dir", c.DataDir, "sacks", c.Sacks, "version", versionString(), "took",
		time.Since(began).Round(time.Millisecond))
	if !r.worker {
		log.Warn("no worker in this process: what is accepted waits in the log")
	}
	return p.run(ctx, r, server, listener, log)
}

// run has the parts work until ctx ends or the listener fails, and stops them.
func (p *parts) run(ctx context.Context, r roles, server *http.Server, listener net.Listener, log *slog.Logger) error {
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	group, running := errgroup.WithContext(ctx)
	if p.reserve != nil {
		if _, err := p.reserve.Fill(); err != nil { // before a flush takes what the start had
			log.Warn("cannot keep a reserve on the disk for when it is full", "err", err)
		}
		group.Go(func() error { p.keepReserve(running, log); return nil })
	}
	if r.worker {
		group.Go(func() error { return p.worker.Run(working) })
	}
	if follower := p.follower(r, log); follower != nil {
		group.Go(func() error { follower.Run(running); return nil })
	}
	if p.hints != nil { // others are there, or may come
		group.Go(func() error { p.index.Attend(running, p.process(r)); return nil })
	}
	if r.api {
		group.Go(func() error { p.resendDeletes(running, log); return nil })
	}
	group.Go(func() error { return listen(server, listener) })
	for _, side := range p.beside {
		group.Go(func() error { return listen(side.server, side.listener) })
		group.Go(func() error {
			<-running.Done()
			return shutdown(context.WithoutCancel(ctx), side.server)
		})
	}
	group.Go(func() error {
		<-running.Done()
		log.Info("stopping: no new requests")
		err := shutdown(context.WithoutCancel(ctx), server)
		if r.worker {
			log.Info("stopping: applying what is left")
			p.catchUp(working, log)
		}
		stopWorking()
		return err
	})
	err := group.Wait()
	log.Info("stopped")
	return err
}

// follower follows the sacks of other processes; nil when there can be none.
func (p *parts) follower(r roles, log *slog.Logger) *ingest.Follower {
	driver, ok := p.driver.(ingest.Watermarker)
	switch {
	case !ok || r.worker && p.hints == nil:
		return nil
	case p.hints == nil: // the worker's part of an embedded log comes later: nobody hears a nudge
		return ingest.NewFollower(p.progress, driver, nil, nil, ingest.FollowConfig{}, log)
	}
	return ingest.NewFollower(p.progress, driver, p.hints, p.log, ingest.FollowConfig{}, log)
}

// resendInterval is how often the deletions of metrics are looked for that the log
// could not take at the time.
const resendInterval = time.Minute

// minRetain is how long a deleted metric is remembered at least: by then no process
// still sends a delete record of it.
const minRetain = 15 * time.Minute

// resendDeletes sends them until ctx ends, beginning at once, and lets the index
// forget those that have been applied.
func (p *parts) resendDeletes(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(resendInterval)
	defer ticker.Stop()
	for {
		if err := p.api.ResendDeletes(ctx); err != nil && ctx.Err() == nil {
			log.Warn("cannot pass on deletions of metrics; trying again", "err", err, "pause", resendInterval)
		}
		if _, err := p.index.PurgeTold(ctx, p.progress.Watermarks(), time.Now().Add(-p.retain)); err != nil &&
			ctx.Err() == nil {
			log.Warn("cannot forget deleted metrics; trying again", "err", err, "pause", resendInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// catchUp waits for the worker to apply the rest of the log.
func (p *parts) catchUp(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	end, err := p.log.End(ctx)
	if err == nil {
		err = p.progress.Wait(ctx, end)
	}
	if err != nil {
		log.Info("not all has been applied; the next start goes on with it", "err", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"millrace/api"
)

// newServe is the command that runs the server.
func newServe(source *configSource) *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long:  "Serve runs everything in one process: HTTP API, log, worker and storage.\n\nSettings and their defaults:\n\n" + settingsHelp(),
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, strange, err := source.load()
			if err != nil {
				return err
			}
			r, err := parseRoles(roles)
			if err != nil {
				return err
			}
			log, err := newLogger(c.Log, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, name := range strange {
				log.Warn("ignoring an environment variable that is no setting", "name", name)
			}
			return serve(cmd.Context(), &c, r, log)
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", []string{"api", "worker"}, "what this process does: api (accept and answer), worker (apply)")
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

// stopTimeout bounds how long requests that are being answered may hold up a stop.
const stopTimeout = 10 * time.Second

// serve runs until ctx ends. Parts stop in the reverse order of their start: first
// nothing new is accepted, then the worker flushes what it holds, then all is closed.
func serve(ctx context.Context, c *config, r roles, log *slog.Logger) (err error) {
	began := time.Now()
	t, err := newTelemetry(ctx, c.Telemetry)
	if err != nil {
		return err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, t.stop(late))
	}()
	p, err := build(ctx, c, log, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	listener, err := net.Listen("tcp", c.API.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	server := &http.Server{
		Handler:           p.handler(r, t),
		ReadHeaderTimeout: api.ReadHeaderTimeout, ReadTimeout: api.ReadTimeout,
		WriteTimeout: api.WriteTimeout, IdleTimeout: api.IdleTimeout,
		MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("millrace is up", "listen", listener.Addr().String(), "prefix", c.API.Prefix, "data_dir", c.DataDir,
		"roles", fmt.Sprintf("%+v", r), "sacks", c.Sacks, "version", versionString(), "took", time.Since(began).Round(time.Millisecond))

	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	group, running := errgroup.WithContext(ctx)
	if r.worker {
		group.Go(func() error { return p.worker.Run(working) })
	} else {
		log.Warn("no worker in this process: what is accepted waits in the log")
	}
	group.Go(func() error { return serveHTTP(server, listener, c) })
	group.Go(func() error {
		if !r.api {
			return nil
		}
		if err := p.api.ResendDeletes(running); err != nil && running.Err() == nil {
			log.Error("cannot send deletions of metrics again; the next start will", "err", err)
		}
		return nil
	})
	group.Go(func() error {
		<-running.Done()
		log.Info("stopping: no new requests")
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := server.Shutdown(late)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		log.Info("stopping: applying what is left")
		stopWorking()
		return err
	})
	err = group.Wait()
	log.Info("stopped")
	return err
}

func serveHTTP(server *http.Server, listener net.Listener, c *config) error {
	var err error
	if c.API.TLSCert != "" {
		err = server.ServeTLS(listener, c.API.TLSCert, c.API.TLSKey)
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
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
			if err := checkRoles(roles); err != nil {
				return err
			}
			log, err := newLogger(c.Log, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, name := range strange {
				log.Warn("ignoring an environment variable that is no setting", "name", name)
			}
			return serve(cmd.Context(), &c, log)
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", []string{"api", "worker"}, "what this process does: api, worker; an embedded log needs both in one process")
	return cmd
}

func checkRoles(roles []string) error {
	for _, r := range roles {
		if r != "api" && r != "worker" {
			return fmt.Errorf("there is no role %q: api and worker are", r)
		}
	}
	if !slices.Contains(roles, "api") || !slices.Contains(roles, "worker") {
		return fmt.Errorf("--roles %s: the log disklog is embedded, so that one process has to have both roles", strings.Join(roles, ","))
	}
	return nil
}

// stopTimeout bounds how long requests that are being answered may hold up a stop.
const stopTimeout = 10 * time.Second

// serve runs until ctx ends. Parts stop in the reverse order of their start: first
// nothing new is accepted, then the worker flushes what it holds, then all is closed.
func serve(ctx context.Context, c *config, log *slog.Logger) (err error) {
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
		Handler:           p.handler,
		ReadHeaderTimeout: api.ReadHeaderTimeout, ReadTimeout: api.ReadTimeout,
		WriteTimeout: api.WriteTimeout, IdleTimeout: api.IdleTimeout,
		MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("millrace is up", "listen", listener.Addr().String(), "prefix", c.API.Prefix, "data_dir", c.DataDir,
		"sacks", c.Sacks, "version", versionString(), "took", time.Since(began).Round(time.Millisecond))

	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return p.worker.Run(working) })
	group.Go(func() error { return serveHTTP(server, listener, c) })
	group.Go(func() error {
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

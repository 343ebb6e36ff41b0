package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// A sideServer answers on a listener of its own, beside the API.
type sideServer struct {
	server   *http.Server
	listener net.Listener
}

// listenBeside opens the listeners that telemetry has for itself.
func (p *parts) listenBeside(c *telemetryConfig, t *telemetry, secure *tls.Config, log *slog.Logger) error {
	open := func(setting, address string, server *http.Server) error {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w", setting, errors.Join(err, p.closeBeside()))
		}
		p.beside = append(p.beside, sideServer{server, listener})
		log.Info("listening beside the API", "setting", setting, "listen", listener.Addr().String())
		return nil
	}
	if c.Listen != "" && t.metrics != nil {
		t.apart = true
		if err := open("telemetry.metrics_listen", c.Listen, httpServer(onlyMetrics(t), secure, log)); err != nil {
			return err
		}
	}
	if c.Pprof != "" {
		server := httpServer(profiles(), secure, log)
		server.WriteTimeout = profileTime
		return open("telemetry.pprof", c.Pprof, server)
	}
	return nil
}

func (p *parts) closeBeside() error {
	var errs []error
	for _, side := range p.beside {
		errs = append(errs, side.listener.Close())
	}
	return errors.Join(errs...)
}

// profileTime is how long a profile or a trace may be taken.
const profileTime = 10 * time.Minute

// profiles answers as net/http/pprof does, whose own registration is with a handler that
// all of a program shares.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

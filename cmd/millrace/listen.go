package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"millrace/api"
)

// listen answers requests until the server is shut down.
func listen(server *http.Server, listener net.Listener) error {
	var err error
	if server.TLSConfig != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// httpServer returns a server with the bounds that keep slow clients off.
func httpServer(handler http.Handler, secure *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, TLSConfig: secure,
		ReadHeaderTimeout: api.ReadHeaderTimeout, ReadTimeout: api.ReadTimeout,
		WriteTimeout: api.WriteTimeout, IdleTimeout: api.IdleTimeout,
		MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// onlyMetrics answers on telemetry.metrics_listen.
func onlyMetrics(t *telemetry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" || r.Method != http.MethodGet {
			http.Error(w, "there is nothing but GET /metrics here", http.StatusNotFound)
			return
		}
		t.metrics.ServeHTTP(w, r)
	})
}

// tls returns how HTTPS is served; nil when it isn't.
func (c *apiConfig) tls() (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("cannot load api.tls_cert and api.tls_key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// handler answers requests: the API, if this process has that role, and /metrics
// beside it, outside of its prefix. A worker says how it is all the same. (Not a
// ServeMux: that would clean the API's paths.)
func (p *parts) handler(r roles, prefix string, t *telemetry) http.Handler {
	prefix = strings.TrimRight("/"+strings.Trim(prefix, "/"), "/")
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		path := req.URL.Path
		switch {
		case t.metrics != nil && !t.apart && path == "/metrics" && req.Method == http.MethodGet:
			t.metrics.ServeHTTP(w, req)
		case r.api || path == prefix+"/healthcheck" || path == prefix+"/readyz":
			p.api.ServeHTTP(w, req)
		default:
			http.Error(w, "this process has no role api", http.StatusNotFound)
		}
	})
}

// shutdown lets requests be answered, and cuts off those that take too long.
func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return err
}

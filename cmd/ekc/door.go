package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// door answers health and readiness on the hub's address while there is no database to serve from, and is handed over afterwards.
type door struct {
	listener net.Listener // plain
	tls      *ServerTLS
	waiting  *pausing
	server   *http.Server
	served   chan struct{}

	mu  sync.Mutex
	why error
}

func newDoor(listener net.Listener, c *Config) (*door, error) {
	d := &door{listener: listener, tls: c.HTTP.TLS, served: make(chan struct{})}
	mux := http.NewServeMux()
	answer := func(status int, body func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(body())
		}
	}
	digest, _ := c.digest()
	mux.HandleFunc("GET /healthz", answer(http.StatusOK, func() any {
		return map[string]string{"status": "ok", "version": version().Version, "config_digest": digest}
	}))
	mux.HandleFunc("/", answer(http.StatusServiceUnavailable, func() any {
		return map[string]any{"status": "not_ready", "checks": []any{map[string]any{"name": "database", "ok": false, "reason": d.reason()}}}
	}))
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	d.waiting = &pausing{Listener: d.listener}
	serve, err := d.wrap(d.waiting)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	go func() { defer close(d.served); _ = d.server.Serve(serve) }()
	return d, nil
}

func (d *door) waits(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = err
}

func (d *door) reason() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why == nil {
		return "starting"
	}
	return "waiting for the database"
}

// wrap puts TLS over the listener, if it is configured.
func (d *door) wrap(listener net.Listener) (net.Listener, error) {
	if d.tls == nil {
		return listener, nil
	}
	pair, err := tls.LoadX509KeyPair(d.tls.Cert, d.tls.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the HTTP door: %w", err)
	}
	return tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}), nil
}

// handOver ends the waiting server and returns the listener for the real one.
func (d *door) handOver() (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = d.server.Shutdown(ctx)
	<-d.served
	if err := d.waiting.resume(); err != nil {
		return nil, err
	}
	return d.wrap(d.listener)
}

func (d *door) close() {
	_ = d.server.Close()
	_ = d.listener.Close()
}

// pausing is a listener whose Close only interrupts Accept.
type pausing struct{ net.Listener }

type deadliner interface{ SetDeadline(time.Time) error }

func (p *pausing) Close() error {
	if l, ok := p.Listener.(deadliner); ok {
		return l.SetDeadline(time.Now())
	}
	return errors.New("this listener cannot be handed over")
}

func (p *pausing) resume() error {
	if l, ok := p.Listener.(deadliner); ok {
		return l.SetDeadline(time.Time{})
	}
	return nil
}

package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// check is one thing readiness depends on.
type check struct {
	name string
	ask  func(context.Context) error
}

// checkTimeout is how long one check may take before it counts as failed.
const checkTimeout = 2 * time.Second

// Check adds what readiness depends on. ask returns nil when it is well; its error is shown as the reason, so it holds no
// secret and no personal data.
func (s *Server) Check(name string, ask func(context.Context) error) {
	s.checksMu.Lock()
	defer s.checksMu.Unlock()
	s.checks = append(s.checks, check{name, ask})
}

// Remark is what a check returns that is well and has something to say: a fault the process works on with.
type Remark string

func (r Remark) Error() string { return string(r) }

// health says that the process lives and what it runs.
type health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
	Config  string `json:"config_digest"`
}

// readiness says whether the process can work, and if not, why.
type readiness struct {
	Status string       `json:"status"` // ready | not_ready | draining
	Checks []checkState `json:"checks"`
}

type checkState struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

func (s *Server) registerHealth(registry *prometheus.Registry) {
	s.plain("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, health{Status: "ok", Version: s.config.Version, Config: s.config.ConfigDigest})
	})
	s.plain("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state := s.ready(r.Context())
		status := http.StatusOK
		if state.Status != "ready" {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, state)
	})
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	s.plain("GET /metrics", handler.ServeHTTP)
}

// ready asks all checks at once.
func (s *Server) ready(ctx context.Context) readiness {
	s.checksMu.Lock()
	checks := s.checks
	s.checksMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	state := readiness{Status: "ready", Checks: make([]checkState, len(checks))}
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			state.Checks[i] = checkState{Name: c.name, OK: true}
			if err := c.ask(ctx); err != nil {
				_, well := errors.AsType[Remark](err)
				state.Checks[i] = checkState{Name: c.name, OK: well, Reason: err.Error()}
			}
		})
	}
	wg.Wait()
	for _, c := range state.Checks {
		if !c.OK {
			state.Status = "not_ready"
		}
	}
	select {
	case <-stopping(ctx):
		state.Status = "draining"
	default:
	}
	return state
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

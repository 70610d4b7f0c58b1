// Package measure is what the benches share: a private server with durable commits, and what processes have used of the machine.
package measure

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
)

// Server is a private PostgreSQL.
type Server struct {
	*postgres.Server
	Admin   *pgx.Conn // of the database "postgres"
	Version string    // "PostgreSQL 17.2"
	Dir     string    // for whatever else the bench keeps
	made    bool      // Dir is ours to remove
}

// Start starts a server in a folder, in a temporary one when dir is empty. The caller closes it.
func Start(ctx context.Context, dir string) (_ *Server, err error) {
	s := &Server{Dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "ekc-bench-"); err != nil {
			return nil, err
		}
		s.made = true
		if err = os.Chmod(s.Dir, 0o755); err != nil { // the server may run as another user
			return nil, err
		}
	}
	if s.Server, err = postgres.Start(ctx, postgres.Local{Dir: filepath.Join(s.Dir, "pg"), SharedBuffers: 1024}); err != nil {
		return nil, err
	}
	if s.Admin, err = pgx.Connect(ctx, s.Database("postgres")); err != nil {
		return nil, err
	}
	return s, s.Admin.QueryRow(ctx, `SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)`).Scan(&s.Version)
}

// Close stops the server, and removes the folder that Start made.
func (s *Server) Close() (err error) {
	if s.Admin != nil {
		_ = s.Admin.Close(context.Background())
	}
	if s.Server != nil {
		err = s.Stop()
	}
	if s.made {
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}
	return err
}

// Database is the URL of a database of the server, with further session settings: names, each with its value behind it.
func (s *Server) Database(name string, settings ...string) string {
	u, err := url.Parse(s.URL())
	if err != nil {
		panic(err) // the server made it
	}
	u.Path = "/" + name
	q := u.Query()
	for i := 0; i < len(settings); i += 2 {
		q.Set(settings[i], settings[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// CPU is what the server has used in seconds: itself with its children that have ended, and those there are.
func (s *Server) CPU() float64 {
	pid := s.PID()
	all := ticks(pid, 11, 12, 13, 14)
	for _, child := range childrenOf(pid) {
		all += CPU(child)
	}
	return all
}

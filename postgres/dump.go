package postgres

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Dump writes the database into a new file by pg_dump: one snapshot, whoever is at work meanwhile.
func (s *Server) Dump(ctx context.Context, file string) error {
	return s.program(ctx, "pg_dump", "--format=custom", "--file="+file, s.url(localDatabase))
}

// Restore puts what Dump wrote in the place of the database, by pg_restore; who is connected to it is thrown out.
func (s *Server) Restore(ctx context.Context, file string) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{`DROP DATABASE ` + localDatabase + ` WITH (FORCE)`, `CREATE DATABASE ` + localDatabase} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return s.program(ctx, "pg_restore", "--exit-on-error", "--dbname="+s.url(localDatabase), file)
}

// program runs one of PostgreSQL's own programs, as this process's user.
func (s *Server) program(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin.dir, name), args...)
	cmd.Env, cmd.SysProcAttr = s.bin.env(), &syscall.SysProcAttr{}
	if out, err := run(cmd); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastLines(out, 3))
	}
	return nil
}

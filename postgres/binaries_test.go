package postgres

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutBinariesTheErrorSaysWhatToDo(t *testing.T) {
	t.Chdir(t.TempDir()) // outside the module, whose .tools may have some
	t.Setenv("PGBIN", "")
	t.Setenv("EKC_NO_SYSTEM_POSTGRES", "1")
	if _, err := Start(t.Context(), Local{Dir: t.TempDir()}); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("nothing is installed: %v", err)
	}
	t.Setenv("PGBIN", "/nonexistent")
	if _, err := findBinaries(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "PGBIN: /nonexistent does not hold initdb") {
		t.Errorf("PGBIN is wrong: %v", err)
	}
	dir := t.TempDir()
	fake(t, dir, "postgres (PostgreSQL) 14.9")
	t.Setenv("PGBIN", dir)
	if _, err := findBinaries(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "at least 15") {
		t.Errorf("PGBIN is too old: %v", err)
	}
}

func TestBinariesUnpackedIntoToolsAreFoundNewestFirst(t *testing.T) {
	module := t.TempDir()
	usr := filepath.Join(module, ".tools/postgres/usr")
	for version, says := range map[string]string{"9": "9.6.1", "15": "15.18 (Debian)", "17": "17.5"} {
		fake(t, filepath.Join(usr, "lib/postgresql", version, "bin"), "postgres (PostgreSQL) "+says)
	}
	libraries := filepath.Join(usr, "lib/x86_64-linux-gnu")
	inside := filepath.Join(module, "a/b")
	for _, dir := range []string{libraries, inside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inside)
	t.Setenv("PGBIN", "")
	t.Setenv("EKC_NO_SYSTEM_POSTGRES", "1")
	for want, major := range map[int]int{17: 0, 15: 15} {
		b, err := findBinaries(t.Context(), major)
		if err != nil || b.major != want {
			t.Errorf("asked for %d: got %d (%v), want %d", major, b.major, err, want)
		}
		if b.libPath != libraries {
			t.Errorf("libraries are looked for in %q, want %q", b.libPath, libraries)
		}
	}
	if _, err := findBinaries(t.Context(), 16); err == nil || !strings.Contains(err.Error(), "made by PostgreSQL 16") {
		t.Errorf("data of 16: %v", err)
	}
}

func TestScriptPrintsAFolderStartCanUse(t *testing.T) {
	t.Parallel()
	out, _, err := script(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inspectBinaries(t.Context(), strings.TrimSuffix(out, "\n")); err != nil {
		t.Error(err)
	}
}

func TestScriptSaysWhatToDo(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"wrong PGBIN":                  {[]string{"PGBIN=" + empty}, "Set it right, or unset it"},
		"nothing there, nothing to be": {[]string{"PGBIN=", "EKC_NO_SYSTEM_POSTGRES=1", "PATH=" + pathWithoutApt(t)}, "apt-get install postgresql"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, said, err := script(t, c.env...)
			if err == nil || out != "" || !strings.Contains(said, c.want) {
				t.Errorf("printed %q, said %q (%v), want a failure with %q", out, said, err, c.want)
			}
		})
	}
}

// script runs a copy, so that the .tools it finds or makes is not the module's.
func script(t *testing.T, env ...string) (out, said string, err error) {
	t.Helper()
	text, err := os.ReadFile("../scripts/postgres.sh")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "scripts/postgres.sh")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// A tree with nothing of its own has what this module has: a folder it can be told of.
	if len(env) == 0 {
		b, err := findBinaries(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		env = []string{"PGBIN=" + b.dir}
	}
	cmd := exec.Command("/bin/bash", path)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// pathWithoutApt is a PATH with what the script itself needs.
func pathWithoutApt(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"dirname", "sort", "id", "sed", "head", "readlink"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fake makes a folder that looks like an installation and says its version.
func fake(t *testing.T, dir, version string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+version+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNoBinaries says that there is no PostgreSQL on this machine that Start could run.
var ErrNoBinaries = errors.New("no usable PostgreSQL on this machine: run scripts/postgres.sh, or install the package " +
	"`postgresql` (15 or newer), or set PGBIN to the folder that holds initdb and postgres")

// binaries is one installation: the folder with initdb and postgres, its major version, and where its libraries are
// when they are not the system's.
type binaries struct {
	dir     string
	major   int
	libPath string
}

var versionOutput = regexp.MustCompile(`\(PostgreSQL\) ([0-9]+)`)

// findBinaries looks at PGBIN and nowhere else when it is set; else in .tools/postgres beside the executable or the module's
// root, in Debian's folders newest first, and on PATH. EKC_NO_SYSTEM_POSTGRES leaves the last two out. With major above zero
// only that version will do, because a data folder is bound to the version that made it.
func findBinaries(ctx context.Context, major int) (binaries, error) {
	if dir := os.Getenv("PGBIN"); dir != "" {
		b, err := inspectBinaries(ctx, dir)
		if err != nil {
			return binaries{}, fmt.Errorf("PGBIN: %w", err)
		}
		if major > 0 && b.major != major {
			return binaries{}, fmt.Errorf("PGBIN: %s is PostgreSQL %d, the data folder was made by %d", dir, b.major, major)
		}
		return b, nil
	}
	var found []int
	for _, dir := range candidateDirs() {
		b, err := inspectBinaries(ctx, dir)
		if err != nil {
			continue
		}
		if major == 0 || b.major == major {
			return b, nil
		}
		found = append(found, b.major)
	}
	if len(found) > 0 {
		return binaries{}, fmt.Errorf("the data folder was made by PostgreSQL %d, this machine has %d: remove the folder to begin "+
			"anew, or set PGBIN to the folder with the programs of version %d", major, found[0], major)
	}
	return binaries{}, ErrNoBinaries
}

func candidateDirs() []string {
	var dirs []string
	for _, root := range toolRoots() {
		dirs = append(dirs, newestFirst(filepath.Join(root, ".tools/postgres/usr/lib/postgresql/*/bin"))...)
	}
	if os.Getenv("EKC_NO_SYSTEM_POSTGRES") != "" {
		return dirs
	}
	dirs = append(dirs, newestFirst("/usr/lib/postgresql/*/bin")...)
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

// toolRoots are the folders beside which .tools may be: of the executable, above it, and of the module a test runs in.
func toolRoots() []string {
	var roots []string
	if exe, err := os.Executable(); err == nil {
		roots = append(roots, filepath.Dir(exe), filepath.Dir(filepath.Dir(exe)))
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return append(roots, dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return roots
}

// newestFirst orders folders named …/15/bin by that number.
func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern) // fails on a bad pattern only
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

func inspectBinaries(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir, libPath: unpackedLibraries(dir)}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return b, fmt.Errorf("%s does not hold initdb: %w", dir, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Env = b.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return b, fmt.Errorf("run %s/postgres --version: %w: %s", dir, err, firstLine(string(out)))
	}
	m := versionOutput.FindSubmatch(out)
	if m == nil {
		return b, fmt.Errorf("%s/postgres does not say its version", dir)
	}
	if b.major, err = strconv.Atoi(string(m[1])); err != nil {
		return b, fmt.Errorf("%s/postgres: %w", dir, err)
	}
	if b.major < MinServerVersion {
		return b, fmt.Errorf("%s is PostgreSQL %d, at least %d is needed", dir, b.major, MinServerVersion)
	}
	return b, nil
}

// unpackedLibraries returns LD_LIBRARY_PATH for packages unpacked into a folder of their own (…/usr/lib/postgresql/15/bin
// with …/usr/lib/<machine>-linux-gnu beside it), or "" for an installation of the system's.
func unpackedLibraries(dir string) string {
	usr := filepath.Join(dir, "../../../..")
	if !filepath.IsAbs(usr) || usr == "/usr" || filepath.Base(usr) != "usr" {
		return ""
	}
	libs, _ := filepath.Glob(filepath.Join(usr, "lib/*-linux-gnu*"))
	return strings.Join(libs, ":")
}

// env is all the environment the programs get: what the caller has set for libpq (PGDATA, PGPORT…) must not reach them.
func (b binaries) env() []string {
	env := []string{"PATH=" + b.dir + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	if b.libPath != "" {
		env = append(env, "LD_LIBRARY_PATH="+b.libPath)
	}
	return env
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

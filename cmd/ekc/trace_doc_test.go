package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A test is named in docs/trace.md by its folder, a dot and the function; a row without a test names a target of the Makefile.
var (
	namedTest   = regexp.MustCompile("`([a-z][a-z/]*)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")
	namedTarget = regexp.MustCompile("`make ([a-z]+)`")
	traceRow    = regexp.MustCompile(`^\| ((?:R|X)-\d+(?:, (?:R|X)-\d+)*) \|`)
)

func TestTraceNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	there := testsByFolder(t)
	makefile := readFile(t, "Makefile")
	seen := make(map[string]int)
	for i, line := range strings.Split(readFile(t, "docs", "trace.md"), "\n") {
		no := i + 1
		tests := namedTest.FindAllStringSubmatch(line, -1)
		targets := namedTarget.FindAllStringSubmatch(line, -1)
		for _, m := range tests {
			if !slices.Contains(there[m[1]], m[2]) {
				t.Errorf("docs/trace.md:%d: there is no test %s.%s", no, m[1], m[2])
			}
		}
		for _, m := range targets {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("docs/trace.md:%d: the Makefile has no target %s", no, m[1])
			}
		}
		row := traceRow.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		if len(tests)+len(targets) == 0 {
			t.Errorf("docs/trace.md:%d: %s is shown by nothing", no, row[1])
		}
		for _, id := range strings.Split(row[1], ", ") {
			if before := seen[id]; before != 0 {
				t.Errorf("docs/trace.md:%d: %s stands in line %d too", no, id, before)
			}
			seen[id] = no
		}
	}
	if len(seen) == 0 {
		t.Error("docs/trace.md has no rows")
	}
}

// testsByFolder are the functions that `go test` finds, by folder.
func testsByFolder(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..")
	found := make(map[string][]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				found[filepath.ToSlash(dir)] = append(found[filepath.ToSlash(dir)], fn.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

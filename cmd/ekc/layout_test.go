package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors of the house (DESIGN 1): an import goes down. A folder that is not here has the floor of its parent.
var floors = map[string]int{
	"cmd/ekc": 6, "openapi": 5, "egisso": 5, "ingest": 4, "inbound": 4, "dispatch": 3, "catalog": 2, "citizen": 2,
	"journal": 1, "smpp": 1, "dialer": 1, "postgres": 0, "fixtures": 0,
}

// longTests are test files above the limit, each with the reason it is one thing.
var longTests = map[string]string{
	"cmd/ekc/leak_test.go": "one play of everything that happens to a citizen's data, in its order",
}

const longest = 600

func houseFolder(dir string) string {
	for dir != "." && dir != "" {
		if _, ok := floors[dir]; ok {
			return dir
		}
		dir = filepath.ToSlash(filepath.Dir(dir))
	}
	return ""
}

// mayImport is the rule: down, or a subfolder its parent; never sideways, never a parent its subfolder. The simulators below a wire
// may be used by whoever tests or demonstrates, which is said by inTest and by cmd/ekc being the top.
func mayImport(from, to string, inTest bool) bool {
	switch {
	case from == to, strings.HasPrefix(from, to+"/"):
		return true
	case strings.HasPrefix(to, from+"/"):
		return inTest
	}
	fromFolder, toFolder := houseFolder(from), houseFolder(to)
	if fromFolder == toFolder { // two subfolders of one folder
		return inTest
	}
	return floors[toFolder] < floors[fromFolder]
}

func TestMayImportIsTheRuleOfTheHouse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		inTest   bool
		want     bool
	}{
		{"dispatch", "catalog", false, true}, {"catalog", "dispatch", false, false}, {"ingest", "inbound", false, false},
		{"dispatch/sms", "dispatch", false, true}, {"dispatch", "dispatch/sms", false, false}, {"dispatch/sms", "dispatch/voice", false, false},
		{"dispatch/sms", "smpp", false, true}, {"smpp", "journal", false, false}, {"postgres", "postgres/postgrestest", true, true},
		{"openapi", "egisso", true, false}, {"cmd/ekc", "smpp/smpptest", false, true},
	} {
		if got := mayImport(c.from, c.to, c.inTest); got != c.want {
			t.Errorf("%s imports %s (test %v): %v", c.from, c.to, c.inTest, got)
		}
	}
}

func TestImportsPointDownAndEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	commented := make(map[string]bool)
	eachGoFile(t, root, func(path, rel string) {
		dir := filepath.ToSlash(filepath.Dir(rel))
		if houseFolder(dir) == "" {
			t.Errorf("%s: the folder is not in the house", rel)
			return
		}
		checkFile(t, path, rel, dir, commented)
	})
	for dir, ok := range commented {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

// eachGoFile visits the Go files of the house, with their places below root.
func eachGoFile(t *testing.T, root string, visit func(path, rel string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if entry.IsDir() {
			if name := entry.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(rel, ".go") {
			visit(path, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, path, rel, dir string, commented map[string]bool) {
	t.Helper()
	inTest := strings.HasSuffix(rel, "_test.go")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if lines := strings.Count(string(text), "\n"); lines > longest && longTests[rel] == "" {
		t.Errorf("%s has %d lines: is it two things?", rel, lines)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		t.Error(err)
		return
	}
	if !inTest {
		commented[dir] = commented[dir] || packageComment(file)
	}
	for _, spec := range file.Imports {
		target, _ := strconv.Unquote(spec.Path.Value)
		target, ours := strings.CutPrefix(target, "ekc/")
		switch {
		case !ours:
		case houseFolder(target) == "":
			t.Errorf("%s imports %s, which is not in the house", rel, target)
		case !mayImport(dir, target, inTest):
			t.Errorf("%s (floor %d) imports %s (floor %d)", rel, floors[houseFolder(dir)], target, floors[houseFolder(target)])
		}
	}
}

func packageComment(file *ast.File) bool {
	text := file.Doc.Text()
	return strings.HasPrefix(text, "Package "+file.Name.Name+" ") || file.Name.Name == "main" && strings.HasPrefix(text, "Command ")
}

package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// foreignTables are the statements that name a table of another folder, by file and table, each with its reason. SQL lives in the folder
// that owns the table (DESIGN 1); an owner is what the migrations call so.
var foreignTables = map[string]string{
	"dispatch/judge.go persons_index":   "one query counts contacts by phone: the index, and the attempts it leads to",
	"ingest/duplicate.go persons_index": "one query from digest to earlier row, a thousand digests at a time",
	"ingest/duplicate.go notifications": "the same query",
	"ingest/duplicate.go outcomes":      "the same query",
	"ingest/duplicate.go duplicates":    "the same query",
}

var (
	ownerLine  = regexp.MustCompile(`^-- Owner: (\w+)\.`)
	tableLine  = regexp.MustCompile(`^CREATE TABLE (\w+)`)
	tableNames = regexp.MustCompile(`\b(?:FROM|JOIN|INTO|UPDATE|ONLY|USING|TABLE|COPY|TRUNCATE|ANALYZE|VACUUM|LOCK)\s+(\w+(?:\s+(?:AS\s+)?[a-z]\w*)?(?:\s*,\s*\w+(?:\s+(?:AS\s+)?[a-z]\w*)?)*)`)
)

// tablesIn are the words of a statement that stand where a table does.
func tablesIn(sql string) (names []string) {
	for _, m := range tableNames.FindAllStringSubmatch(sql, -1) {
		for item := range strings.SplitSeq(m[1], ",") {
			names = append(names, strings.Fields(item)[0])
		}
	}
	return names
}

func TestTablesIn(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT a FROM lists l, runs AS r WHERE": "lists runs", "LEFT JOIN\n\toutcomes o ON": "outcomes", "INSERT INTO outbox (run)": "outbox",
		"UPDATE runs SET state = 'done'": "runs", "DELETE FROM outbox o USING unnest($1)": "outbox unnest", "COPY duplicates (id) FROM STDIN": "duplicates STDIN",
		"EXISTS (SELECT FROM journal WHERE first_id = $1)": "journal", "a notification of lists": "",
	} {
		if got := strings.Join(tablesIn(sql), " "); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

// tableOwners are the folders of the tables.
func tableOwners(t *testing.T, root string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "postgres", "migrations", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	owners := make(map[string]string)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		owner := ""
		for line := range bytes.Lines(text) {
			if m := ownerLine.FindSubmatch(line); m != nil {
				owner = string(m[1])
			}
			if m := tableLine.FindSubmatch(line); m != nil {
				if owners[string(m[1])] = owner; floors[owner] == 0 {
					t.Errorf("%s: table %s has no owner in the house, but %q", filepath.Base(path), m[1], owner)
				}
			}
		}
	}
	if len(owners) < 40 {
		t.Fatalf("%d tables found", len(owners))
	}
	return owners
}

func TestTablesAreNamedByTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	owners, met := tableOwners(t, root), make(map[string]bool)
	eachGoFile(t, root, func(path, rel string) {
		if strings.HasSuffix(rel, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Error(err)
			return
		}
		folder := houseFolder(filepath.ToSlash(filepath.Dir(rel)))
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, _ := strconv.Unquote(lit.Value)
			for _, table := range tablesIn(text) {
				if owner := owners[table]; owner != "" && owner != folder {
					if met[rel+" "+table] = true; foreignTables[rel+" "+table] == "" {
						t.Errorf("%s names %s, which is a table of %s: %q", rel, table, owner, text)
					}
				}
			}
			return true
		})
	})
	for place := range foreignTables {
		if !met[place] {
			t.Errorf("%s: not any more, take it off the list", place)
		}
	}
}

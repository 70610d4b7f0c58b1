package egisso

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestEveryCodeTypeAndLimitIsInTheContract(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "docs", "feed.md"))
	if err != nil {
		t.Fatal(err)
	}
	contract := string(b)
	codes := 0
	for _, name := range []string{"problem.go", "lint.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
				return true
			}
			code, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if codes++; !strings.Contains(contract, "`"+code+"`") {
				t.Errorf("%s is not in docs/feed.md", code)
			}
			return true
		})
	}
	if codes < 30 {
		t.Errorf("only %d codes", codes)
	}
	for _, name := range SchemaNames() {
		if name != "cloudevent" && !strings.Contains(contract, "`"+name+"`") {
			t.Errorf("%s is not in docs/feed.md", name)
		}
	}
	for _, name := range append(append(append([]string{}, partNames...), rowNames...), cancelNames...) {
		if !strings.Contains(contract, "`"+name+"`") && !strings.Contains(contract, `"`+name+`"`) {
			t.Errorf("field %s is not in docs/feed.md", name)
		}
	}
	for _, reason := range cancelReasons {
		if !strings.Contains(contract, "`"+reason+"`") {
			t.Errorf("reason %s is not in docs/feed.md", reason)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `{"Action":"run","Package":"ekc/a","Test":"TestGood"}
{"Action":"output","Package":"ekc/a","Test":"TestGood","Output":"    replaced: Kafka by kfake\n"}
{"Action":"pass","Package":"ekc/a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"ekc/a","Test":"TestLeft","Output":"    no tmpfs\n"}
{"Action":"skip","Package":"ekc/a","Test":"TestLeft","Elapsed":0}
{"Action":"pass","Package":"ekc/a","Elapsed":0.2}
`

func TestReport(t *testing.T) {
	t.Parallel()
	allowed := filepath.Join(t.TempDir(), "allowed")
	if err := os.WriteFile(allowed, []byte("# comment\nskipped ekc/a.TestLeft: needs root\nreplaced Kafka by kfake: no Java here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	both, err := readAllowed(allowed)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		events  string
		allowed []*allowance
		strict  bool
		ok      bool
		says    []string
	}{
		"all allowed":           {events, both, true, true, []string{"skipped ekc/a.TestLeft: needs root", "replaced Kafka by kfake: no Java here", "1 passed, 0 failed, 1 skipped"}},
		"one not allowed":       {events, both[:1], true, false, []string{"replaced Kafka by kfake: not in .ci/allowed"}},
		"not allowed, at home":  {events, nil, false, true, []string{"skipped ekc/a.TestLeft\n"}},
		"nothing was run":       {"", nil, false, false, nil},
		"a package did not run": {`{"Action":"fail","Package":"ekc/b","FailedBuild":"ekc/b"}` + "\n", nil, false, false, []string{"FAIL ekc/b", "0 passed, 1 failed"}},
		"a test failed": {`{"Action":"output","Package":"ekc/b","Test":"TestX","Output":"    wrong\n"}` + "\n" +
			`{"Action":"fail","Package":"ekc/b","Test":"TestX"}` + "\n", nil, false, false, []string{"FAIL ekc/b.TestX\n    wrong\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if ok := report(strings.NewReader(c.events), &out, c.allowed, c.strict); ok != c.ok {
				t.Errorf("ok = %v", ok)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q:\n%s", want, out.String())
				}
			}
		})
	}
}

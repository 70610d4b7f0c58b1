// Command report reads what `go test -json` writes, shows what failed, and names what was left out or replaced. It promises that
// nothing skipped or replaced goes unseen: with -strict it fails unless .ci/allowed has it with a reason.
//
// A test says that it uses something in place of the real thing by a line of output that begins with "replaced: ".
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

type event struct {
	Action, Package, Test, Output string
	ImportPath, FailedBuild       string
	Elapsed                       float64
}

type allowance struct {
	what, reason string
	used         bool
}

type summary struct {
	passed, failed, skipped int
	leftOut                 []string // "skipped ekc/postgres.TestName", "replaced Kafka by kfake"
	packages                int
	slowest                 []slow
}

type slow struct {
	name string
	took time.Duration
}

func main() {
	allowed := flag.String("allowed", ".ci/allowed", "`file` of what may be left out: lines of `what: reason`")
	strict := flag.Bool("strict", false, "fail when something is left out that the file does not have")
	flag.Parse()
	allowances, err := readAllowed(*allowed)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !report(os.Stdin, os.Stdout, allowances, *strict) {
		os.Exit(1)
	}
}

func readAllowed(path string) ([]*allowance, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what may be left out: %w", err)
	}
	var all []*allowance
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		what, reason, ok := strings.Cut(line, ": ")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s, line %d: expected `what: reason`", path, i+1)
		}
		all = append(all, &allowance{what: strings.TrimSpace(what), reason: strings.TrimSpace(reason)})
	}
	return all, nil
}

// report prints as it reads and says whether all is well.
func report(in io.Reader, out io.Writer, allowances []*allowance, strict bool) bool {
	s := read(in, out)
	ok := s.failed == 0 && s.packages > 0
	if len(s.slowest) > 0 {
		slices.SortFunc(s.slowest, func(a, b slow) int { return int(b.took - a.took) })
		fmt.Fprintln(out, "slowest:")
		for _, t := range s.slowest[:min(5, len(s.slowest))] {
			fmt.Fprintf(out, "  %6.1fs %s\n", t.took.Seconds(), t.name)
		}
	}
	if len(s.leftOut) == 0 {
		fmt.Fprintln(out, "nothing was skipped, nothing replaced")
	}
	for _, what := range s.leftOut {
		i := slices.IndexFunc(allowances, func(a *allowance) bool { return a.what == what })
		switch {
		case i >= 0:
			allowances[i].used = true
			fmt.Fprintf(out, "%s: %s\n", what, allowances[i].reason)
		case strict:
			ok = false
			fmt.Fprintf(out, "%s: not in .ci/allowed\n", what)
		default:
			fmt.Fprintln(out, what)
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return ok
}

func read(in io.Reader, out io.Writer) summary {
	var s summary
	output := make(map[string][]string) // of tests and packages under way
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // go's own complaints
			continue
		}
		s.take(e, output, out)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(out, "the output could not be read to its end:", err)
		s.failed++
	}
	return s
}

func (s *summary) take(e event, output map[string][]string, out io.Writer) {
	name := e.Package
	if e.Test != "" {
		name += "." + e.Test
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		output[name] = append(output[name], e.Output)
		if _, what, ok := strings.Cut(e.Output, "replaced: "); ok {
			if what = "replaced " + strings.TrimSpace(what); !slices.Contains(s.leftOut, what) {
				s.leftOut = append(s.leftOut, what)
			}
		}
	case "pass", "fail", "skip":
		s.end(e, name, output[name], out)
		delete(output, name)
	}
}

func (s *summary) end(e event, name string, output []string, out io.Writer) {
	if e.Test == "" {
		s.packages++
		if e.Action == "fail" {
			s.failed++ // a package that does not build, or dies, has no test to count
			fmt.Fprintf(out, "FAIL %s\n%s", name, strings.Join(output, ""))
		} else if e.Action == "pass" {
			fmt.Fprintf(out, "ok   %s %.1fs\n", name, e.Elapsed)
		}
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
		if !strings.Contains(e.Test, "/") && e.Elapsed > 1 {
			s.slowest = append(s.slowest, slow{name, time.Duration(e.Elapsed * float64(time.Second))})
		}
	case "skip":
		s.skipped++
		s.leftOut = append(s.leftOut, "skipped "+name)
		fmt.Fprint(out, strings.Join(output, ""))
	case "fail":
		s.failed++
		fmt.Fprintf(out, "FAIL %s\n%s", name, strings.Join(output, ""))
	}
}

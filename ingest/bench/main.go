// Command bench measures what a list costs from its upload until it is ready to be approved: time, CPU and peak memory of the hub as it is
// installed, for XLSX with inline strings, with shared strings, and CSV. Beside it, in the same run and from the same files: inflating
// alone, which is the limit of a workbook; encoding/csv, which is that of CSV; our reader alone; excelize; and xlsx2csv and LibreOffice
// where they are installed. Only the ratios are worth quoting.
//
// Each figure is of a process of its own, which is new for every one of them, so that peak memory is of one thing: the hub is bin/ekc serve
// on a new database, the readers are this program started again. What a figure must reach is in goals (table.go); nothing fails when it
// does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"ekc/postgres/measure"
)

// settings are the sizes of a run.
type settings struct {
	rounds int
	rows   int
	ekc    string // the hub's program
	dir    string
	peers  bool // excelize, xlsx2csv and LibreOffice, which take most of the time
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(serveRole(role, os.Args[1]))
	}
	var s settings
	flag.IntVar(&s.rounds, "rounds", 1, "interleaved rounds; medians are printed")
	flag.IntVar(&s.rows, "rows", million, "rows of each file")
	flag.StringVar(&s.ekc, "ekc", "bin/ekc", "the hub's program")
	flag.StringVar(&s.dir, "dir", "", "folder for files and database; a temporary one when empty")
	flag.BoolVar(&s.peers, "peers", true, "measure excelize, xlsx2csv and LibreOffice, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, s settings) (err error) {
	// Children die with the thread that started them (prctl(2), PR_SET_PDEATHSIG), which is this one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := time.Now()
	b, err := newBench(ctx, s, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.server.Close()) }()
	fmt.Fprintf(out, "%s, %d cores, load %s, %s; fsync on\n", runtime.Version(), runtime.NumCPU(), measure.Load(), b.server.Version)
	for range s.rounds {
		for i := range b.files {
			if err := b.measure(ctx, &b.files[i]); err != nil {
				return err
			}
		}
	}
	b.report()
	fmt.Fprintf(out, "\n%.0f s in all, load %s at the end\n", time.Since(began).Seconds(), measure.Load())
	return nil
}

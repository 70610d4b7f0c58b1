// Command bench measures the way of an SMS through the hub, from the list to the receipt in the database, and prints how it stands
// against the bare wire, the database's own limit and Kannel, all in one interleaved run. Only the ratios are worth quoting: the
// machine's speed moves, and everything shares its cores.
//
// Every figure is of a process of its own: the program starts itself again as the SMS centre, as a client that stores nothing, and as
// the hub (leash.go), so that CPU and memory are those of one thing. The database is a private server with durable commits. What a
// figure must reach is in goals (table.go); nothing fails when it does not.
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
	_ "time/tzdata"

	"ekc/postgres/measure"
)

// settings are the sizes of a run.
type settings struct {
	rounds  int
	rows    int // of one round
	kannel  int // messages of one round; 0 leaves it out
	big     int // rows of the long lists; 0 leaves them out
	singles int
	digests int // entries in the persons index for each row, 1 or 3
	dir     string
	profile string // folder for profiles of the hub
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(serveRole(role))
	}
	var s settings
	flag.IntVar(&s.rounds, "rounds", 3, "interleaved rounds; medians are printed")
	flag.IntVar(&s.rows, "rows", 100_000, "messages of a round through the wire and the hub")
	flag.IntVar(&s.kannel, "kannel", 10_000, "messages of a round through Kannel; 0 leaves it out")
	flag.IntVar(&s.big, "big", 1_000_000, "rows of the long lists; 0 leaves them out")
	flag.IntVar(&s.singles, "singles", 150, "single events, idle and behind a running list")
	flag.IntVar(&s.digests, "digests", 1, "entries of a row in the persons index: 1 (phone) or 3 (and SNILS, name with birth date)")
	flag.StringVar(&s.dir, "dir", "", "folder for the database; a temporary one when empty")
	flag.StringVar(&s.profile, "profile", "", "folder for CPU profiles of the hub")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, s settings) (err error) {
	began := time.Now()
	b, err := newBench(ctx, s, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.server.Close()) }()
	fmt.Fprintf(out, "%s, %d cores, load %s, %s; fsync on\n", runtime.Version(), runtime.NumCPU(), measure.Load(), b.server.Version)
	if err := b.interleave(ctx); err != nil {
		return err
	}
	if s.big > 0 {
		if err := b.longLists(ctx); err != nil {
			return err
		}
	}
	b.report(out)
	fmt.Fprintf(out, "\n%.0f s in all, load %s at the end\n", time.Since(began).Seconds(), measure.Load())
	return nil
}

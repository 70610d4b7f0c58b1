package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
)

// million is the size for which the goals hold.
const million = 1_000_000

// median is the one of what was measured in a way, by time; ok is false when it was not.
func (f *file) median(way string) (s sample, ok bool) {
	all := slices.Clone(f.measured[way])
	if len(all) == 0 {
		return s, false
	}
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.seconds, b.seconds) })
	return all[len(all)/2], true
}

// limit is the way against which the others of a file are held.
func (f *file) limit() string {
	if f.book {
		return wayInflate
	}
	return wayCSV
}

func (b *bench) report() {
	fmt.Fprintf(b.out, "\n%d rows, medians of %d rounds. Times of single programs have their start in them.\n", b.rows, b.rounds)
	for i := range b.files {
		b.table(&b.files[i])
	}
	for _, way := range slices.Sorted(maps.Keys(b.missing)) {
		fmt.Fprintf(b.out, "\nnot measured: %s\n", b.missing[way])
	}
	b.goals()
}

func (b *bench) table(f *file) {
	fmt.Fprintf(b.out, "\n%s, %.1f MB\n\n", f.name, float64(f.bytes)/1e6)
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tseconds\trows/s\tof the limit\tCPU s\tCPU s of PG\tpeak MiB\t")
	limit, _ := f.median(f.limit())
	for _, way := range ways {
		s, ok := f.median(way)
		if !ok {
			continue
		}
		server := ""
		if s.server > 0 {
			server = fmt.Sprintf("%.1f", s.server)
		}
		fmt.Fprintf(t, "%s\t%.2f\t%.0f\t%.3f\t%.1f\t%s\t%d\t\n", way, s.seconds, float64(b.rows)/s.seconds, limit.seconds/s.seconds, s.cpu, server, s.peak>>20)
		if s.upload > 0 {
			fmt.Fprintf(t, "of it upload\t%.2f\t\t\t\t\t\t\n", s.upload)
		}
	}
	_ = t.Flush()
}

// goals prints what is to be reached beside what was.
func (b *bench) goals() {
	fmt.Fprintln(b.out, "\nGoals: hold is the least that lands, aim is what we are here for.")
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\n\tmeasured\thold\taim\t")
	for i := range b.files {
		f := &b.files[i]
		limit, _ := f.median(f.limit())
		reader, _ := f.median(wayReader)
		hub, _ := f.median(wayHub)
		hold, aim := "0.10", "0.20"
		if !f.book {
			hold, aim = "0.3", "0.5"
		}
		fmt.Fprintf(t, "%s: reader against the limit, rows/s\t%.2f\t%s\t%s\t\n", f.name, limit.seconds/reader.seconds, hold, aim)
		fmt.Fprintf(t, "%s: upload to ready, peak memory\t%d MiB\t512 MiB\t256 MiB\t\n", f.name, hub.peak>>20)
		took := fmt.Sprintf("%.1f s", hub.seconds)
		if b.rows != million { // what a list costs before its first row counts for more then
			took = fmt.Sprintf("(%.1f s of %d)", hub.seconds, b.rows)
		}
		fmt.Fprintf(t, "%s: upload to ready of %d rows on two free cores\t%s\t\t25 s\t\n", f.name, million, took)
	}
	_ = t.Flush()
}

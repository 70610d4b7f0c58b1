package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// results are what was measured so far.
type results struct {
	measured []round
	noKannel error
	noPlans  error
	long     long
}

// endToEnd is the rate from a list in memory to its receipts in the database, admission first and dispatch after it.
func (r *round) endToEnd() float64 { return 1 / (1/r.admission.rate + 1/r.sent.rate) }

// median of what of gives for each round; 0 without rounds.
func (b *results) median(of func(*round) float64) float64 {
	all := make([]float64, len(b.measured))
	for i := range b.measured {
		all[i] = of(&b.measured[i])
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (b *bench) report(out io.Writer) {
	b.ways(out)
	b.goals(out)
	if b.noKannel != nil {
		fmt.Fprintln(out, "Kannel:", b.noKannel)
	}
	if b.noPlans != nil {
		fmt.Fprintln(out, b.noPlans)
	}
}

// ways prints one line for each way, medians of the rounds.
func (b *bench) ways(out io.Writer) {
	fmt.Fprintf(out, "\nMedians of %d rounds of %d messages (Kannel %d). Wire is our own session on go-smpp's pdu, nothing stored. CPU is ms per\n"+
		"1,000 messages without the SMS centre; all rates but Kannel's have the receipt's delay of %v in them.\n\n", b.rounds, b.rows, b.kannel, receiptDelay)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tmsg/s\tx Kannel\tof wire\tCPU app\tCPU PG\tWAL B/msg\tRSS MB\t")
	line := func(name string, of func(*round) sample) {
		m := func(f func(sample) float64) float64 { return b.median(func(r *round) float64 { return f(of(r)) }) }
		rate := m(func(s sample) float64 { return s.rate })
		if rate == 0 {
			return
		}
		against := func(other func(*round) float64) string {
			x := b.median(func(r *round) float64 {
				if other(r) == 0 {
					return 0
				}
				return of(r).rate / other(r)
			})
			if x == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", x)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, rate, against(kannelRate), against(wireRate),
			unlessZero("%.1f", m(func(s sample) float64 { return s.app })), unlessZero("%.1f", m(func(s sample) float64 { return s.pg })),
			unlessZero("%.0f", m(func(s sample) float64 { return s.wal })), unlessZero("%.0f", m(func(s sample) float64 { return float64(s.rss) / 1e6 })))
	}
	line("Kannel, HTTP, file store", func(r *round) sample { return r.kannel })
	line("wire, go-smpp's pdu", func(r *round) sample { return r.goSMPP })
	line("wire, smpp.Link", func(r *round) sample { return r.link })
	line("database: COPY of a list's rows by pgx, bare heap", func(r *round) sample { return sample{rate: r.limitHeap} })
	line("database: COPY of ready octets, two columns, bare table", func(r *round) sample { return sample{rate: r.limitCopy} })
	line("database: commits of 1,000 rows, bare table", func(r *round) sample { return sample{rate: r.limitCommits} })
	line("hub: admission", func(r *round) sample { return r.admission })
	line("hub: admission alone, rows made before", func(r *round) sample { return sample{rate: r.written} })
	line("the same, four digests a row", func(r *round) sample { return sample{rate: r.writtenWhole} })
	line("hub: dispatch to receipt committed", func(r *round) sample { return r.sent })
	line("hub: list admitted to receipt committed", func(r *round) sample {
		s := sample{rate: r.endToEnd(), app: r.admission.app + r.sent.app, pg: r.admission.pg + r.sent.pg, wal: r.admission.wal + r.sent.wal, rss: r.sent.rss}
		return s
	})
	_ = t.Flush()
}

func unlessZero(format string, v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

func kannelRate(r *round) float64 { return r.kannel.rate }
func wireRate(r *round) float64   { return r.goSMPP.rate }

// goals prints each measured ratio beside the least that is held to and what is aimed at.
func (b *bench) goals(out io.Writer) {
	fmt.Fprintln(out, "\nGoals:")
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tmeasured\thold\taim\t\t")
	more := func(name, format string, v, hold, aim float64) {
		goal(t, name, format, v, hold, aim, v >= hold, v >= aim)
	}
	less := func(name, format string, v, hold, aim float64) {
		goal(t, name, format, v, hold, aim, v <= hold, v <= aim)
	}
	if b.kannel > 0 && b.noKannel == nil {
		more("admitted to receipt committed, against Kannel", "%.1fx", b.median(func(r *round) float64 { return r.endToEnd() / r.kannel.rate }), 12, 25)
	}
	more("dispatch to receipt committed, of wire", "%.2f", b.median(func(r *round) float64 { return r.sent.rate / r.goSMPP.rate }), 0.5, 0.85)
	less("CPU of app and PostgreSQL per 1,000, with admission", "%.1f ms", b.median(func(r *round) float64 {
		return r.admission.app + r.admission.pg + r.sent.app + r.sent.pg
	}), 45, 23)
	more("admission, of COPY of a list's rows into a bare heap", "%.2f", b.median(func(r *round) float64 { return r.written / r.limitHeap }), 0.35, 0.45)
	fmt.Fprintf(t, "the same with four digests a row\t%.2f\t\t\t\t\n", b.median(func(r *round) float64 { return r.writtenWhole / r.limitHeap }))
	fmt.Fprintf(t, "admission, of COPY of ready octets, two columns\t%.2f\t\t\t\t\n", b.median(func(r *round) float64 { return r.written / r.limitCopy }))
	if b.big > 0 {
		b.longGoals(t, less)
	}
	_ = t.Flush()
}

func (b *bench) longGoals(t *tabwriter.Writer, less func(name, format string, v, hold, aim float64)) {
	l := &b.results.long
	if c := &l.claims; c.rows > 0 {
		less(fmt.Sprintf("buffers of a claim behind %d paused rows, runs and outbox: median", b.big), "%.0f", float64(medianOf(c.dueRuns)+medianOf(c.outbox)), 500, 100)
		less("the most", "%.0f", float64(slices.Max(c.dueRuns)+slices.Max(c.outbox)), 500, 100)
		fmt.Fprintf(t, "contents, buffers a row\t%.2f\t\t\t\t\n", float64(c.contents)/float64(c.rows))
	}
	fmt.Fprintf(t, "single event, idle: p50, p99\t%s, %s\t\t\t\t\n", ms(percentile(l.idle, 50)), ms(percentile(l.idle, 99)))
	fmt.Fprintf(t, "single event, behind a running list: p50, p99\t%s, %s\t\t\t\t\n", ms(percentile(l.busy, 50)), ms(percentile(l.busy, 99)))
	less("its p99 against idle", "%.1fx", float64(percentile(l.busy, 99))/float64(max(percentile(l.idle, 99), 1)), 4, 2)
	less(fmt.Sprintf("RSS after %d rows sent, receipts as they come, against a tenth", b.big), "%.2f", float64(l.rssWhole)/float64(max(l.rssTenth, 1)), 1.2, 1.2)
	less(fmt.Sprintf("RSS with %d receipts outstanding", b.big), "%.0f MB", float64(l.waitingWhole)/1e6, 200, 100)
	fmt.Fprintf(t, "the same against a tenth of them outstanding (some 50 octets each)\t%.2f\t\t\t\t\n", float64(l.waitingWhole)/float64(max(l.waitingTenth, 1)))
	fmt.Fprintf(t, "admission of %d rows: rows/s, CPU app and PG, RSS\t%.0f, %.1f + %.1f ms, %.0f MB\t\t\t\t\n", b.big, l.admission.rate, l.admission.app, l.admission.pg,
		float64(l.admission.rss)/1e6)
}

func goal(t *tabwriter.Writer, name, format string, v, hold, aim float64, held, reached bool) {
	verdict := "MISSED"
	switch {
	case reached:
		verdict = "aim"
	case held:
		verdict = "hold"
	}
	fmt.Fprintf(t, "%s\t"+format+"\t"+format+"\t"+format+"\t%s\t\n", name, v, hold, aim, verdict)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// percentile of sorted times, by nearest rank.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, (len(sorted)*p+99)/100-1)]
}

func medianOf(all []int) int {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"ekc/ingest"
	"ekc/openapi"
)

// stateTitles are the states of lists as people are told them on a terminal.
var stateTitles = map[ingest.State]string{
	ingest.Receiving: "принимается", ingest.Checking: "проверяется", ingest.Rejected: "не принят", ingest.Ready: "ждёт утверждения",
	ingest.Refused: "отклонён", ingest.Approved: "утверждён", ingest.Running: "отправляется", ingest.Paused: "на паузе",
	ingest.Cancelling: "отменяется", ingest.Cancelled: "отменён", ingest.Completed: "завершён",
}

// outcomeTitles are the ends of a notification, in the order of a table.
var outcomeTitles = []struct{ state, title string }{
	{"delivered", "доставлено"}, {"undelivered", "не доставлено"}, {"expired", "срок доставки истёк"}, {"refused", "отказ центра СМС"},
	{"unconfirmed", "без подтверждения"}, {"suppressed", "не отправлялось"}, {"cancelled", "отменено"}, {"out_of_time", "не успели"},
	{"accepted", "в пути"}, {"uncertain", "неясно"}, {"pending", "ждёт"},
}

// openStates are those a notification does not end in.
var openStates = []string{"accepted", "uncertain", "pending"}

// told counts notifications that have ended.
func told(l openapi.List) int {
	open := 0
	for _, state := range openStates {
		open += int(l.Counts[state])
	}
	all := 0
	for _, n := range l.Counts {
		all += int(n)
	}
	return all - open
}

// bar shows how a list goes: one line written over on a terminal, a line for each change of state elsewhere.
type bar struct {
	w        io.Writer
	terminal bool
	last     string
	width    int
}

func newBar(w io.Writer) *bar {
	b := &bar{w: w}
	if file, ok := w.(*os.File); ok {
		if info, err := file.Stat(); err == nil {
			b.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return b
}

func (b *bar) show(l openapi.List) {
	title := stateTitles[ingest.State(l.State)]
	if !b.terminal {
		if title != b.last {
			_, _ = fmt.Fprintf(b.w, "%s: строк %d, принято %d, закончено %d\n", title, l.Rows, l.Accepted, told(l))
		}
		b.last = title
		return
	}
	const cells = 30
	full := 0
	if l.Accepted > 0 {
		full = min(cells, told(l)*cells/l.Accepted)
	}
	line := fmt.Sprintf("%-17s [%s%s] %d из %d, строк %d", title, strings.Repeat("█", full), strings.Repeat("·", cells-full), told(l), l.Accepted, l.Rows)
	length := utf8.RuneCountInString(line)
	_, _ = fmt.Fprintf(b.w, "\r%s%s", line, strings.Repeat(" ", max(0, b.width-length)))
	b.width = length
}

func (b *bar) end() {
	if b.terminal && b.width > 0 {
		_, _ = fmt.Fprintln(b.w)
	}
}

// printOutcome is a list's end for the person who waited for it.
func printOutcome(w io.Writer, l openapi.List) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", l.Name, stateTitles[ingest.State(l.State)])
	if l.StateReason != "" {
		fmt.Fprintf(&b, "  %s\n", l.StateReason)
	}
	fmt.Fprintf(&b, "  строк %d = принято %d + отклонено %d\n", l.Rows, l.Accepted, l.Rejected)
	for _, o := range outcomeTitles {
		if n := l.Counts[o.state]; n > 0 {
			fmt.Fprintf(&b, "  %-22s %d\n", o.title, n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

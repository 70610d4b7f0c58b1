package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/ingest"
	"ekc/openapi"
)

// finding is one thing that is wrong.
type finding struct {
	What    string     `json:"what"`
	Since   *time.Time `json:"since,omitempty"`
	Whom    string     `json:"whom,omitempty"`
	Do      string     `json:"do"`
	Section string     `json:"section"` // of docs/operation.md
}

// situation is what `ekc status` found.
type situation struct {
	At       time.Time      `json:"at"`
	From     string         `json:"from"` // api, database
	Findings []finding      `json:"findings"`
	Calm     []string       `json:"calm"` // what looks odd and is not
	Links    []openapi.Link `json:"links"`
	Stops    []openapi.Stop `json:"stops"`
	Lists    []openapi.List `json:"lists"` // under way
}

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "status", Short: "One screen: what is wrong, since when, whom it hurts, what to do", Args: cobra.NoArgs,
		Long: `Asks the API at EKC_URL with the key in EKC_KEY (a duty engineer's); when it does not answer, the database of --config, and says
so. Ends with 3 when something is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := a.backend(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer b.close()
			s, err := b.situation(cmd.Context())
			if err != nil {
				return asExit(err)
			}
			if asJSON {
				err = printJSON(cmd, s)
			} else {
				err = s.print(cmd.OutOrStdout())
			}
			if err == nil && len(s.Findings) > 0 {
				return &exitError{exitFound, nil}
			}
			return err
		}}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (b *backend) situation(ctx context.Context) (*situation, error) {
	s := &situation{At: time.Now(), From: "api", Findings: []finding{}, Calm: []string{}}
	if b.away != nil {
		s.From = "database"
		s.add(finding{What: "API не отвечает", Whom: "операторы и системы ведомств не могут ни загрузить, ни остановить список",
			Do: "посмотрите, работает ли процесс с ролью api: systemctl status ekc, журнал процесса", Section: "start-stop-upgrade"})
	} else if err := b.readiness(ctx, s); err != nil {
		return nil, err
	}
	var links openapi.Page[openapi.Link]
	if err := b.call(ctx, http.MethodGet, "/v1/links", nil, &links); err != nil {
		return nil, err
	}
	var stops openapi.Page[openapi.Stop]
	if err := b.call(ctx, http.MethodGet, "/v1/stops", nil, &stops); err != nil {
		return nil, err
	}
	var lists openapi.Page[openapi.List]
	if err := b.call(ctx, http.MethodGet, "/v1/lists?limit=200&state=receiving,checking,approved,running,paused,cancelling", nil, &lists); err != nil {
		return nil, err
	}
	s.Links, s.Stops, s.Lists = links.Items, stops.Items, lists.Items
	s.judgeLinks()
	s.judgeStops()
	s.judgeLists()
	return s, nil
}

func (s *situation) add(f finding) { s.Findings = append(s.Findings, f) }

func (b *backend) readiness(ctx context.Context, s *situation) error {
	var ready struct {
		Checks []struct {
			Name, Reason string
			OK           bool
		}
	}
	if err := b.call(ctx, http.MethodGet, "/readyz", nil, &ready); err != nil {
		return err
	}
	for _, c := range ready.Checks {
		switch {
		case c.OK:
		case c.Name == "sending":
			s.add(finding{What: "ничего не отправляется: " + c.Reason, Whom: "все списки ждут",
				Do: "если база восстановлена из копии или заменена – раздел runbook, затем ekc recover", Section: "the-database-is-behind"})
		case c.Name == "telling":
			s.add(finding{What: "источникам ничего не сообщается: " + c.Reason, Whom: "источники не узнают, что стало с их списками",
				Do: "если база восстановлена из копии или заменена – раздел runbook, затем ekc recover", Section: "the-database-is-behind"})
		default:
			s.add(finding{What: c.Name + ": " + c.Reason, Do: "проверьте PostgreSQL; работа продолжится сама", Section: "the-database-is-away"})
		}
	}
	return nil
}

// waiting counts people in lists under way who are still to be told.
func (s *situation) waiting() (people int64, lists int) {
	for _, l := range s.Lists {
		if ingest.State(l.State) == ingest.Running {
			people += l.Counts["pending"]
			lists++
		}
	}
	return people, lists
}

func (s *situation) judgeLinks() {
	up := make(map[string]bool)
	for _, l := range s.Links {
		up[l.Pool] = up[l.Pool] || l.State == "up"
	}
	people, lists := s.waiting()
	for _, l := range s.Links {
		if l.Kind == "kafka" {
			s.judgeTopic(l)
			continue
		}
		if l.State == "up" {
			continue
		}
		f := finding{What: fmt.Sprintf("связь %s: %s", l.Name, l.Reason), Since: l.Since, Section: "nothing-is-sent",
			Do: "ekc smsc check " + l.Name + "; при отказе в доступе звоните оператору связи"}
		switch {
		case up[l.Pool]:
			f.Whom = "никого: работу несут другие связи пула " + l.Pool
		case people > 0:
			f.Whom = fmt.Sprintf("ждут отправки %s в %d списках; без пула %s их сообщения не уйдут", spaced(people), lists, l.Pool)
		default:
			f.Whom = "пока никого: списков в работе нет"
		}
		s.add(f)
	}
}

func (s *situation) judgeStops() {
	for _, stop := range s.Stops {
		at := stop.At
		what := "остановлено: " + stop.Scope
		if stop.Target != "" {
			what += " " + stop.Target
		}
		s.add(finding{What: fmt.Sprintf("%s – %s (%s)", what, stop.Reason, stop.Actor), Since: &at, Whom: "всё, что подходит под остановку, ждёт",
			Do: fmt.Sprintf("причина ушла? ekc stop --lift %d", stop.ID), Section: "nothing-is-sent"})
	}
}

const (
	checkingLong = 30 * time.Minute
	sendingLate  = 15 * time.Minute
)

func (s *situation) judgeLists() {
	for _, l := range s.Lists {
		if n := l.Counts["uncertain"]; n > 0 {
			s.add(finding{What: fmt.Sprintf("«%s»: неясно, ушли ли %s", l.Name, messages(n)), Whom: messages(n) + " ждут отчёта или решения человека",
				Do: "если список с on_uncertain=hold – решите по каждому: POST /v1/notifications/{id}/settle", Section: "uncertain"})
		}
		switch at := l.CreatedAt; ingest.State(l.State) {
		case ingest.Receiving:
			if l.StateReason != "" { // of the feed: its parts have stopped coming
				s.add(finding{What: fmt.Sprintf("«%s»: %s", l.Name, l.StateReason), Since: &at, Whom: "ведомство " + l.Agency + ": никого из списка не известят",
					Do: "источнику – отправить недостающие части ещё раз; если не отправит, отмените список: POST /v1/lists/" + l.ID + "/cancel", Section: "the-feed"})
			}
		case ingest.Checking:
			if s.At.Sub(at) > checkingLong {
				s.add(finding{What: fmt.Sprintf("«%s» проверяется слишком долго", l.Name), Since: &at, Whom: "ведомство " + l.Agency,
					Do: "есть ли процесс с ролью api и место на диске базы", Section: "nothing-is-sent"})
			}
		case ingest.Paused:
			s.Calm = append(s.Calm, fmt.Sprintf("«%s» на паузе: так решило ведомство %s", l.Name, l.Agency))
		case ingest.Running:
			if l.FirstSentAt == nil && l.ApprovedAt != nil && s.At.Sub(*l.ApprovedAt) > sendingLate {
				s.Calm = append(s.Calm, fmt.Sprintf("«%s» утверждён, но ещё не отправляется: ждёт окна, даты начала или очереди (ekc trace ID покажет)", l.Name))
			}
		}
	}
}

func (s *situation) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "ИС ЕКЦ, %s\n\n", bothTimes(s.At))
	if len(s.Findings) == 0 {
		b.WriteString("Всё в порядке.\n")
	}
	for i, f := range s.Findings {
		fmt.Fprintf(&b, "%d. %s\n", i+1, f.What)
		if f.Since != nil {
			fmt.Fprintf(&b, "   с каких пор:   %s (%s)\n", bothTimes(*f.Since), s.At.Sub(*f.Since).Round(time.Second))
		}
		if f.Whom != "" {
			fmt.Fprintf(&b, "   кого касается: %s\n", f.Whom)
		}
		fmt.Fprintf(&b, "   что делать:    %s (docs/operation.md#%s)\n", f.Do, f.Section)
	}
	people, lists := s.waiting()
	fmt.Fprintf(&b, "\nСписков в работе %d, ждут отправки %s. ", lists, spaced(people))
	var states []string
	for _, l := range s.Links {
		states = append(states, l.Name+" "+l.State)
	}
	fmt.Fprintf(&b, "Связи: %s.\n", strings.Join(states, ", "))
	if len(s.Calm) > 0 {
		b.WriteString("\nНе о чём беспокоиться:\n")
		for _, sentence := range s.Calm {
			fmt.Fprintf(&b, "  %s\n", sentence)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// bothTimes is a time for a person: local and UTC.
func bothTimes(t time.Time) string {
	return t.Local().Format("02.01.2006 15:04:05 MST") + " / " + t.UTC().Format("15:04:05 UTC")
}

// spaced writes 1240 as «1 240 человек», in the right number.
func spaced(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	if few := n % 10; few >= 2 && few <= 4 && (n%100 < 12 || n%100 > 14) {
		return digits + " человека"
	}
	return digits + " человек"
}

func messages(n int64) string { return fmt.Sprintf("%d сообщ.", n) }

package openapi

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
)

// Preview is a row as it will leave, or why it will not.
type Preview struct {
	Row            int                    `json:"row" doc:"As its sender counts"`
	ExternalID     string                 `json:"external_id"`
	Accepted       bool                   `json:"accepted"`
	NotificationID string                 `json:"notification_id,omitempty"`
	Phone          string                 `json:"phone" doc:"Masked"`
	Text           string                 `json:"text"`
	Segments       int                    `json:"segments"`
	Channels       []string               `json:"channels"`
	Zones          string                 `json:"zones" doc:"Time zones whose windows are kept"`
	NotBefore      *time.Time             `json:"not_before,omitempty"`
	ValidUntil     *time.Time             `json:"valid_until,omitempty"`
	InformBy       *time.Time             `json:"inform_by,omitempty"`
	LifeEvent      string                 `json:"life_event,omitempty"`
	Template       string                 `json:"template,omitempty"`
	Messages       []ingest.RecordMessage `json:"messages"`
}

// DryRun is what a list would get.
type DryRun struct {
	Protocol ingest.Protocol `json:"protocol"`
	Estimate *Estimate       `json:"estimate,omitempty" doc:"Absent when the list would be rejected"`
}

// Estimate is when a list will be through.
type Estimate struct {
	Rows          int64      `json:"rows" doc:"That still wait"`
	Segments      int64      `json:"segments"`
	Cost          *float64   `json:"cost" doc:"At most, of what still waits; null while links have no prices in the catalogue, and with calls among it"`
	Currency      string     `json:"currency,omitempty" doc:"ISO 4217"`
	ListsAhead    int        `json:"lists_ahead"`
	SegmentsAhead int64      `json:"segments_ahead"`
	PerSecond     *int       `json:"segments_per_second" doc:"Null when a link states no rate; then only windows are counted"`
	StartsAt      *time.Time `json:"starts_at"`
	FinishesAt    *time.Time `json:"finishes_at" doc:"Null when not within 60 days"`
	Hours         *float64   `json:"hours" doc:"From now to the finish"`
	Sentence      string     `json:"sentence" doc:"In Russian"`
}

func estimateOf(e ingest.Estimate, now time.Time) Estimate {
	out := Estimate{Rows: e.Rows, Segments: e.Segments, Cost: e.Cost, Currency: e.Currency, ListsAhead: e.ListsAhead, SegmentsAhead: e.SegmentsAhead, StartsAt: timeOf(e.StartsAt),
		FinishesAt: timeOf(e.FinishesAt), Sentence: e.Sentence()}
	if e.PerSecond > 0 {
		out.PerSecond = &e.PerSecond
	}
	if !e.FinishesAt.IsZero() {
		out.Hours = new(math.Round(e.FinishesAt.Sub(now).Hours()*100) / 100)
	}
	return out
}

func (s *Server) registerResults() {
	register(s, operation{id: "getProtocol", method: http.MethodGet, path: "/v1/lists/{id}/protocol", tag: "lists", summary: "Load protocol: what was taken, what was not, and why",
		description: "Rows without a message are not listed. No value of a row is repeated."},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			After int `query:"after" minimum:"0" doc:"next of the page before: a row's number"`
			Limit int `query:"limit" default:"1000" minimum:"1" maximum:"10000"`
		}) (*answer[ingest.Protocol], error) {
			return answerOf(s.doors.Lists.Protocol(ctx, p, in.uuid(), in.After, in.Limit))
		})
	register(s, operation{id: "estimateList", method: http.MethodGet, path: "/v1/lists/{id}/estimate", tag: "lists", summary: "When a list will be through", errors: []int{409},
		description: "As if it were approved now: lists that go already in its pools go first, everybody is told in the window of his own zones, links keep their rates. Retries are not in it."},
		func(ctx context.Context, p journal.Principal, in *ListPath) (*answer[Estimate], error) {
			e, err := s.doors.Lists.Estimate(ctx, p, in.uuid())
			if err != nil {
				return nil, err
			}
			return &answer[Estimate]{estimateOf(e, s.now())}, nil
		})
	register(s, operation{id: "previewRow", method: http.MethodGet, path: "/v1/lists/{id}/preview", tag: "lists", summary: "A row as it will leave; the look is in the history", errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			Row int `query:"row" required:"true" minimum:"1" doc:"As its sender counts"`
		}) (*answer[Preview], error) {
			v, err := s.doors.Lists.Preview(ctx, p, in.uuid(), in.Row)
			if err != nil {
				return nil, err
			}
			out := Preview{Row: v.Row, ExternalID: v.ExternalID, Accepted: v.Accepted, Phone: v.Phone, Text: v.Text, Segments: v.Segments,
				Channels: append([]string{}, v.Channels...), Zones: v.Zones, NotBefore: timeOf(v.NotBefore), ValidUntil: timeOf(v.ValidUntil),
				InformBy: timeOf(v.InformBy), LifeEvent: v.LifeEvent, Template: v.Template, Messages: append([]ingest.RecordMessage{}, v.Messages...)}
			if v.NotificationID != 0 {
				out.NotificationID = v.NotificationID.String()
			}
			return &answer[Preview]{out}, nil
		})
	register(s, operation{id: "testSend", method: http.MethodPost, path: "/v1/lists/{id}/test-send", tag: "lists", summary: "One row of a list to a handset of your own, before everybody is told", status: http.StatusAccepted, errors: []int{409},
		description: "Of a list that is ready, approved or running: the row's own text, marked as a check, goes ahead of all lists to the mobile number given. It makes a list of one that names the tested one in `tests`, needs no approver and is counted nowhere else. The catalogue bounds how many there may be of a list and by an account in 24 hours; windows, caps and opt-outs apply as to anybody. That the row was looked at is in the history."},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			Body struct {
				Row   int    `json:"row,omitempty" minimum:"1" doc:"As its sender counts; none: the first that was accepted"`
				Phone string `json:"phone" maxLength:"32" doc:"A mobile number; kept sealed like any other"`
			}
		}) (*answer[ListRef], error) {
			ref, err := s.doors.Lists.TestSend(ctx, p, in.uuid(), in.Body.Row, in.Body.Phone)
			if err != nil {
				return nil, err
			}
			return refOf(ref), nil
		})
	register(s, operation{id: "getResults", method: http.MethodGet, path: "/v1/lists/{id}/results.csv", tag: "lists", summary: "What became of every accepted row, as a table for a spreadsheet", stream: true,
		description: "UTF-8 with BOM, semicolons, times of Moscow. In the order of the file; the sender's own names of rows, nothing personal."}, s.getResults)
	s.describeStream("/v1/lists/{id}/results.csv", "text/csv", &huma.Schema{Type: huma.TypeString})
	for _, d := range []struct {
		id, path, summary, description string
		make                           func(context.Context, journal.Principal, uuid.UUID) (ingest.Download, error)
	}{
		{"getProtocolFile", "/v1/lists/{id}/protocol.xlsx", "The sender's own file with what became of each row and what to do",
			"The same rows in the same order under the same numbers, with «ЕКЦ: результат», «ЕКЦ: код» and «ЕКЦ: что сделать»; mended, it may come back as a correction. The second sheet is the load protocol as an act. A CSV comes back as XLSX. The download is in the history.",
			s.doors.Lists.ProtocolFile},
		{"getResultsFile", "/v1/lists/{id}/results.xlsx", "The sender's own file with what became of each row by now", "The download is in the history.", s.doors.Lists.ResultsFile},
		{"getNotInformedFile", "/v1/lists/{id}/not-informed.xlsx", "Those rows of the sender's file whose people were not told, with the reason and what to do",
			"Rows that were not taken are among them. The second sheet counts them by reason. The download is in the history.", s.doors.Lists.NotInformedFile},
	} {
		register(s, operation{id: d.id, method: http.MethodGet, path: d.path, tag: "lists", summary: d.summary, description: d.description, stream: true, errors: []int{409}},
			func(ctx context.Context, p journal.Principal, in *struct{ ListPath }) (*huma.StreamResponse, error) {
				write, err := d.make(ctx, p, in.uuid())
				if err != nil {
					return nil, err
				}
				return s.download(ctx, path.Base(d.path), in.uuid(), write), nil
			})
		s.describeStream(d.path, workbookType, &huma.Schema{Type: huma.TypeString, Format: "binary"})
	}
	register(s, operation{id: "followList", method: http.MethodGet, path: "/v1/lists/{id}/progress", tag: "lists", summary: "Progress of a list as server-sent events", stream: true,
		description: "Event `list`: the list with its counts, first at once and then with each change. It ends when the list has; a comment every 15 s keeps the line open. A reader that comes again is given the present state first, whatever its Last-Event-ID."},
		s.followList)
	s.describeStream("/v1/lists/{id}/progress", "text/event-stream", &huma.Schema{Type: huma.TypeString})
}

const workbookType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// download answers with a file as it is made. An answer that has begun and cannot be finished is broken off: all that can be told is that
// it is not whole.
func (s *Server) download(ctx context.Context, name string, list uuid.UUID, write ingest.Download) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		base, ext, _ := strings.Cut(name, ".")
		hc.SetHeader("Content-Type", workbookType)
		hc.SetHeader("Content-Disposition", `attachment; filename="`+base+"-"+list.String()+"."+ext+`"`)
		out := bufio.NewWriterSize(s.streamTo(hc), 64<<10)
		err := write(out)
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			s.log.ErrorContext(ctx, "a download was not finished", "request_id", callOf(ctx).id, "err", err)
			panic(http.ErrAbortHandler)
		}
	}}
}

// describeStream documents the answer of an operation that huma only sees as a function.
func (s *Server) describeStream(path, contentType string, schema *huma.Schema) {
	item := s.api.OpenAPI().Paths[path]
	if item == nil || item.Get == nil {
		return
	}
	item.Get.Responses["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{contentType: {Schema: schema}}}
}

var resultTitles = []string{"Строка", "Внешний номер", "Номер уведомления", "Состояние", "Состояние по-русски", "Причина", "Причина по-русски", "Что сделать",
	"Код оператора", "Частей СМС", "Время (МСК)", "В срок"}

// moscow is the zone of the result file; it has had no clock changes since 2014, so the machine needs no zone data for it.
var moscow = time.FixedZone("MSK", 3*60*60)

func (s *Server) getResults(ctx context.Context, p journal.Principal, in *struct{ ListPath }) (*huma.StreamResponse, error) {
	results, err := s.doors.Lists.Results(ctx, p, in.uuid())
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "text/csv; charset=utf-8")
		hc.SetHeader("Content-Disposition", `attachment; filename="results-`+in.uuid().String()+`.csv"`)
		out := s.streamTo(hc)
		_, _ = io.WriteString(out, "\uFEFF")
		table := csv.NewWriter(out)
		table.Comma, table.UseCRLF = ';', true
		_ = table.Write(resultTitles)
		for r, err := range results {
			if err == nil {
				err = table.Write(s.resultRow(r))
			}
			if err != nil {
				// The answer has begun: all that can be told is that it is not whole.
				s.log.ErrorContext(ctx, "result file was not finished", "request_id", callOf(ctx).id, "err", err)
				panic(http.ErrAbortHandler)
			}
		}
		table.Flush()
	}}, nil
}

func (s *Server) resultRow(r dispatch.Status) []string {
	now := s.now()
	title, _ := s.title("notification", r.State.String(), now)
	reason, advice := "", ""
	if r.Reason != "" {
		reason, advice = s.title("reason", string(r.Reason), now)
	}
	at, term := "", string(dispatch.TermOf(r.State, r.At, r.InformBy, now))
	if !r.At.IsZero() {
		at = r.At.In(moscow).Format("02.01.2006 15:04:05")
	}
	if term == "open" {
		term = ""
	} else {
		term, _ = s.title("informed", term, now)
	}
	return []string{strconv.Itoa(int(r.RowNo)), cell(r.ExternalID), r.ID.String(), r.State.String(), title, string(r.Reason), reason, advice, cell(r.Code),
		strconv.Itoa(int(r.Segments)), at, term}
}

// title is how the catalogue calls a state or reason, with its advice; the slug itself when it is not there.
func (s *Server) title(scope, slug string, at time.Time) (title, advice string) {
	if s.doors.Catalog != nil {
		if state, ok := s.doors.Catalog.Current().State(scope, slug, at); ok {
			return state.Title, state.Advice
		}
	}
	return slug, ""
}

// cell keeps a spreadsheet from taking what somebody else wrote for a formula.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

const (
	followEvery    = time.Second
	heartbeatEvery = 15 * time.Second
	// followersMost bounds the readers of progress, each of which asks the database once a second.
	followersMost = 256
)

func (s *Server) followList(ctx context.Context, p journal.Principal, in *struct {
	ListPath
	LastEventID string `header:"Last-Event-ID" maxLength:"32"`
}) (*huma.StreamResponse, error) {
	first, err := s.doors.Lists.Get(ctx, p, in.uuid())
	if err != nil {
		return nil, err
	}
	if s.followers.Add(1) > followersMost {
		s.followers.Add(-1)
		busy := problem(CodeUnavailable)
		busy.retryAfter = "10"
		return nil, busy
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer s.followers.Add(-1)
		hc.SetHeader("Content-Type", "text/event-stream")
		out := s.streamTo(hc)
		s.follow(ctx, p, first, out)
	}}, nil
}

// follow sends the list whenever it has changed, until it has ended, the reader has gone or the process stops.
func (s *Server) follow(ctx context.Context, p journal.Principal, l *ingest.List, out io.Writer) {
	tick, heart := time.NewTicker(followEvery), time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	defer heart.Stop()
	var sent *ingest.List
	for {
		if sent == nil || sent.State != l.State || sent.Rows != l.Rows || sent.Accepted != l.Accepted || !maps.Equal(sent.Counts, l.Counts) {
			data, err := json.Marshal(listOf(l))
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(out, "id: %d\nevent: list\ndata: %s\n\n", l.AsOf.UnixMilli(), data); err != nil {
				return
			}
			sent = l
		}
		if ended(l) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-stopping(ctx):
			return
		case <-heart.C:
			if _, err := io.WriteString(out, ": alive\n\n"); err != nil {
				return
			}
		case <-tick.C:
		}
		next, err := s.doors.Lists.Get(ctx, p, l.ID)
		if err != nil {
			return // the reader comes again by itself
		}
		l = next
	}
}

func ended(l *ingest.List) bool {
	switch l.State {
	case ingest.Completed, ingest.Cancelled, ingest.Refused, ingest.Rejected:
		return l.Counts[dispatch.Pending] == 0
	}
	return false
}

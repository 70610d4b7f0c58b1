package ingest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// Protocol is the load protocol, shaped as ЕГИССО's 10.10.I: what was taken, what was not, and why, in the sender's own row numbers.
type Protocol struct {
	PackageID         uuid.UUID  `json:"package_id"`
	PackageType       string     `json:"package_type"`
	PackageStatus     int        `json:"package_status"` // 1 received, 2 being checked, 3 checked
	State             State      `json:"state"`
	StateReason       string     `json:"state_reason,omitempty"`
	ReceivingTime     time.Time  `json:"receiving_time"`
	FinishProcessTime *time.Time `json:"finish_process_time,omitempty"`
	RecordNum         int        `json:"record_num"`
	RecordNumSuccess  int        `json:"record_num_success"`
	RecordNumWarning  int        `json:"record_num_warning"`
	RecordNumSkipped  int        `json:"record_num_skipped"` // taken by an earlier list
	// Of record_num_success: repeats that the agency's rule does not let go.
	RecordNumSuppressed int   `json:"record_num_suppressed"`
	Segments            int64 `json:"segments"`
	Outline
	Next         int            `json:"next,omitempty"` // the row to go on after; absent on the last page
	ErrorRecords []RecordResult `json:"error_records"`  // the last field: WriteProtocol streams it
}

// RecordResult is the verdict of one row; rows without a message are not listed.
type RecordResult struct {
	Row        int             `json:"row"`
	Part       int             `json:"part"`
	ExternalID string          `json:"external_id"`
	RecordOK   bool            `json:"record_ok"`
	Messages   []RecordMessage `json:"messages"`
}

// skipped says that an earlier list has taken the row.
func (r *RecordResult) skipped() bool {
	return slices.ContainsFunc(r.Messages, func(m RecordMessage) bool { return m.RuleCode == RuleSkipped })
}

// RecordMessage is one fault (message_type 1) or warning (2).
type RecordMessage struct {
	MessageType int      `json:"message_type"`
	RuleCode    RuleCode `json:"rule_code"`
	Field       string   `json:"field,omitempty"`
	Report      string   `json:"report"`
}

const packageType = "ekc.list"

func (l *List) protocol() Protocol {
	p := Protocol{PackageID: l.ID, PackageType: packageType, PackageStatus: 3, State: l.State, StateReason: l.StateReason,
		ReceivingTime: l.CreatedAt.UTC(), RecordNum: l.Rows, RecordNumSuccess: l.Accepted, RecordNumWarning: l.Warnings, RecordNumSkipped: l.Skipped, RecordNumSuppressed: l.Suppressed, Segments: l.Segments,
		ErrorRecords: []RecordResult{}}
	switch l.State {
	case Receiving:
		p.PackageStatus = 1
	case Checking:
		p.PackageStatus = 2
	}
	return p
}

const protocolSQL = `
SELECT row_no, part, external_id, message_type, rule_code, field FROM rejections
WHERE list_no = @list AND row_no IN (
	SELECT DISTINCT row_no FROM rejections WHERE list_no = @list AND row_no > @after ORDER BY row_no LIMIT @limit)
ORDER BY row_no, no`

// Protocol returns the load protocol with at most limit rows (1,000 when zero) after the given row number.
func (s *Service) Protocol(ctx context.Context, p journal.Principal, id uuid.UUID, after, limit int) (Protocol, error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return Protocol{}, err
	}
	out := l.protocol()
	limit = min(cmp.Or(max(limit, 0), 1000), 10_000)
	if err := s.outlineOf(ctx, l.No, &out.Outline); err != nil {
		return Protocol{}, err
	}
	records, err := s.records(ctx, l.No, out.Columns, after, limit+1)
	if err != nil {
		return Protocol{}, err
	}
	if len(records) > limit {
		records = records[:limit]
		out.Next = records[limit-1].Row
	}
	out.ErrorRecords = records
	out.FinishProcessTime, err = s.checkedAt(ctx, l.No)
	return out, err
}

const readOutlineSQL = `SELECT outline FROM list_files WHERE list_no = $1 AND complete ORDER BY file_no DESC LIMIT 1`

func (s *Service) outlineOf(ctx context.Context, list int64, o *Outline) error {
	var b []byte
	err := s.cfg.DB.QueryRow(ctx, readOutlineSQL, list).Scan(&b)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && b == nil {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, o)
	}
	if err != nil {
		return fmt.Errorf("read outline: %w", err)
	}
	return nil
}

// records are the messages of rows after the given one; columns are those whose titles the messages use.
func (s *Service) records(ctx context.Context, list int64, columns []Column, after, limit int) ([]RecordResult, error) {
	rows, err := s.cfg.DB.Query(ctx, protocolSQL, pgx.NamedArgs{"list": list, "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read protocol: %w", err)
	}
	records := []RecordResult{}
	var row, part, kind int
	var code RuleCode
	var id, name string
	_, err = pgx.ForEachRow(rows, []any{&row, &part, &id, &kind, &code, &name}, func() error {
		if n := len(records); n == 0 || records[n-1].Row != row {
			records = append(records, RecordResult{Row: row, Part: part, ExternalID: id, RecordOK: true})
		}
		r := &records[len(records)-1]
		r.RecordOK = r.RecordOK && kind != TypeError
		r.Messages = append(r.Messages, RecordMessage{MessageType: kind, RuleCode: code, Field: name, Report: Message{code, name}.Report(columns)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read protocol: %w", err)
	}
	return records, nil
}

// checkedAt is when the list's check was over; nil before that.
func (s *Service) checkedAt(ctx context.Context, list int64) (*time.Time, error) {
	return journal.LastAt(ctx, s.cfg.DB, list, journal.ListChecked, journal.ListRejected)
}

// WriteProtocol writes the whole protocol as one JSON document, however many rows it has.
func (s *Service) WriteProtocol(ctx context.Context, p journal.Principal, id uuid.UUID, w io.Writer) error {
	first, err := s.Protocol(ctx, p, id, 0, 1)
	if err != nil {
		return err
	}
	first.ErrorRecords, first.Next = []RecordResult{}, 0
	head, err := json.Marshal(first)
	if err != nil {
		return fmt.Errorf("encode protocol: %w", err)
	}
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.Write(head[:len(head)-len("]}")])
	after, sep := 0, ""
	for {
		records, err := s.records(ctx, l.No, first.Columns, after, 5000)
		if err != nil {
			return err
		}
		for i := range records {
			b, err := json.Marshal(records[i])
			if err != nil {
				return fmt.Errorf("encode protocol: %w", err)
			}
			_, _ = out.WriteString(sep)
			_, _ = out.Write(b)
			sep, after = ",", records[i].Row
		}
		if len(records) < 5000 {
			break
		}
	}
	_, _ = out.WriteString("]}")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write protocol: %w", err)
	}
	return nil
}

// Preview is a row as it will leave, or why it will not.
type Preview struct {
	Row            int
	ExternalID     string
	Accepted       bool
	NotificationID dispatch.NotificationID // 0 when not accepted
	Phone          string                  // masked
	Text           string
	Segments       int
	Channels       []string
	Zones          string
	NotBefore      time.Time
	ValidUntil     time.Time
	InformBy       time.Time
	LifeEvent      string
	Template       string
	Messages       []RecordMessage
}

// Preview reads a row of the stored file again and shows it as it will leave. That somebody looked is in the journal.
func (s *Service) Preview(ctx context.Context, p journal.Principal, id uuid.UUID, row int) (Preview, error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return Preview{}, err
	}
	if !mayRead(p) {
		return Preview{}, ErrForbidden
	}
	if l.State == Receiving || l.State == Checking || l.State == Rejected {
		return Preview{}, s.wrongState(l)
	}
	out, err := s.preview(ctx, l, row)
	if err != nil {
		return Preview{}, err
	}
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.PersonalViewed, ListNo: l.No, Agency: l.Agency,
			Notification: int64(out.NotificationID), Data: journal.Fields("what", "preview", "row", fmt.Sprint(row))})
	})
	return out, err
}

const storedFileSQL = `SELECT file_no, format, size, at FROM list_files WHERE list_no = $1 AND complete ORDER BY file_no DESC LIMIT 1`

func (s *Service) preview(ctx context.Context, l *List, want int) (Preview, error) {
	c := claim{list: l.No}
	if err := s.cfg.DB.QueryRow(ctx, storedFileSQL, l.No).Scan(&c.file, &c.format, &c.size, &c.at); err != nil {
		return Preview{}, fmt.Errorf("find file: %w", err)
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	if err != nil {
		return Preview{}, err
	}
	e, err := s.readEnvelope(ctx, s.cfg.DB, l.No, c.file, key)
	if err != nil {
		return Preview{}, err
	}
	file := &sealedFile{ctx: ctx, db: s.cfg.DB, key: key, list: l.No, file: c.file, size: c.size}
	k, rows, err := s.checkerFor(l, e, c, file)
	if err != nil {
		return Preview{}, file.cause(err)
	}
	for ctx.Err() == nil {
		row, err := rows.Next()
		switch {
		case errors.Is(err, io.EOF):
			return Preview{}, ErrRowNotFound
		case err != nil:
			return Preview{}, file.cause(err)
		case row.No < want:
			continue
		case row.No > want:
			return Preview{}, ErrRowNotFound
		}
		return s.shown(ctx, l, k.header.columns, k.check(row))
	}
	return Preview{}, ctx.Err()
}

// shown joins the row with what the database knows of it: its id, and the warnings that needed other rows.
func (s *Service) shown(ctx context.Context, l *List, columns []Column, row checked) (Preview, error) {
	r := &row.row
	out := Preview{Row: int(r.RowNo), ExternalID: r.ExternalID, Text: r.Content.Text, Segments: r.Segments, Channels: r.Channels, Zones: string(r.Zones),
		NotBefore: r.NotBefore, ValidUntil: r.ValidUntil, InformBy: r.InformBy, LifeEvent: r.LifeEvent, Template: r.Template}
	if len(r.Content.Phones) > 0 {
		out.Phone = r.Content.Phones[0].String()
	}
	records, err := s.records(ctx, l.No, columns, int(r.RowNo)-1, 1)
	if err != nil {
		return Preview{}, err
	}
	out.Accepted = true
	if len(records) > 0 && records[0].Row == out.Row {
		out.Messages, out.Accepted = records[0].Messages, records[0].RecordOK && !records[0].skipped()
	}
	if !out.Accepted {
		return out, nil
	}
	ids, err := dispatch.ByRowNo(ctx, s.cfg.DB, l.No, []int32{r.RowNo})
	if err != nil {
		return Preview{}, err
	}
	if len(ids) == 0 {
		return Preview{}, fmt.Errorf("row %d of list %d is accepted and not there", r.RowNo, l.No)
	}
	out.NotificationID = ids[len(ids)-1]
	return out, nil
}

// Results hands out what became of every accepted row, in the order of the file.
func (s *Service) Results(ctx context.Context, p journal.Principal, id uuid.UUID) (iter.Seq2[dispatch.Status, error], error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return nil, err
	}
	return dispatch.Ends(ctx, s.cfg.DB, l.No), nil
}

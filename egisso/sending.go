package egisso

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"ekc/ingest"
)

// Sending is a list on its way into a topic of the feed, from the side of its sender.
type Sending struct {
	Topic  string
	Source string // participant code of the list's agency
	ListID uuid.UUID
	Header ingest.Header
	Rows   int // of a part at most; 0 = MaxRows
	Now    time.Time
}

// RowSource hands on the rows of a list, the same each time it is called.
type RowSource func(take func(ingest.InputRow) error) error

// ErrNoRows is said of a list without rows.
var ErrNoRows = errors.New("the list has no rows")

// ErrTooManyParts is said of a list that does not fit into its parts.
var ErrTooManyParts = fmt.Errorf("the list needs more than %d parts", MaxParts)

// Each cuts a list into messages and hands them on, each a Record for its topic. The rows are read twice, because every part says how many
// there are; nothing is handed on unless the contract takes all of it, else the error is a *Problem whose row is that of the list.
func (s *Sending) Each(rows RowSource, emit func(Record) error) error {
	parts := 0
	ids := newIDSet()
	var faults problems
	err := s.cut(rows, 0, func(p *Part, r Record) error {
		parts = p.Part
		m, err := Parse(r.Headers, r.Value, s.Now)
		var first *Problem
		if errors.As(err, &first) {
			for _, fault := range append([]*Problem{{first.Code, first.Detail, first.Field, first.Row, nil}}, first.Others...) {
				if fault.Row > 0 {
					fault.Detail = fmt.Sprintf("Часть %d. %s", p.Part, fault.Detail)
					fault.Row = p.Row(fault.Row - 1)
				}
				if len(faults.all) < maxProblems {
					faults.all = append(faults.all, fault)
				}
			}
			return nil
		}
		for i := range m.Part.Rows {
			if ids.put(m.Part.Rows[i].ExternalID) {
				faults.add(CodeIDTwice, p.Row(i), "rows.external_id", "Такой же внешний номер в другой части списка.")
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case faults.any():
		return faults.err()
	case parts == 0:
		return ErrNoRows
	case parts > MaxParts:
		return ErrTooManyParts
	}
	return s.cut(rows, parts, func(_ *Part, r Record) error { return emit(r) })
}

// cut makes the messages. While it is not known how many there are, each is said to be the last.
func (s *Sending) cut(rows RowSource, parts int, take func(*Part, Record) error) error {
	most := s.Rows
	if most <= 0 || most > MaxRows {
		most = MaxRows
	}
	p := &Part{ListID: s.ListID, Part: 1, Parts: MaxParts, Header: s.Header}
	head, err := s.record(p)
	if err != nil {
		return err
	}
	room := MaxMessage - len(head.Value) - len("null") - 8 // of part and of the id, which are short here
	size := 0
	flush := func() error {
		if p.Parts = parts; parts == 0 {
			p.Parts = min(p.Part, MaxParts)
		}
		r, err := s.record(p)
		if err == nil {
			err = take(p, r)
		}
		p.Part, p.Rows, size = p.Part+1, p.Rows[:0], 0
		return err
	}
	err = rows(func(row ingest.InputRow) error {
		b, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("encode row: %w", err)
		}
		if len(p.Rows) > 0 && (len(p.Rows) == most || size+len(b)+1 > room) {
			if err := flush(); err != nil {
				return err
			}
		}
		size += len(b) + 1
		p.Rows = append(p.Rows, row)
		return nil
	})
	if err != nil || len(p.Rows) == 0 {
		return err
	}
	return flush()
}

// record is a part as a message in structured mode. Sent again it is the same but for its time.
func (s *Sending) record(p *Part) (Record, error) {
	value, err := json.Marshal(struct {
		SpecVersion     string    `json:"specversion"`
		ID              string    `json:"id"`
		Source          string    `json:"source"`
		Type            string    `json:"type"`
		Time            time.Time `json:"time"`
		DataContentType string    `json:"datacontenttype"`
		Data            *Part     `json:"data"`
	}{"1.0", fmt.Sprintf("%s.%d", s.ListID, p.Part), s.Source, TypePart, s.Now.UTC(), "application/json", p})
	if err != nil {
		return Record{}, fmt.Errorf("encode part: %w", err)
	}
	return Record{Topic: s.Topic, Key: []byte(s.ListID.String()), Value: value, Headers: []Header{{"content-type", []byte(contentType)}}}, nil
}

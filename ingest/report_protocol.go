package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// ProtocolPage is a load protocol, or, where that would be too large for one message, a part of it: each page has the totals, and the rows
// that follow those of the page before.
type ProtocolPage struct {
	Page  int `json:"page"` // from 1
	Pages int `json:"pages"`
	Protocol
}

// protocolHead is left for what a page has beside its rows.
const protocolHead = 16 << 10

// ProtocolPages hands out the load protocol of a list whose check is over, in pages of at most so many bytes of JSON. Memory does not grow
// with the list: the rows are read twice where there are several pages.
func (s *Service) ProtocolPages(ctx context.Context, l *List, most int) iter.Seq2[ProtocolPage, error] {
	return func(yield func(ProtocolPage, error) bool) {
		page := ProtocolPage{Page: 1, Protocol: l.protocol()}
		err := s.outlineOf(ctx, l.No, &page.Outline)
		if err == nil {
			page.FinishProcessTime, err = s.checkedAt(ctx, l.No)
		}
		if err == nil {
			err = s.packRecords(ctx, l, most-protocolHead, func([]RecordResult) bool { page.Pages++; return true })
		}
		if err == nil {
			err = s.packRecords(ctx, l, most-protocolHead, func(records []RecordResult) bool {
				page.ErrorRecords = records
				more := yield(page, nil)
				page.Page++
				return more
			})
		}
		if err != nil {
			yield(ProtocolPage{}, err)
		}
	}
}

// packRecords gives the verdicts of a list's rows to take, as many at a time as fit into so many bytes; once, with none, when there are none.
func (s *Service) packRecords(ctx context.Context, l *List, most int, take func([]RecordResult) bool) error {
	const atOnce = 1000
	packed, size := []RecordResult{}, 0
	for after := 0; ; {
		records, err := s.records(ctx, l.No, nil, after, atOnce)
		if err != nil {
			return err
		}
		for i := range records {
			r := &records[i]
			after = r.Row
			r.Part, r.Row = l.place(r.Part, r.Row)
			b, err := json.Marshal(r)
			if err != nil {
				return fmt.Errorf("encode protocol: %w", err)
			}
			if size += len(b) + 1; size > most && len(packed) > 0 {
				if !take(packed) {
					return nil
				}
				packed, size = []RecordResult{}, len(b)+1
			}
			packed = append(packed, *r)
		}
		if len(records) < atOnce {
			take(packed)
			return nil
		}
	}
}

// place is where a row of the list stands in the terms of its sender: the part, and the place in it from 1.
func (l *List) place(part, row int) (int, int) {
	if l.Kind != KindFeed {
		return part, row
	}
	return (row-1)/PartRows + 1, (row-1)%PartRows + 1
}

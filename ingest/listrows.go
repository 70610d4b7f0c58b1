package ingest

import (
	"io"
	"strings"
)

// listRows are the rows of a list under its header, as they were sent.
type listRows struct {
	rows   rowReader
	header *header
	above  []sheetRow // titles of the list and the like; no rows of it
	ahead  []sheetRow // read while the header was looked for
}

// openList opens a list's file, or its rows that came as JSON, at the first row under the header. Whoever reads a list does it by this, so
// that its columns are always those of its own mapping. The rows come also with a fault of the columns, as far as they were understood.
func (s *Service) openList(e envelope, c claim, file io.ReaderAt) (*listRows, error) {
	if c.format == formatTable {
		table, h, err := openTable(file, c.size)
		if err != nil {
			return nil, err
		}
		return &listRows{rows: table, header: h}, nil
	}
	if c.format == formatFeed {
		table := newTable(e.Feed.Columns)
		return &listRows{rows: &feedReader{file: file.(*sealedFile), parts: e.Feed.Parts}, header: table.header()}, nil
	}
	t := titlesOf(e)
	rows, err := openRows(file, c.size, s.cfg.Limits, t)
	if err != nil {
		return nil, err
	}
	_, list, err := readHeader(rows, t)
	return list, err
}

// Next implements rowReader.
func (l *listRows) Next() (sheetRow, error) {
	var row sheetRow
	if len(l.ahead) > 0 {
		row, l.ahead = l.ahead[0], l.ahead[1:]
	} else {
		var err error
		if row, err = l.rows.Next(); err != nil {
			return row, err
		}
	}
	// A value that stands under nobody's title would be lost.
	for _, c := range l.header.covered {
		if c.column < len(row.Cells) && strings.TrimSpace(row.Cells[c.column]) != "" && row.Cells[c.column] != row.Cells[c.first] {
			return row, ErrMergedTitle.with(c.first+1, c.column+1)
		}
	}
	return row, nil
}

func (l *listRows) notes() []Note { return notesOf(l.rows) }

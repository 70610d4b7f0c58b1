package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// feedReader reads the stored parts of a list of the feed, one after another; of each it holds the rows that are still to come.
type feedReader struct {
	file  *sealedFile
	parts int

	part  int // the one that is read, from 1
	row   int // of it, the last one handed out
	plain []byte
	rest  []byte
	cells []string
}

// Next implements rowReader.
func (r *feedReader) Next() (sheetRow, error) {
	for len(r.rest) == 0 {
		if r.part == r.parts {
			return sheetRow{}, io.EOF
		}
		r.part, r.row = r.part+1, 0
		f := r.file
		plain, err := openStored(f.ctx, f.db, f.key, f.list, f.file, int32(r.part), r.plain[:0])
		if err != nil {
			f.failed = err
			return sheetRow{}, err
		}
		r.plain, r.rest = plain, plain
	}
	line, rest, _ := bytes.Cut(r.rest, []byte("\n"))
	r.rest = rest
	r.cells = r.cells[:0]
	if err := json.Unmarshal(line, &r.cells); err != nil {
		return sheetRow{}, fmt.Errorf("read stored row: %w", err)
	}
	r.row++
	return sheetRow{No: (r.part-1)*PartRows + r.row, Cells: r.cells}, nil
}

// partOf is the number of the part in which a row came: of the message for a list of the feed, of the slice for any other.
func partOf(format string, row int32, slice int) int32 {
	if format == formatFeed {
		return (row-1)/PartRows + 1
	}
	return int32(slice)
}

package ingest

import (
	"encoding/binary"
	"errors"
	"io"
)

// appendFeedRows writes rows as a part is stored: of each row the number of its cells, then each cell led by its length, all as uvarints.
func appendFeedRows(b []byte, t *table, rows []InputRow) []byte {
	_ = t.each(rows, func(cells []string) error {
		b = binary.AppendUvarint(b, uint64(len(cells)))
		for _, cell := range cells {
			b = append(binary.AppendUvarint(b, uint64(len(cell))), cell...)
		}
		return nil
	})
	return b
}

// feedReader reads the stored parts of a list of the feed, one after another; of each it holds the rows that are still to come.
type feedReader struct {
	file  *sealedFile
	parts int

	part  int    // the one that is read, from 1
	row   int    // of it, the last one handed out
	sized []byte // the part as it was opened, for the next one
	rest  string
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
		plain, err := openStored(f.ctx, f.db, f.key, f.list, f.file, int32(r.part), r.sized[:0])
		if err != nil {
			f.failed = err
			return sheetRow{}, err
		}
		r.sized, r.rest = plain, string(plain)
	}
	n, err := r.length()
	if err != nil {
		return sheetRow{}, err
	}
	r.cells = r.cells[:0]
	for range n {
		size, err := r.length()
		if err != nil {
			return sheetRow{}, err
		}
		r.cells = append(r.cells, r.rest[:size])
		r.rest = r.rest[size:]
	}
	r.row++
	return sheetRow{No: (r.part-1)*PartRows + r.row, Cells: r.cells}, nil
}

var errStoredRow = errors.New("a stored row is not whole")

// length takes a number off the rest, of something that is still there: cells are at least an octet each.
func (r *feedReader) length() (int, error) {
	var n uint64
	for i := range min(len(r.rest), binary.MaxVarintLen32) {
		n |= uint64(r.rest[i]&0x7f) << (7 * i)
		if r.rest[i] < 0x80 {
			if r.rest = r.rest[i+1:]; n > uint64(len(r.rest)) {
				break
			}
			return int(n), nil
		}
	}
	r.file.failed = errStoredRow
	return 0, errStoredRow
}

// partOf is the number of the part in which a row came: of the message for a list of the feed, of the slice for any other.
func partOf(format string, row int32, slice int) int32 {
	if format == formatFeed {
		return (row-1)/PartRows + 1
	}
	return int32(slice)
}

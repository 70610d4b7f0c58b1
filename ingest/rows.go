package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sheetRow is one row of a file as its sender sees it.
type sheetRow struct {
	No    int      // as the sender counts: the row of the sheet, the record of the CSV; the header is counted too
	Cells []string // in the order of columns; valid until the next call of Next
	Long  bool     // over the limits: its cells are cut
	// Merged has the column in which the cell of each column begins, of rows where the header may stand and cells are wider than a column.
	Merged []int
}

// Note is something its sender should know of a file beside its rows.
type Note struct {
	Code   string `json:"code"`
	Report string `json:"report"`
}

func noteOf(code, report string, n int) Note { return Note{code, fmt.Sprintf(report, n)} }

// notesOf are a reader's notes, where it has any to make; whole only after its last row.
func notesOf(r rowReader) []Note {
	if n, ok := r.(interface{ notes() []Note }); ok {
		return n.notes()
	}
	return nil
}

// rowReader hands out the rows that have a value, in order. Next returns io.EOF after the last, a *Fault when the file cannot be read
// on: what was read before then must not be trusted to be the whole.
type rowReader interface {
	Next() (sheetRow, error)
}

// Limits bound what a file may cost before it is understood. Zero fields take the defaults.
type Limits struct {
	FileBytes     int64 // of the file as it was sent; 200 MiB
	UnpackedBytes int64 // of a workbook's parts together, as declared and as found; 2 GiB
	StringBytes   int64 // of a workbook's shared strings, which are held in memory; 256 MiB
	RowBytes      int   // of one row; 256 KiB
	FieldBytes    int   // of one cell; 32 KiB, which is more than a text may have
	Columns       int   // 512; a value further right is ErrTooManyColumns
	Rows          int   // 5,000,000
}

func (l Limits) withDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	defInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.FileBytes, 200<<20)
	def(&l.UnpackedBytes, 2<<30)
	def(&l.StringBytes, 256<<20)
	defInt(&l.RowBytes, 256<<10)
	defInt(&l.FieldBytes, 32<<10)
	defInt(&l.Columns, 512)
	defInt(&l.Rows, 5_000_000)
	return l
}

// CountRows reads a file to its end, below its header, as a check does, and does nothing with what it reads: what reading alone costs.
func CountRows(file io.ReaderAt, size int64) (int, error) {
	t := titles{}
	r, err := openRows(file, size, Limits{}.withDefaults(), t)
	if err != nil {
		return 0, err
	}
	_, rows, err := readHeader(r, t)
	for n := 0; ; n++ {
		if err == nil {
			_, err = rows.Next()
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// openRows recognises a file by its content, never by its name, and returns its reader. The titles only help to tell the separator.
func openRows(file io.ReaderAt, size int64, limits Limits, t titles) (rowReader, error) {
	if size > limits.FileBytes {
		return nil, ErrTooLarge.with(limits.FileBytes >> 20)
	}
	head := make([]byte, min(size, 4096))
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, size), head); err != nil {
		return nil, err
	}
	if len(head) == 0 {
		return nil, ErrEmptyFile
	}
	if fault := foreignFormat(file, size, head); fault != nil {
		return nil, fault
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) {
		r, err := openXLSX(file, size, limits)
		return orNil(r, err), err
	}
	r, err := openCSV(file, size, limits, t)
	return orNil(r, err), err
}

func orNil[R rowReader](r R, err error) rowReader {
	if err != nil {
		return nil
	}
	return r
}

// foreignFormat recognises the formats that get a sentence instead of a reading.
func foreignFormat(file io.ReaderAt, size int64, head []byte) error {
	if bytes.HasPrefix(head, []byte("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")) {
		return compoundFault(file, size)
	}
	for _, m := range []struct {
		magic string
		fault *Fault
	}{
		{"%PDF", ErrFormatOther}, {"{\\rtf", ErrFormatOther}, {"Rar!", ErrFormatOther}, {"7z\xBC\xAF", ErrFormatOther}, {"\x1F\x8B", ErrFormatOther},
		{"\x89PNG", ErrFormatOther}, {"\xFF\xD8\xFF", ErrFormatOther}, {"PK\x05\x06", ErrFormatOther}, {"PK\x07\x08", ErrFormatOther},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.fault
		}
	}
	if isDBF(head, size) {
		return ErrFormatDBF
	}
	text := strings.ToLower(strings.TrimLeft(headText(head), "\uFEFF \t\r\n"))
	switch {
	case strings.HasPrefix(text, "mime-version:"):
		return ErrFormatHTML
	case strings.HasPrefix(text, "<?xml") && !strings.Contains(text, "<html"):
		return ErrFormatXML
	case strings.HasPrefix(text, "<"): // no title of a column begins so
		return ErrFormatHTML
	}
	return nil
}

// headText is the beginning of a text in whichever encoding markup may come.
func headText(head []byte) string {
	if enc, ok := utf16By(head); ok {
		b, _ := io.ReadAll(decodeText(bytes.NewReader(head), enc))
		return string(b)
	}
	return string(head)
}

// compoundFault tells a workbook behind a password from an old XLS: both are OLE compound files ([MS-CFB]), the first keeps the sealed
// workbook in a stream named EncryptedPackage ([MS-OFFCRYPTO] 2.3.4.4).
func compoundFault(file io.ReaderAt, size int64) error {
	const sector = 512
	head := make([]byte, sector)
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, size), head); err != nil {
		return ErrFormatXLS
	}
	shift := binary.LittleEndian.Uint16(head[30:])
	if shift < 7 || shift > 16 {
		return ErrFormatXLS
	}
	directory := (int64(binary.LittleEndian.Uint32(head[48:])) + 1) << shift
	entries := make([]byte, 8<<10)
	n, err := io.NewSectionReader(file, directory, int64(len(entries))).Read(entries)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var name []byte
	for _, c := range []byte("EncryptedPackage") {
		name = append(name, c, 0)
	}
	if bytes.Contains(entries[:n], name) {
		return ErrPassword
	}
	return ErrFormatXLS
}

// isDBF checks the header of dBASE III and its kin: version, date of change, a header length that fits its 32-byte field records, and
// a size that is what the header says.
func isDBF(head []byte, size int64) bool {
	if len(head) < 65 {
		return false
	}
	switch head[0] {
	case 0x02, 0x03, 0x04, 0x05, 0x30, 0x31, 0x32, 0x43, 0x63, 0x83, 0x8B, 0x8C, 0xCB, 0xF5, 0xFB:
	default:
		return false
	}
	records := int64(binary.LittleEndian.Uint32(head[4:]))
	header := int64(binary.LittleEndian.Uint16(head[8:]))
	width := int64(binary.LittleEndian.Uint16(head[10:]))
	whole := header + records*width
	return head[2] >= 1 && head[2] <= 12 && head[3] >= 1 && head[3] <= 31 && width > 0 && header >= 65 && size >= whole && size <= whole+2
}

// blank reports whether no cell has anything but space.
func blank(cells []string) bool {
	for _, c := range cells {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}

// isEnd tells the end of a file from a fault of it.
func isEnd(err error) (error, bool) {
	if errors.Is(err, io.EOF) {
		return nil, true
	}
	return err, false
}

package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"ekc/citizen"
	"ekc/journal"
)

// sealedFile reads a stored file at any place. It holds a few opened chunks, so memory does not grow with the file. It is for one
// goroutine at a time.
type sealedFile struct {
	ctx  context.Context
	db   citizen.DB
	key  *citizen.DataKey
	list int64
	file int32
	size int64

	recent [openChunks]openChunk // the one used last first
	failed error                 // of the store itself: whoever reads a part of a zip cannot tell it from a damaged file
}

// cause is why reading ended: what the store said, where it said anything.
func (f *sealedFile) cause(err error) error {
	if err != nil && f.failed != nil {
		return f.failed
	}
	return err
}

// openChunks is enough for the directory of a zip beside the two parts that are read in turn.
const openChunks = 4

type openChunk struct {
	no    int32
	plain []byte
}

const readChunkSQL = `SELECT sealed FROM list_file_chunks WHERE list_no = $1 AND file_no = $2 AND chunk_no = $3`

// ReadAt implements io.ReaderAt.
func (f *sealedFile) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		if off >= f.size {
			return n, io.EOF
		}
		chunk, err := f.chunk(int32(off/chunkSize) + 1)
		if err != nil {
			return n, err
		}
		from := int(off % chunkSize)
		if from >= len(chunk) {
			f.failed = fmt.Errorf("stored file of list %d is shorter than it should be", f.list)
			return n, f.failed
		}
		k := copy(p[n:], chunk[from:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

func (f *sealedFile) chunk(no int32) ([]byte, error) {
	for i := range f.recent {
		if c := f.recent[i]; c.no == no {
			copy(f.recent[1:i+1], f.recent[:i])
			f.recent[0] = c
			return c.plain, nil
		}
	}
	last := f.recent[len(f.recent)-1]
	plain, err := openStored(f.ctx, f.db, f.key, f.list, f.file, no, last.plain[:0])
	if err != nil {
		f.failed = err
		return nil, err
	}
	copy(f.recent[1:], f.recent[:])
	f.recent[0] = openChunk{no: no, plain: plain}
	return plain, nil
}

func openStored(ctx context.Context, db citizen.DB, key *citizen.DataKey, list int64, file, chunk int32, dst []byte) ([]byte, error) {
	var sealed []byte
	if err := db.QueryRow(ctx, readChunkSQL, list, file, chunk).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("read chunk %d of list %d: %w", chunk, list, err)
	}
	plain, err := key.Open(dst, sealed, chunkAAD(list, file, chunk))
	if err != nil {
		return nil, fmt.Errorf("open chunk %d of list %d: %w", chunk, list, err)
	}
	return plain, nil
}

func (s *Service) readEnvelope(ctx context.Context, list int64, file int32, key *citizen.DataKey) (envelope, error) {
	var e envelope
	plain, err := openStored(ctx, s.cfg.DB, key, list, file, 0, nil)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(plain, &e); err != nil {
		return e, fmt.Errorf("read header of list %d: %w", list, err)
	}
	return e, nil
}

// formatTable is how rows that came as JSON are kept: a line of JSON for the columns, then one for each row.
const formatTable = "json"

// tableReader reads a stored table of JSON rows.
type tableReader struct {
	in    *bufio.Reader
	no    int
	cells []string
}

func openTable(file io.ReaderAt, size int64) (*tableReader, *header, error) {
	r := &tableReader{in: bufio.NewReaderSize(io.NewSectionReader(file, 0, size), 64<<10)}
	var columns []Column
	line, err := r.line()
	if err == nil {
		err = json.Unmarshal(line, &columns)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read stored rows: %w", err)
	}
	h := &header{columns: columns}
	for i := range h.at {
		h.at[i] = -1
	}
	for i, c := range columns {
		for f, name := range fieldNames {
			if name != "" && name == c.Name {
				h.at[f] = i
			}
		}
	}
	return r, h, nil
}

func (r *tableReader) line() ([]byte, error) {
	line, err := r.in.ReadBytes('\n')
	if err != nil && !(errors.Is(err, io.EOF) && len(line) > 0) {
		return nil, err
	}
	return line, nil
}

// Next implements rowReader.
func (r *tableReader) Next() (sheetRow, error) {
	line, err := r.line()
	if err != nil {
		return sheetRow{}, err
	}
	r.cells = r.cells[:0]
	if err := json.Unmarshal(line, &r.cells); err != nil {
		return sheetRow{}, fmt.Errorf("read stored row: %w", err)
	}
	r.no++
	return sheetRow{No: r.no, Cells: r.cells}, nil
}

// InputRow is a row that comes as JSON. Data are the values of a template's parameters by their names.
type InputRow struct {
	ExternalID string            `json:"external_id,omitempty"`
	Phone      string            `json:"phone,omitempty"`
	Phones     []string          `json:"phones,omitempty"`
	SNILS      string            `json:"snils,omitempty"`
	FamilyName string            `json:"family_name,omitempty"`
	FirstName  string            `json:"first_name,omitempty"`
	Patronymic string            `json:"patronymic,omitempty"`
	BirthDate  string            `json:"birth_date,omitempty"`
	OKTMO      string            `json:"oktmo,omitempty"`
	LifeEvent  string            `json:"life_event,omitempty"`
	EventDate  string            `json:"event_date,omitempty"`
	Measure    string            `json:"measure,omitempty"`
	Language   string            `json:"language,omitempty"`
	Text       string            `json:"text,omitempty"`
	Template   string            `json:"template,omitempty"`
	Channels   []string          `json:"channels,omitempty"`
	ValidUntil string            `json:"valid_until,omitempty"`
	NotBefore  string            `json:"not_before,omitempty"`
	InformBy   string            `json:"inform_by,omitempty"`
	Data       map[string]string `json:"data,omitempty"`
	Ext        json.RawMessage   `json:"ext,omitempty"`
}

func (r *InputRow) fixed() [fieldCount]string {
	var v [fieldCount]string
	phones := r.Phones
	if r.Phone != "" {
		phones = append([]string{r.Phone}, phones...)
	}
	for i, f := range [...]field{fieldPhone, fieldPhone2, fieldPhone3} {
		if i < len(phones) {
			v[f] = phones[i]
		}
	}
	v[fieldExternalID], v[fieldSNILS], v[fieldFamily], v[fieldFirst], v[fieldPatronymic] = r.ExternalID, r.SNILS, r.FamilyName, r.FirstName, r.Patronymic
	v[fieldBirthDate], v[fieldOKTMO], v[fieldLifeEvent], v[fieldEventDate], v[fieldMeasure] = r.BirthDate, r.OKTMO, r.LifeEvent, r.EventDate, r.Measure
	v[fieldLanguage], v[fieldText], v[fieldTemplate], v[fieldChannels] = r.Language, r.Text, r.Template, strings.Join(r.Channels, ",")
	v[fieldValidUntil], v[fieldNotBefore], v[fieldInformBy], v[fieldExt] = r.ValidUntil, r.NotBefore, r.InformBy, string(r.Ext)
	return v
}

// Refusals of rows that come as JSON.
var (
	ErrNoInput       = &Fault{FaultInvalid, "no_rows", "В списке нет ни одной строки."}
	ErrTooManyFields = &Fault{FaultInvalid, "too_many_fields", "В data больше 200 разных имён. Оставьте те, что нужны шаблону."}
)

const maxData = 200

// appendTable writes rows in the stored form: fixed columns that any row uses, then data by name in order of appearance.
func appendTable(w *bytes.Buffer, rows []InputRow) error {
	if len(rows) == 0 {
		return ErrNoInput
	}
	used := [fieldCount]bool{fieldPhone: true}
	place := make(map[string]int)
	var names []string
	values := make([][fieldCount]string, len(rows))
	for i := range rows {
		values[i] = rows[i].fixed()
		for f := range values[i] {
			used[f] = used[f] || values[i][f] != ""
		}
		for name := range rows[i].Data {
			if _, ok := place[name]; !ok {
				if len(names) == maxData {
					return ErrTooManyFields
				}
				place[name] = len(names)
				names = append(names, name)
			}
		}
	}
	var columns []Column
	var fixed []field
	for f, ok := range used {
		if ok {
			// A fixed value answers to its title in a template, unless data has a value of that name.
			columns = append(columns, Column{Title: fixedColumnTitle(field(f), place), Name: fieldNames[f]})
			fixed = append(fixed, field(f))
		}
	}
	for _, name := range names {
		columns = append(columns, Column{Title: name})
	}
	enc := json.NewEncoder(w)
	if err := enc.Encode(columns); err != nil {
		return fmt.Errorf("encode rows: %w", err)
	}
	cells := make([]string, len(columns))
	for i := range rows {
		for k, f := range fixed {
			cells[k] = values[i][f]
		}
		for k, name := range names {
			cells[len(fixed)+k] = rows[i].Data[name]
		}
		if err := enc.Encode(cells); err != nil {
			return fmt.Errorf("encode rows: %w", err)
		}
	}
	return nil
}

func fixedColumnTitle(f field, data map[string]int) string {
	title := titleOf(f)
	if title == "" {
		return ""
	}
	if _, taken := data[title]; taken {
		return ""
	}
	return title
}

// tableOf is a list whose rows came as JSON in its stored form, with its kind.
func tableOf(h Header, rows []InputRow) (table *bytes.Buffer, kind string, err error) {
	if len(h.Mapping) > 0 { // their fields have our names
		return nil, "", ErrHeaderField.with("mapping")
	}
	table = &bytes.Buffer{}
	if err := appendTable(table, rows); err != nil {
		return nil, "", err
	}
	if len(rows) == 1 {
		return table, KindExpress, nil
	}
	return table, KindJSON, nil
}

// SubmitJSON takes a list whose rows came as JSON. One row is an express list: checked ahead of all files, sent ahead of all lists.
func (s *Service) SubmitJSON(ctx context.Context, p journal.Principal, h Header, rows []InputRow) (Ref, error) {
	table, kind, err := tableOf(h, rows)
	if err != nil {
		return Ref{}, err
	}
	return s.submit(ctx, p, h, kind, formatTable, table)
}

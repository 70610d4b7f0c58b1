package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"ekc/journal"
)

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
	return r, newTable(columns).header(), nil
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

// table is the columns of stored rows: fixed columns that any row uses, then data by name, each in order of appearance.
type table struct {
	columns []Column
	fixed   [fieldCount]int // index of each fixed column, -1 where no row has used it
	data    map[string]int
}

func newTable(columns []Column) *table {
	t := &table{data: make(map[string]int)}
	for i := range t.fixed {
		t.fixed[i] = -1
	}
	for _, c := range columns {
		t.put(c)
	}
	return t
}

func (t *table) put(c Column) {
	if f, ok := fieldNamed(c.Name); ok {
		t.fixed[f] = len(t.columns)
	} else {
		t.data[c.Title] = len(t.columns)
	}
	t.columns = append(t.columns, c)
}

func fieldNamed(name string) (field, bool) {
	f := slices.Index(fieldNames[:], name)
	return field(max(f, 0)), name != "" && f >= 0
}

// cover adds the columns that the rows need and the table does not have. It never moves one that is there.
func (t *table) cover(rows []InputRow) error {
	used := [fieldCount]bool{fieldPhone: true}
	var names []string
	for i := range rows {
		for f, v := range rows[i].fixed() {
			used[f] = used[f] || v != ""
		}
		for _, name := range slices.Sorted(maps.Keys(rows[i].Data)) {
			if _, ok := t.data[name]; !ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(t.data)+len(names) > maxData {
		return ErrTooManyFields
	}
	for f, ok := range used {
		if ok && t.fixed[f] < 0 {
			t.put(Column{Title: titleOf(field(f)), Name: fieldNames[f]})
		}
	}
	for _, name := range names {
		t.put(Column{Title: name})
	}
	// A fixed value answers to its title in a template, unless data has a value of that name.
	for _, i := range t.fixed {
		if i >= 0 {
			if _, taken := t.data[t.columns[i].Title]; taken {
				t.columns[i].Title = ""
			}
		}
	}
	return nil
}

// each hands out the cells of rows one after another; they are valid until the next.
func (t *table) each(rows []InputRow, do func(cells []string) error) error {
	cells := make([]string, len(t.columns))
	for i := range rows {
		for f, v := range rows[i].fixed() {
			if k := t.fixed[f]; k >= 0 {
				cells[k] = v
			}
		}
		for name, k := range t.data {
			cells[k] = rows[i].Data[name]
		}
		if err := do(cells); err != nil {
			return err
		}
	}
	return nil
}

// header is the table's columns as a file's.
func (t *table) header() *header { return &header{columns: t.columns, at: t.fixed} }

// appendTable writes rows in the stored form, their columns first.
func appendTable(w *bytes.Buffer, rows []InputRow) error {
	if len(rows) == 0 {
		return ErrNoInput
	}
	t := newTable(nil)
	if err := t.cover(rows); err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	err := enc.Encode(t.columns)
	if err == nil {
		err = t.each(rows, func(cells []string) error { return enc.Encode(cells) })
	}
	if err != nil {
		return fmt.Errorf("encode rows: %w", err)
	}
	return nil
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

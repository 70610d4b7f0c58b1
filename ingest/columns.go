package ingest

import (
	"slices"
	"strings"

	"ekc/catalog"
)

// Column is one column of a file: its own title, and what it was taken for; Name is empty when it is only template data.
type Column struct {
	No     int    `json:"column,omitempty"` // from 1; in protocols
	Title  string `json:"title,omitempty"`  // protocols have it only where it is no word of the sender's alone, which may be a person's name
	Name   string `json:"name,omitempty"`
	Mapped bool   `json:"mapped,omitempty"` // a mapping says so, not our titles
}

// header says where each fixed column stands.
type header struct {
	row     int
	columns []Column
	at      [fieldCount]int // index of the column, -1 when there is none
	covered []coveredColumn
}

// coveredColumn stands under a title that is merged over several columns and belongs to the first of them.
type coveredColumn struct{ column, first int }

func (h *header) has(f field) bool { return h.at[f] >= 0 }

// value is the row's cell under a fixed title, trimmed.
func (h *header) value(cells []string, f field) string {
	i := h.at[f]
	if i < 0 || i >= len(cells) {
		return ""
	}
	return strings.TrimSpace(cells[i])
}

// Outline is what there is to say of a file beside its rows.
type Outline struct {
	Columns []Column `json:"columns,omitempty"` // what each was taken for, in their order; one without a name is template data
	Missing []string `json:"missing,omitempty"` // fixed columns that the file does not have
	Notes   []Note   `json:"notes,omitempty"`   // what was passed over or looks odd
}

// outline is for protocols: titles that nobody but the file knows are left out.
func (h *header) outline(known map[string]bool) *Outline {
	o := &Outline{Columns: slices.Clone(h.columns), Missing: h.missing()}
	for i := range o.Columns {
		c := &o.Columns[i]
		if c.No = i + 1; c.Name == "" && !c.Mapped && !known[catalog.Fold(c.Title)] {
			c.Title = ""
		}
	}
	return o
}

// knownTitles are those of the parameters of the catalogue's templates, folded.
func (c *checker) knownTitles() map[string]bool {
	known := make(map[string]bool)
	for _, t := range c.catalog.Templates(c.at) {
		if t.Agency != "" && t.Agency != c.agency {
			continue
		}
		for _, p := range t.Params {
			known[catalog.Fold(p.Name)], known[catalog.Fold(p.Title)] = true, true
		}
	}
	delete(known, "")
	return known
}

// outline is what there is to say of the file's columns.
func (c *checker) outline() *Outline { return c.header.outline(c.knownTitles()) }

// missing are the fixed columns that the file does not have, by our names.
func (h *header) missing() []string {
	var names []string
	for _, t := range fixedTitles {
		if !h.has(t.field) {
			names = append(names, t.name)
		}
	}
	return names
}

// readHeader reads up to the header: the row among the first ten that names most fixed columns. Rows above the header are not rows of the
// list; those below it come from the reader that is returned. The header comes also with a fault of its columns, as far as it was understood.
func readHeader(r rowReader, t titles) (*header, *listRows, error) {
	var seen []sheetRow
	best, most := -1, 0
	for len(seen) < headerRows {
		row, err := r.Next()
		if err != nil {
			if fault, end := isEnd(err); !end {
				return nil, nil, fault
			}
			break
		}
		seen = append(seen, keep(row))
		if row.No > headerRows {
			break
		}
		if n := t.count(row.Cells); n > most {
			best, most = len(seen)-1, n
		}
	}
	switch {
	case len(seen) == 0:
		return nil, nil, ErrEmptyFile
	case best < 0:
		return nil, nil, ErrNoHeader
	}
	h, err := headerIn(seen[best], t)
	return h, &listRows{rows: r, header: h, above: seen[:best], ahead: seen[best+1:]}, err
}

// headerIn takes a row for the header. Its error has the faults of all columns.
func headerIn(row sheetRow, t titles) (*header, error) {
	h := &header{row: row.No}
	for i := range h.at {
		h.at[i] = -1
	}
	var faults []*Fault
	for i, title := range row.Cells {
		title = strings.TrimSpace(title)
		if row.Merged != nil && row.Merged[i] != i {
			h.covered = append(h.covered, coveredColumn{i, row.Merged[i]})
			h.columns = append(h.columns, Column{})
			continue
		}
		f, mapped := t.field(title)
		if f != fieldNone {
			if h.at[f] >= 0 {
				faults = append(faults, ErrColumnTwice.with(titleOf(f), h.at[f]+1, i+1))
			}
			h.at[f] = i
		}
		h.columns = append(h.columns, Column{Title: title, Name: fieldNames[f], Mapped: mapped})
	}
	if row.Long {
		faults = append(faults, ErrLongTitle)
	}
	for _, title := range t.asked {
		if !slices.ContainsFunc(row.Cells, func(c string) bool { return catalog.Fold(c) == catalog.Fold(title) }) {
			faults = append(faults, ErrMappedTitle.with(title))
		}
	}
	if !h.has(fieldPhone) {
		faults = append(faults, ErrNoPhoneColumn)
	}
	return h, joined(faults)
}

// joined is one fault that says what all of them say; nil for none.
func joined(faults []*Fault) error {
	if len(faults) == 0 {
		return nil
	}
	all := *faults[0]
	for _, f := range faults[1:] {
		all.Detail += " " + f.Detail
	}
	return &all
}

// keep copies a row whose cells the reader will use again.
func keep(row sheetRow) sheetRow {
	row.Cells = append([]string(nil), row.Cells...)
	return row
}

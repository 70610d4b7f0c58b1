package ingest

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"ekc/catalog"
	"ekc/citizen"
)

// ReadRows reads a spreadsheet as its sender sees it and hands on its rows in the form in which rows come as JSON: columns with our titles,
// or with those of the mapping, are fields, all others data under their own titles. A row without an external id is named by its number. The
// values are what stands in the cells; nobody has looked at them yet. The error is a *Fault where the file is at fault.
func ReadRows(file io.ReaderAt, size int64, mapping map[string]string, take func(InputRow) error) error {
	columns, err := checkMapping(mapping)
	if err != nil {
		return err
	}
	t := titlesOf(envelope{Header: Header{Mapping: mapping}, Columns: columns})
	rows, err := openRows(file, size, Limits{}.withDefaults(), t)
	if err != nil {
		return err
	}
	h, list, err := readHeader(rows, t)
	if err != nil {
		return err
	}
	for {
		row, err := list.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && row.Long {
			err = &Fault{FaultInvalid, "row_too_long", "Строка " + strconv.Itoa(row.No) + ": ячейка больше 32 КБ или вся строка больше 256 КБ. Удалите лишнее."}
		}
		if err == nil {
			err = take(h.inputRow(row))
		}
		if err != nil {
			return err
		}
	}
}

// inputRow is a row of a file as one that comes as JSON.
func (h *header) inputRow(row sheetRow) InputRow {
	v := func(f field) string { return h.value(row.Cells, f) }
	r := InputRow{ExternalID: v(fieldExternalID), Phone: v(fieldPhone), SNILS: v(fieldSNILS), FamilyName: v(fieldFamily), FirstName: v(fieldFirst),
		Patronymic: v(fieldPatronymic), BirthDate: v(fieldBirthDate), OKTMO: v(fieldOKTMO), LifeEvent: v(fieldLifeEvent), EventDate: v(fieldEventDate),
		Measure: v(fieldMeasure), Language: v(fieldLanguage), Text: v(fieldText), Template: v(fieldTemplate), ValidUntil: v(fieldValidUntil),
		NotBefore: v(fieldNotBefore), InformBy: v(fieldInformBy), Data: make(map[string]string)}
	if r.ExternalID == "" {
		r.ExternalID = strconv.Itoa(row.No)
	}
	for _, f := range [...]field{fieldPhone2, fieldPhone3} {
		if s := v(f); s != "" {
			r.Phones = append(r.Phones, s)
		}
	}
	if full := v(fieldFullName); full != "" {
		family, first, patronymic := citizen.SplitName(full)
		for _, part := range [...]struct {
			to   *string
			name citizen.Name
		}{{&r.FamilyName, family}, {&r.FirstName, first}, {&r.Patronymic, patronymic}} {
			if *part.to == "" {
				*part.to = part.name.Reveal()
			}
		}
		r.Data[h.columns[h.at[fieldFullName]].Title] = full // a template may want it whole
	}
	if s := v(fieldChannels); s != "" {
		plan, ok := ParseChannels(s)
		if !ok {
			plan = []string{s} // the load protocol says what is wrong with it
		}
		r.Channels = plan
	}
	for i, c := range h.columns {
		if i < len(row.Cells) && c.Name == "" && catalog.Fold(c.Title) != "" && !isOwn(c.Title) {
			if s := strings.TrimSpace(row.Cells[i]); s != "" {
				r.Data[c.Title] = s
			}
		}
	}
	return r
}

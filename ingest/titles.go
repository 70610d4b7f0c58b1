package ingest

import (
	"strings"

	"ekc/catalog"
)

// field is a fixed column of CONTRACTS 1.
type field uint8

const (
	fieldNone field = iota
	fieldPhone
	fieldPhone2
	fieldPhone3
	fieldSNILS
	fieldFullName
	fieldFamily
	fieldFirst
	fieldPatronymic
	fieldBirthDate
	fieldLifeEvent
	fieldEventDate
	fieldMeasure
	fieldOKTMO
	fieldText
	fieldTemplate
	fieldChannels
	fieldValidUntil
	fieldNotBefore
	fieldInformBy
	fieldLanguage
	fieldExternalID
	fieldExt // only in JSON: kept and passed back
	fieldCount
)

// headerRows is how far down the header may stand.
const headerRows = 10

// fixedTitle is one row of the table of titles: our name, and the titles that mean it, the first being the one we print.
type fixedTitle struct {
	field  field
	name   string
	titles []string
}

var fixedTitles = []fixedTitle{
	{fieldPhone, "phone", []string{"Телефон", "Тел.", "Номер телефона", "Мобильный", "Моб. тел.", "Мобильный телефон", "Телефон 1", "Сотовый"}},
	{fieldPhone2, "phone_2", []string{"Телефон 2"}},
	{fieldPhone3, "phone_3", []string{"Телефон 3"}},
	{fieldSNILS, "snils", []string{"СНИЛС"}},
	{fieldFullName, "full_name", []string{"ФИО", "Фамилия Имя Отчество"}},
	{fieldFamily, "family_name", []string{"Фамилия"}},
	{fieldFirst, "first_name", []string{"Имя"}},
	{fieldPatronymic, "patronymic", []string{"Отчество"}},
	{fieldBirthDate, "birth_date", []string{"Дата рождения"}},
	{fieldLifeEvent, "life_event", []string{"Код события", "Событие"}},
	{fieldEventDate, "event_date", []string{"Дата события"}},
	{fieldMeasure, "measure", []string{"Код меры", "Мера"}},
	{fieldOKTMO, "oktmo", []string{"Код территории", "ОКТМО", "Регион"}},
	{fieldText, "text", []string{"Текст", "Текст сообщения"}},
	{fieldTemplate, "template", []string{"Код шаблона", "Шаблон"}},
	{fieldChannels, "channels", []string{"Канал"}},
	{fieldValidUntil, "valid_until", []string{"Отправить до"}},
	{fieldNotBefore, "not_before", []string{"Отправить после"}},
	{fieldInformBy, "inform_by", []string{"Уведомить до"}},
	{fieldLanguage, "language", []string{"Язык"}},
	{fieldExternalID, "external_id", []string{"Внешний номер"}},
}

// fieldNames are our names, as the protocol and JSON have them.
var fieldNames = func() (names [fieldCount]string) {
	names[fieldExt] = "ext"
	for _, t := range fixedTitles {
		names[t.field] = t.name
	}
	return names
}()

// titleIndex finds a field by its folded title or name.
var titleIndex = func() map[string]field {
	index := make(map[string]field)
	for _, t := range fixedTitles {
		index[catalog.Fold(t.name)] = t.field
		for _, title := range t.titles {
			index[catalog.Fold(title)] = t.field
		}
	}
	return index
}()

// countTitles is how many cells name a fixed column.
func countTitles(cells []string) int {
	n := 0
	for _, c := range cells {
		if titleIndex[catalog.Fold(c)] != fieldNone {
			n++
		}
	}
	return n
}

// Column is one column of a file: its own title, and what it was taken for; Name is empty when it is only template data.
type Column struct {
	Title string `json:"title"`
	Name  string `json:"name,omitempty"`
}

// header says where each fixed column stands.
type header struct {
	row     int
	columns []Column
	at      [fieldCount]int // index of the column, -1 when there is none
}

func (h *header) has(f field) bool { return h.at[f] >= 0 }

// value is the row's cell under a fixed title, trimmed.
func (h *header) value(cells []string, f field) string {
	i := h.at[f]
	if i < 0 || i >= len(cells) {
		return ""
	}
	return strings.TrimSpace(cells[i])
}

// readHeader reads up to the header: the row among the first ten that names most fixed columns. Rows above the header are not rows of the list.
func readHeader(r rowReader) (*header, []sheetRow, error) {
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
		if row.No > headerRows {
			seen = append(seen, keep(row))
			break
		}
		seen = append(seen, keep(row))
		if n := countTitles(row.Cells); n > most {
			best, most = len(seen)-1, n
		}
	}
	switch {
	case len(seen) == 0:
		return nil, nil, ErrEmptyFile
	case best < 0:
		return nil, nil, ErrNoHeader
	}
	h := &header{row: seen[best].No}
	for i := range h.at {
		h.at[i] = -1
	}
	for i, title := range seen[best].Cells {
		title = strings.TrimSpace(title)
		column := Column{Title: title}
		if f := titleIndex[catalog.Fold(title)]; f != fieldNone {
			if h.at[f] >= 0 {
				return nil, nil, ErrColumnTwice.with(titleOf(f), h.at[f]+1, i+1)
			}
			h.at[f] = i
			column.Name = fieldNames[f]
		}
		h.columns = append(h.columns, column)
	}
	if !h.has(fieldPhone) {
		return nil, nil, ErrNoPhoneColumn
	}
	return h, seen[best+1:], nil
}

func titleOf(f field) string {
	for _, t := range fixedTitles {
		if t.field == f {
			return t.titles[0]
		}
	}
	return ""
}

// keep copies a row whose cells the reader will use again.
func keep(row sheetRow) sheetRow {
	row.Cells = append([]string(nil), row.Cells...)
	return row
}

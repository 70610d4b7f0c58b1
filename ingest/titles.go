package ingest

import "ekc/catalog"

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

// ofDigits are the fields whose own parser says which characters belong into them: phone books put marks of direction around a number.
func (f field) ofDigits() bool { return f >= fieldPhone && f <= fieldSNILS }

// headerRows is how far down the header may stand.
const headerRows = 10

// fixedTitle is one row of the table of titles: our name, and the titles that mean it, the first being the one we print.
type fixedTitle struct {
	field  field
	name   string
	titles []string
}

var fixedTitles = []fixedTitle{
	{fieldPhone, "phone", []string{"Телефон", "Тел.", "Номер телефона", "Мобильный", "Моб. тел.", "Мобильный телефон", "Моб. телефон",
		"Номер мобильного телефона", "Телефон 1", "Сотовый", "Сотовый телефон", "Контактный телефон", "Телефон получателя"}},
	{fieldPhone2, "phone_2", []string{"Телефон 2"}},
	{fieldPhone3, "phone_3", []string{"Телефон 3"}},
	{fieldSNILS, "snils", []string{"СНИЛС", "СНИЛС получателя", "SNILS_recip"}},
	{fieldFullName, "full_name", []string{"ФИО", "Фамилия Имя Отчество", "ФИО получателя"}},
	{fieldFamily, "family_name", []string{"Фамилия", "FamilyName_recip"}},
	{fieldFirst, "first_name", []string{"Имя", "Name_recip"}},
	{fieldPatronymic, "patronymic", []string{"Отчество", "Patronymic_recip"}},
	{fieldBirthDate, "birth_date", []string{"Дата рождения", "BirthDate_recip"}},
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

// titles tells fixed columns by their titles: by those of a mapping first, then by ours.
type titles struct {
	mapped map[string]field // by the folded title; fieldNone where a mapping says that it is of no fixed column
	asked  []string         // titles that the file must have
}

// field is what a column of this title is, and whether a mapping says so.
func (t titles) field(title string) (f field, mapped bool) {
	key := catalog.Fold(title)
	if key == "" {
		return fieldNone, false
	}
	if f, mapped = t.mapped[key]; !mapped {
		f = titleIndex[key]
	}
	return f, mapped
}

// count is how many fixed columns the cells name.
func (t titles) count(cells []string) int {
	var named [fieldCount]bool
	n := 0
	for _, c := range cells {
		if f, _ := t.field(c); f != fieldNone && !named[f] {
			named[f] = true
			n++
		}
	}
	return n
}

func titleOf(f field) string { return titleNamed(fieldNames[f]) }

// titleNamed is the title that we print for one of our names; any other name is its own title.
func titleNamed(name string) string {
	for _, t := range fixedTitles {
		if t.name == name {
			return t.titles[0]
		}
	}
	return name
}

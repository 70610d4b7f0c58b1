package catalog

import (
	"fmt"
	"strings"
)

// TemplateFault is what is wrong with a template or with what was put into it.
type TemplateFault string

// The faults of a body, found by ParseText, then those of one rendering.
const (
	FaultEmpty       TemplateFault = "empty"
	FaultBodyTooLong TemplateFault = "body_too_long"
	FaultCharacters  TemplateFault = "bad_characters"
	FaultUnclosed    TemplateFault = "unclosed"
	FaultStrayClose  TemplateFault = "stray_close"
	FaultName        TemplateFault = "bad_name"
	FaultFilter      TemplateFault = "unknown_filter"
	FaultArgument    TemplateFault = "bad_argument"

	FaultTooManyFilters TemplateFault = "too_many_filters"

	FaultMissing          TemplateFault = "missing_parameter"
	FaultParameterTooLong TemplateFault = "parameter_too_long"
	FaultDate             TemplateFault = "bad_date"
	FaultTime             TemplateFault = "bad_time"
	FaultNumber           TemplateFault = "bad_number"
	FaultTextTooLong      TemplateFault = "text_too_long"
)

// TemplateError says what is wrong, where in the body (1 = first character, 0 = no place) and with which parameter.
type TemplateError struct {
	Fault     TemplateFault
	Parameter string
	Position  int
}

func (e *TemplateError) Error() string {
	s := "template: " + string(e.Fault)
	if e.Parameter != "" {
		s += fmt.Sprintf(": parameter %q", e.Parameter)
	}
	if e.Position > 0 {
		s += fmt.Sprintf(": at character %d", e.Position)
	}
	return s
}

// Sentence is for the person who can mend it.
func (e *TemplateError) Sentence() string {
	switch e.Fault {
	case FaultEmpty:
		return "Шаблон пуст: напишите текст сообщения."
	case FaultBodyTooLong:
		return fmt.Sprintf("Шаблон длиннее %d знаков: сократите его.", MaxBody)
	case FaultCharacters:
		return "В шаблоне есть недопустимые знаки" + e.place() + ": наберите это место заново."
	case FaultUnclosed:
		return "Скобки {{ не закрыты" + e.place() + ": добавьте }}."
	case FaultStrayClose:
		return "Лишние скобки }}" + e.place() + ": уберите их или добавьте {{ перед именем параметра."
	case FaultName:
		return "Между {{ и }} нет имени параметра" + e.place() + ": впишите название колонки, например {{ Имя }}."
	case FaultFilter:
		return fmt.Sprintf("Неизвестное действие над параметром «%s»%s: можно %s.", e.Parameter, e.place(), knownFilters())
	case FaultTooManyFilters:
		return fmt.Sprintf("Над параметром «%s» больше %d действий%s: уберите лишние.", e.Parameter, maxFilters, e.place())
	case FaultArgument:
		return fmt.Sprintf("У действия над параметром «%s» нет нужного текста в кавычках%s: напишите, например, default \"скоро\" или plural \"год/года/лет\".",
			e.Parameter, e.place())
	case FaultMissing:
		return fmt.Sprintf("Нет значения параметра «%s»: заполните колонку с этим названием.", e.Parameter)
	case FaultParameterTooLong:
		return fmt.Sprintf("Значение параметра «%s» длиннее %d знаков: сократите его.", e.Parameter, MaxParameter)
	case FaultDate:
		return fmt.Sprintf("Значение параметра «%s» не читается как дата: запишите её как 15.03.2027.", e.Parameter)
	case FaultTime:
		return fmt.Sprintf("Значение параметра «%s» не читается как время: запишите его как 10:30.", e.Parameter)
	case FaultNumber:
		return fmt.Sprintf("Значение параметра «%s» не читается как число: запишите его как 14506,50 или 60.", e.Parameter)
	case FaultTextTooLong:
		return fmt.Sprintf("Готовый текст длиннее %d знаков: сократите значения параметров.", MaxText)
	}
	return "Шаблон заполнен неверно."
}

// knownFilters is "default (иначе), date (дата)…".
func knownFilters() string {
	names := make([]string, len(filterNames))
	for i, f := range filterNames {
		names[i] = f.english + " (" + f.russian + ")"
	}
	return strings.Join(names, ", ")
}

func (e *TemplateError) place() string {
	if e.Position == 0 {
		return ""
	}
	return fmt.Sprintf(" (знак %d)", e.Position)
}

// BindError names the parameters of a template that a table cannot fill, as the template writes them.
type BindError struct {
	Unknown   []string // no column of this title
	Ambiguous []string // several columns of this title
}

func (e *BindError) Error() string {
	return fmt.Sprintf("template: no column for %q, several columns for %q", e.Unknown, e.Ambiguous)
}

// Sentence is for the person who can mend it.
func (e *BindError) Sentence() string {
	var s []string
	if len(e.Unknown) > 0 {
		s = append(s, "В файле нет колонок, которых требует шаблон: "+quoteAll(e.Unknown)+". Добавьте их.")
	}
	if len(e.Ambiguous) > 0 {
		s = append(s, "В файле несколько колонок с одним названием: "+quoteAll(e.Ambiguous)+". Оставьте одну.")
	}
	return strings.Join(s, " ")
}

func quoteAll(names []string) string {
	return "«" + strings.Join(names, "», «") + "»"
}

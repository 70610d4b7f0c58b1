package ingest

import "fmt"

// FaultKind says what sort of refusal a Fault is, for the door that has to put it into its own terms.
type FaultKind uint8

// Kinds of refusal.
const (
	FaultInvalid   FaultKind = iota + 1 // what was sent cannot be taken
	FaultTooLarge                       // over a limit of size
	FaultForbidden                      // the caller has no right to it
	FaultNotFound                       // not there, or of another agency, which is the same to the caller
	FaultConflict                       // the list is not in a state for it, or not what was previewed
)

// Fault is a refusal for the person or system that asked: Code is stable and meant for programs, Detail says in Russian what is wrong
// and what to do. It never repeats a value that was submitted.
type Fault struct {
	Kind   FaultKind
	Code   string
	Detail string
}

func (f *Fault) Error() string { return "ingest: " + f.Code }

// Is makes errors.Is compare faults by their code.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Code == f.Code
}

// with is the same fault with its sentence filled in.
func (f *Fault) with(args ...any) *Fault {
	return &Fault{Kind: f.Kind, Code: f.Code, Detail: fmt.Sprintf(f.Detail, args...)}
}

// Faults of a file as a whole: the list is rejected, none of its rows is taken.
var (
	ErrEmptyFile      = &Fault{FaultInvalid, "empty_file", "Файл пустой. Проверьте, что сохранили таблицу, и загрузите файл ещё раз."}
	ErrTooLarge       = &Fault{FaultTooLarge, "file_too_large", "Файл больше допустимого (%d МБ). Разделите список на несколько файлов."}
	ErrNoHeader       = &Fault{FaultInvalid, "header_missing", "В первых 10 строках нет строки с названиями столбцов. Добавьте первой строкой названия столбцов, например: Телефон; СНИЛС; Фамилия; Имя; Отчество."}
	ErrNoPhoneColumn  = &Fault{FaultInvalid, "no_phone_column", "Нет столбца с телефоном. Назовите столбец с номерами «Телефон» или укажите при загрузке, какой столбец им служит."}
	ErrColumnTwice    = &Fault{FaultInvalid, "column_twice", "Столбец «%s» встречается дважды (столбцы %d и %d). Оставьте один, переименуйте лишний или укажите при загрузке, какой из них нужен."}
	ErrMapping        = &Fault{FaultInvalid, "bad_mapping", "Соответствие столбцов задано неверно: для названия столбца из файла укажите наше название (например, Телефон) или пустую строку. Не больше 200 столбцов."}
	ErrMappedTitle    = &Fault{FaultInvalid, "mapped_title_missing", "В файле нет столбца «%s», для которого указано соответствие. Проверьте название столбца."}
	ErrLongTitle      = &Fault{FaultInvalid, "title_too_long", "В строке с названиями столбцов слишком длинное значение. Сократите название и загрузите файл ещё раз."}
	ErrMergedTitle    = &Fault{FaultInvalid, "merged_title", "Одно название объединено над столбцами %d и %d, а значения в них разные. Разъедините ячейки и дайте каждому столбцу своё название."}
	ErrTooManyColumns = &Fault{FaultInvalid, "too_many_columns", "В таблице есть значения правее столбца %d. Удалите лишние столбцы и загрузите файл ещё раз."}
	ErrTooManyMerges  = &Fault{FaultInvalid, "too_many_merges", "В таблице слишком много объединённых ячеек. Разъедините их или сохраните как CSV и загрузите ещё раз."}
	ErrNoRows         = &Fault{FaultInvalid, "no_rows", "Под строкой с названиями столбцов нет ни одной заполненной строки. Проверьте, тот ли лист стоит первым."}
	ErrTooManyRows    = &Fault{FaultInvalid, "too_many_rows", "В файле больше %d строк. Разделите список на несколько файлов."}
	ErrOpenQuote      = &Fault{FaultInvalid, "open_quote", "Кавычка в строке %d файла открыта и не закрыта. Закройте или удалите её и загрузите файл ещё раз."}
	ErrTooManyBad     = &Fault{FaultInvalid, "too_many_bad_rows", "С ошибками %d из %d строк: больше %d %%. Ни одна строка не принята. Исправьте строки по протоколу и загрузите файл ещё раз."}
	ErrAllBad         = &Fault{FaultInvalid, "no_good_rows", "Ни одну строку нельзя принять. Исправьте строки по протоколу и загрузите файл ещё раз."}

	ErrDamaged     = &Fault{FaultInvalid, "file_damaged", "Файл повреждён и читается не до конца. Откройте его в Excel, сохраните как «Книга Excel (.xlsx)» и загрузите ещё раз."}
	ErrZipBomb     = &Fault{FaultTooLarge, "file_unpacks_too_large", "Файл в распакованном виде больше допустимого. Разделите список на несколько файлов или сохраните как CSV."}
	ErrMacros      = &Fault{FaultInvalid, "file_has_macros", "В книге есть макросы. Сохраните как «Книга Excel (.xlsx)» без макросов и загрузите ещё раз."}
	ErrLinks       = &Fault{FaultInvalid, "file_has_links", "В книге есть связи с другими файлами. Разорвите связи (Данные → Изменить связи) или сохраните как CSV и загрузите ещё раз."}
	ErrDoctype     = &Fault{FaultInvalid, "file_has_doctype", "Внутри книги есть недопустимая разметка (DOCTYPE). Откройте файл в Excel, сохраните как «Книга Excel (.xlsx)» и загрузите ещё раз."}
	ErrPaths       = &Fault{FaultInvalid, "file_has_paths", "Внутри книги есть недопустимые пути. Откройте файл в Excel, сохраните как «Книга Excel (.xlsx)» и загрузите ещё раз."}
	ErrPassword    = &Fault{FaultInvalid, "file_has_password", "Файл защищён паролем. Снимите пароль (Файл → Сведения → Защита книги), сохраните как «Книга Excel (.xlsx)» и загрузите ещё раз."}
	ErrNoSheet     = &Fault{FaultInvalid, "no_visible_sheet", "В книге нет ни одного видимого листа с таблицей. Покажите лист со списком и загрузите файл ещё раз."}
	ErrFormatXLS   = &Fault{FaultInvalid, "format_xls", "Это файл старого формата XLS. Откройте его в Excel и сохраните как «Книга Excel (.xlsx)»."}
	ErrFormatXLSB  = &Fault{FaultInvalid, "format_xlsb", "Это двоичная книга XLSB. Откройте её в Excel и сохраните как «Книга Excel (.xlsx)»."}
	ErrFormatODS   = &Fault{FaultInvalid, "format_ods", "Это таблица ODS. Откройте её и сохраните как «Книга Excel (.xlsx)» или CSV."}
	ErrFormatDBF   = &Fault{FaultInvalid, "format_dbf", "Это таблица DBF. Откройте её в Excel или LibreOffice и сохраните как «Книга Excel (.xlsx)» или CSV в UTF-8."}
	ErrFormatHTML  = &Fault{FaultInvalid, "format_html", "Это веб-страница с расширением таблицы. Откройте её в Excel и сохраните как «Книга Excel (.xlsx)»."}
	ErrFormatXML   = &Fault{FaultInvalid, "format_xml", "Это файл XML, а не таблица. Откройте его в Excel и сохраните как «Книга Excel (.xlsx)» или CSV."}
	ErrFormatOther = &Fault{FaultInvalid, "format_unknown", "Это не таблица. Принимаются файлы XLSX и CSV: откройте список в Excel и сохраните как «Книга Excel (.xlsx)»."}
)

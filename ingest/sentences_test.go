package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/citizen"
)

// Each bad input and the sentence it gets, word for word.
func TestBadInputsGetTheirSentences(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.Limits.FileBytes = 2 << 20 })
	sentence := func(err error) string {
		var fault *Fault
		if errors.As(err, &fault) {
			return fault.Detail
		}
		return "no fault: " + strings.TrimSpace(errString(err))
	}
	submit := func(head Header, file string) func() string {
		return func() string {
			head.Again = true
			ref, err := h.Submit(t.Context(), loader, head, strings.NewReader(file))
			if err != nil {
				return sentence(err)
			}
			h.checkAll()
			l := h.get(ref.ID)
			if l.State == Rejected && l.StateReason != ErrAllBad.Detail {
				return l.StateReason
			}
			var reports []string
			for _, r := range h.protocol(l).ErrorRecords {
				for _, m := range r.Messages {
					reports = append(reports, m.Report)
				}
			}
			return strings.Join(reports, "\n")
		}
	}
	template := func(code string) Header {
		return listHeader(func(x *Header) { x.Template, x.LegalBasis = code, disclosing })
	}
	ready := h.load(listHeader(), goodFile)
	own, err := h.Submit(t.Context(), approver, listHeader(), strings.NewReader(strings.ReplaceAll(goodFile, "0000003", "0000004")))
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	for _, c := range []struct {
		name string
		do   func() string
		want string
	}{
		{"empty file", submit(listHeader(), ""), "Файл пустой. Проверьте, что сохранили таблицу, и загрузите файл ещё раз."},
		{"file of spaces", submit(listHeader(), "\r\n \r\n"), "Файл пустой. Проверьте, что сохранили таблицу, и загрузите файл ещё раз."},
		{"header missing", submit(listHeader(), "79030000001;Иванова\n79030000002;Петрова\n"),
			"В первых 10 строках нет строки с названиями столбцов. Добавьте первой строкой названия столбцов, например: Телефон; СНИЛС; Фамилия; Имя; Отчество."},
		{"no phone column", submit(listHeader(), "СНИЛС;ФИО\n;Иванова\n"), "Нет столбца с телефоном. Назовите столбец с номерами «Телефон» или укажите при загрузке, какой столбец им служит."},
		{"two phone columns", submit(listHeader(), "Телефон;Мобильный\n1;2\n"), "Столбец «Телефон» встречается дважды (столбцы 1 и 2). Оставьте один, переименуйте лишний или укажите при загрузке, какой из них нужен."},
		{"header only", submit(listHeader(), "Телефон;Текст\n"), "Под строкой с названиями столбцов нет ни одной заполненной строки. Проверьте, тот ли лист стоит первым."},
		{"unknown template", submit(template("S-99"), goodFile), "Такого шаблона нет в справочнике, или он не действует. Выберите шаблон из списка."},
		{"half a basis", submit(listHeader(func(x *Header) { x.LegalBasis = &catalog.LegalBasis{Code: "a", Document: "b"} }), goodFile),
			"Правовое основание (legal_basis) указывается целиком: код, документ и дата, например 31.01.2026."},
		{"unknown template in a row", submit(listHeader(), "Телефон;Шаблон\n79030000001;S-99\n"),
			"«Шаблон»: Такого кода нет в справочнике или он не действует. Исправьте код события, меры или шаблона."},
		{"no column for a parameter", submit(template("S-05"), "Телефон;ФИО\n79030000001;Иванова\n"),
			"В файле нет колонок, которых требует шаблон: «Дата назначения». Добавьте их."},
		{"missing parameter", submit(template("S-05"), "Телефон;Дата назначения\n79030000001;\n"),
			"«Дата назначения»: Для шаблона не хватает значения, или оно не подходит. Заполните названный столбец."},
		{"5 000 characters", submit(listHeader(), "Телефон;Текст\n79030000001;"+strings.Repeat("ш", 5000)+"\n"),
			"«Текст»: Текст слишком длинный для СМС. Сократите его: чем короче сообщение, тем вернее его прочтут."},
		{"file over the limit", submit(listHeader(), strings.Repeat("x", 3<<20)), "Файл больше допустимого (2 МБ). Разделите список на несколько файлов."},
		{"most rows bad", submit(listHeader(), "Телефон;Текст\n1;а\n2;а\n79030000001;а\n"),
			"С ошибками 2 из 3 строк: больше 50 %. Ни одна строка не принята. Исправьте строки по протоколу и загрузите файл ещё раз."},
		{"expired list", submit(listHeader(func(x *Header) {
			x.Template = "S-01"
			x.ValidUntil = Moment{Day: citizen.Date{Year: 2026, Month: 11, Day: 1}}
		}), goodFile),
			"Срок отправки списка уже прошёл. Исправьте дату «Отправить до»."},
		{"another agency's list", func() string { _, err := h.Get(t.Context(), stranger, ready.ID); return sentence(err) }, "Такого списка нет."},
		{"unapproved start", func() string { _, err := h.Resume(t.Context(), approver, ready.ID); return sentence(err) },
			"Список в состоянии «Ждёт утверждения»: это действие сейчас невозможно."},
		{"approve by the loader", func() string {
			_, err := h.Approve(t.Context(), approver, own.ID, Expected{}, time.Time{})
			return sentence(err)
		}, "Список загрузили вы. Утвердить или отклонить его должен другой сотрудник."},
		{"approve without the role", func() string {
			_, err := h.Approve(t.Context(), loader, ready.ID, Expected{}, time.Time{})
			return sentence(err)
		}, "У вашей учётной записи нет права на это действие."},
	} {
		if got := c.do(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestWhatTheHeaderMaySay(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for name, c := range map[string]struct {
		change func(*Header)
		want   *Fault
	}{
		"nothing wrong":   {func(*Header) {}, nil},
		"plan in words":   {func(x *Header) { x.Channels = []string{"СМС, затем звонок"} }, nil},
		"unknown channel": {func(x *Header) { x.Channels = []string{"fax"} }, ErrHeaderField},
		"unknown event":   {func(x *Header) { x.LifeEvent = "LE-99" }, ErrUnknownEvent},
		"unknown source":  {func(x *Header) { x.Source = "nobody" }, ErrUnknownSource},
		"answer template": {func(x *Header) { x.Template = "S-12" }, ErrUnknownTemplate},
		"priority":        {func(x *Header) { x.Priority = "highest" }, ErrHeaderField},
		"policy":          {func(x *Header) { x.OnUncertain = "forget" }, ErrHeaderField},
		"long name":       {func(x *Header) { x.Name = strings.Repeat("ш", 201) }, ErrHeaderField},
		"name with NUL":   {func(x *Header) { x.Name = "a\x00b" }, ErrHeaderField},
		"broken name":     {func(x *Header) { x.Name = "a\xffb" }, ErrHeaderField},
		"day in figures":  {func(x *Header) { x.LegalBasis = &catalog.LegalBasis{Code: "a", Document: "b", Date: "15.01.2026"} }, nil},
		"basis, no date":  {func(x *Header) { x.LegalBasis = &catalog.LegalBasis{Code: "a", Document: "b"} }, ErrBasis},
	} {
		e, _, err := h.complete(loader, listHeader(c.change))
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "day in figures" && e.LegalBasis.Date != "2026-01-15" {
			t.Errorf("the basis is of %q", e.LegalBasis.Date)
		}
		if name == "plan in words" && strings.Join(e.Channels, ",") != "sms,voice" {
			t.Errorf("plan %q", e.Channels)
		}
	}
}

func errString(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}

func TestARejectedListLeavesNothingToSend(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.SliceRows = 2 })
	// The good rows come first and are admitted before the bad ones are seen.
	l := h.load(listHeader(), "Телефон;Текст\n79030000001;а\n79030000002;а\n1;а\n2;а\n3;а\n")
	if l.State != Rejected || l.Rows != 5 || l.Accepted != 0 || l.Rejected != 3 {
		t.Fatalf("%+v", l)
	}
	for _, table := range []string{"notifications", "outbox", "runs"} {
		if n := h.number(`SELECT count(*) FROM ` + table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	if p := h.protocol(l); len(p.ErrorRecords) != 3 || p.ErrorRecords[0].Row != 4 {
		t.Errorf("%+v", p)
	}
}

func TestOneBadRowStopsNoGoodOne(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), "Телефон;Текст\n79030000001;а\nмусор\x00\xff;а\n79030000003;"+strings.Repeat("б", 40_000)+"\n79030000004;а\n")
	if l.State != Ready || l.Accepted != 2 || l.Rejected != 2 {
		t.Fatalf("%+v", l)
	}
}

func TestDuplicatesAndRefusalsAreWarned(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.SliceRows = 2 })
	const head = "Телефон;СНИЛС;Код события;Мера;Дата события;Текст\n"
	phone, err := citizen.ParsePhone("79030000009")
	if err != nil {
		t.Fatal(err)
	}
	digests, err := h.cfg.Keys.PhoneDigests(phone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := citizen.AddOptOut(t.Context(), h.db, digests, citizen.AllAgencies, citizen.OptOutBySMS, ""); err != nil {
		t.Fatal(err)
	}
	verdicts := func(l *List) string {
		var out []string
		for _, r := range h.protocol(l).ErrorRecords {
			if !r.RecordOK {
				t.Errorf("row %d was not taken", r.Row)
			}
			for _, m := range r.Messages {
				out = append(out, strings.TrimSpace(strings.Join([]string{string(rune('0' + r.Row)), codes([]Message{{m.RuleCode, m.Field}})}, "/")))
			}
		}
		return strings.Join(out, " ")
	}
	const person = "112-233-445 95"
	first := h.load(listHeader(), head+
		"79030000001;"+person+";OP-04;M-001;01.11.2026;т\n"+ // 2
		"79030000001;"+person+";OP-04;M-002;01.11.2026;т\n"+ // 3: another measure
		"79030000001;"+person+";OP-05;M-001;01.11.2026;т\n"+ // 4: another event
		"79030000001;"+person+";OP-04;M-001;02.11.2026;т\n"+ // 5: another date
		"79030000001;"+person+";OP-04;M-001;01.11.2026;т\n"+ // 6: the same as 2, two slices later
		"79030000009;;OP-04;;;т\n"+ // 7: refused
		"79030000009;;OP-04;;;т\n") // 8: refused, and the same as 7
	if got := verdicts(first); got != "6/109 7/111:phone 8/111:phone 8/109" {
		t.Errorf("first list: %s", got)
	}
	again := head + "79030000005;" + person + ";OP-04;M-001;01.11.2026;другой текст\n79030000006;" + person + ";OP-04;M-001;03.11.2026;т\n"
	if got := verdicts(h.load(listHeader(), again)); got != "2/109" {
		t.Errorf("second list: %s", got)
	}
	other := &hub{Service: h.Service, t: t, db: h.db}
	ref, err := other.Submit(t.Context(), stranger, listHeader(), strings.NewReader(again))
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if l, err := h.Get(t.Context(), stranger, ref.ID); err != nil || l.Warnings != 0 {
		t.Errorf("another agency's list is told of ours: %+v %v", l, err)
	}
	// What was refused never goes, and so makes nothing a duplicate.
	lists, _, err := h.Lists(t.Context(), approver, ListsQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		if _, err := h.Refuse(t.Context(), approver, l.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := verdicts(h.load(listHeader(), again)); got != "" {
		t.Errorf("after the refusal: %s", got)
	}
}

func TestProtocolIsOneDocumentAndPages(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), "Телефон;Текст\n1;а\n79030000001;а\n8 495 000-00-00;б\n79030000002;а\n79030000003;а\n2;\n")
	var b bytes.Buffer
	if err := h.WriteProtocol(t.Context(), loader, l.ID, &b); err != nil {
		t.Fatal(err)
	}
	var whole Protocol
	if err := json.Unmarshal(b.Bytes(), &whole); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	if whole.PackageStatus != 3 || whole.RecordNum != 6 || whole.RecordNumSuccess != 4 || len(whole.ErrorRecords) != 3 || whole.FinishProcessTime == nil {
		t.Errorf("%+v", whole)
	}
	var rows []int
	for after := 0; ; {
		p, err := h.Protocol(t.Context(), loader, l.ID, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.ErrorRecords {
			rows = append(rows, r.Row)
		}
		if after = p.Next; after == 0 {
			break
		}
	}
	if len(rows) != 3 || rows[0] != 2 || rows[1] != 4 || rows[2] != 7 {
		t.Errorf("pages have rows %v", rows)
	}
	if !strings.Contains(b.String(), `"report":"«Телефон»: Номер телефона не читается.`) || strings.Contains(b.String(), "495") {
		t.Error(b.String())
	}
}

func TestResultsHaveEveryAcceptedRow(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), bigFile(50))
	if _, err := h.db.Exec(t.Context(), `INSERT INTO outcomes (id, at, entry, state, sequence, attempt, reason, code)
		SELECT id, now(), 1, 10, 2, 1, '', '' FROM notifications WHERE row_no = 3`); err != nil {
		t.Fatal(err)
	}
	results, err := h.Results(t.Context(), loader, l.ID)
	if err != nil {
		t.Fatal(err)
	}
	n, delivered := 0, 0
	for r, err := range results {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if r.State.Final() {
			delivered++
			if r.RowNo != 3 || r.State.String() != "delivered" || r.ExternalID != "дело-1" {
				t.Errorf("%+v", r)
			}
		}
	}
	if n != 45 || delivered != 1 {
		t.Errorf("%d results, %d delivered", n, delivered)
	}
}

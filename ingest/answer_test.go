package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"ekc/dispatch"
	"ekc/fixtures/corpus"
	"ekc/journal"
)

// download writes a file that a list is answered with.
func (h *hub) download(d Download, err error) []byte {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d(&b); err != nil {
		h.t.Fatal(err)
	}
	return b.Bytes()
}

// sheetsOf reads every sheet as excelize does, which is how a spreadsheet program would.
func sheetsOf(t testing.TB, file []byte) map[string][]string {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sheets := make(map[string][]string)
	for _, name := range f.GetSheetList() {
		rows, err := f.GetRows(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			sheets[name] = append(sheets[name], strings.Join(row, "|"))
		}
	}
	return sheets
}

func TestAnnotatedFileKeepsRowsOrderAndNumbersAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	file := book(t, func(f *excelize.File, sheet string) {
		set(t, f, sheet, []any{"Список получателей"}, nil, []any{"Телефон", "Внешний номер", "СНИЛС", "Текст", "Своё"},
			[]any{79030000001, "=1+1", 11223344595, "СФР: выплата назначена."}, []any{123, "_x005F_x0041_", nil, "СФР: <выплата> & \"назначена\".", "а\nб", "без названия"},
			nil, []any{"+7 903 000-00-02", "в", nil, "СФР: выплата назначена.", " "}, []any{"+7 495 000-00-02", "г", nil, "СФР: выплата назначена."})
	})
	l := h.load(listHeader(), string(file))
	if l.State != Ready || l.Accepted != 3 {
		t.Fatalf("%+v %+v", l, h.protocol(l))
	}
	answer := h.download(h.ProtocolFile(t.Context(), loader, l.ID))
	phone, _ := RuleOf(RulePhone)
	landline, _ := RuleOf(RuleLandline)
	want := []string{
		"1: Список получателей",
		"3: Телефон|Внешний номер|СНИЛС|Текст|Своё|ЕКЦ: результат|ЕКЦ: код|ЕКЦ: что сделать",
		"4: 79030000001|=1+1|11223344595|СФР: выплата назначена.||принята",
		"5: 123|_x0041_||СФР: <выплата> & \"назначена\".|а\nб|не принята|101|«Телефон»: " + phone.Sentence + "|без названия",
		"7: +7 903 000-00-02|в||СФР: выплата назначена.| |принята",
		"8: +7 495 000-00-02|г||СФР: выплата назначена.||принята, есть замечания|115|«Телефон»: " + landline.Sentence,
	}
	got, err := rowsOf(answer, testLimits)
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	sum := sha256.Sum256(file)
	act := strings.Join(sheetsOf(t, answer)["Протокол загрузки"], "\n")
	for _, line := range []string{"Номер списка|" + l.ID.String(), "Загрузил|loader", "Получен (МСК)|23.11.2026 12:00:00", "Состояние|Ждёт утверждения",
		"Правовое основание|Постановление № 1994 от 03.12.2020 (PP-1994)", "По чьему распоряжению|Приказ № 1", "Строк в файле|4", "Принято|3", "Не принято|1",
		fmt.Sprintf("Файл|XLSX, %d байт", len(file)), "SHA-256 файла|" + hex.EncodeToString(sum[:]), "101|1|ошибка|" + phone.Sentence, "115|1|замечание|" + landline.Sentence} {
		if !strings.Contains(act, line) {
			t.Errorf("the act lacks %q:\n%s", line, act)
		}
	}
	if err := place(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	page, err := journal.History(t.Context(), h.db, auditor, journal.Query{ListNo: l.No, Limit: 10, Kinds: []journal.Kind{journal.PersonalViewed}})
	if err != nil || len(page.Items) != 1 || page.Items[0].Entry.Actor != "loader" || fmt.Sprint(page.Items[0].Entry.Data) != "[{file 1} {what protocol_file}]" {
		t.Errorf("the look is not in the journal: %+v, %v", page.Items, err)
	}
	// The answer answers for itself, too: what we added to it is not the sender's, and is not added twice.
	again := h.load(listHeader(), string(answer))
	if second, err := rowsOf(h.download(h.ProtocolFile(t.Context(), loader, again.ID)), testLimits); err != nil || len(second) != len(want) || second[1] != want[1] {
		t.Errorf("annotated twice: %q, %v", second, err)
	}

	if _, err := h.ProtocolFile(t.Context(), stranger, l.ID); err == nil {
		t.Error("another agency got the file")
	} else {
		wantFault(t, err, ErrNotFound)
	}
	_, err = h.ProtocolFile(t.Context(), journal.Principal{Account: "duty", Roles: []journal.Role{journal.RoleDutyEngineer}}, l.ID)
	wantFault(t, err, ErrForbidden)
}

func TestAnnotatedFilesOfOtherKinds(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	csv := h.load(listHeader(), "\uFEFFТелефон;Текст;Дело\n9030000001;СФР: выплата назначена.;0012\n\n123;СФР: выплата назначена.;-5\n")
	got, err := rowsOf(h.download(h.ProtocolFile(t.Context(), loader, csv.ID)), testLimits)
	if err != nil || len(got) != 3 || got[1] != "2: 9030000001|СФР: выплата назначена.|0012|принята" || !strings.HasPrefix(got[2], "4: 123|СФР: выплата назначена.|-5|не принята|101|") {
		t.Errorf("CSV: %q, %v", got, err)
	}
	rejected := h.load(listHeader(), "Телефон;Текст\n9030000007;СФР: выплата назначена.\n123;x\n124;x\n")
	got, err = rowsOf(h.download(h.ProtocolFile(t.Context(), loader, rejected.ID)), testLimits)
	if err != nil || rejected.State != Rejected || len(got) != 4 || got[1] != "2: 9030000007|СФР: выплата назначена.|не принята||"+rejected.StateReason {
		t.Errorf("rejected: %q, %v", got, err)
	}
	broken := h.load(listHeader(), "Телефон;Текст\n"+strings.Repeat("9030000001;СФР: выплата назначена.\n", 12)+"9030000002;\"x\n")
	answer := h.download(h.ProtocolFile(t.Context(), loader, broken.ID))
	if got, err = rowsOf(answer, testLimits); err != nil || broken.State != Rejected || len(got) != 13 {
		t.Errorf("broken: %q, %v", got, err)
	}
	if act := strings.Join(sheetsOf(t, answer)["Протокол загрузки"], "\n"); !strings.Contains(act, "Показаны не все строки") || !strings.Contains(act, broken.StateReason) {
		t.Errorf("the act of a broken file: %s", act)
	}
	ref, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader("x;y\n1;2\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.ProtocolFile(t.Context(), loader, ref.ID)
	wantFault(t, err, ErrState)
	h.checkAll()
	_, err = h.ProtocolFile(t.Context(), loader, ref.ID)
	wantFault(t, err, ErrNoHeader)
	ref, err = h.SubmitJSON(t.Context(), loader, listHeader(), []InputRow{{ExternalID: "a", Phone: "9030000009", Text: "СФР: выплата назначена.", Data: map[string]string{"Имя": "Ян"}},
		{ExternalID: "b", Phone: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	got, err = rowsOf(h.download(h.ProtocolFile(t.Context(), loader, ref.ID)), testLimits)
	if err != nil || len(got) != 3 || got[0] != "1: Телефон|Текст|Внешний номер|Имя|ЕКЦ: результат|ЕКЦ: код|ЕКЦ: что сделать" || got[1] != "2: 9030000009|СФР: выплата назначена.|a|Ян|принята" ||
		!strings.HasPrefix(got[2], "3: 1||b||не принята|101, 105|") {
		t.Errorf("JSON: %q, %v", got, err)
	}
}

// The columns of a file on its way back are those by which it was read, whatever the agency says of its columns since.
func TestAMappedFileComesBackAnnotated(t *testing.T) {
	t.Parallel()
	h := mappingHub(t)
	const file = "Выгрузка;;;;\n" + foreignTitles + "1;9030000001;8 495 000-00-00;Ли;СФР: ждём.\n2;123;;Ким;СФР: ждём.\n3;9030000003;;Оглы Ян;СФР: ждём.\n"
	l := h.load(listHeader(withMapping(foreignMapping)), file)
	if l.State != Ready || l.Accepted != 2 {
		t.Fatalf("%s: %s", l.State, l.StateReason)
	}
	h.load(listHeader(withMapping(map[string]string{"Тел": "phone", "Контакт": ""})), "Тел;Контакт;Сообщение\n9030000004;отдел;СФР: ждём.\n")
	answer := h.download(h.ProtocolFile(t.Context(), loader, l.ID))
	got := sheetsOf(t, answer)
	phone, _ := RuleOf(RulePhone)
	want := "Выгрузка\n№|Контакт|Телефон|Кому|Сообщение|ЕКЦ: результат|ЕКЦ: код|ЕКЦ: что сделать\n1|9030000001|8 495 000-00-00|Ли|СФР: ждём.|принята\n" +
		"2|123||Ким|СФР: ждём.|не принята|101|«Контакт»: " + phone.Sentence + "\n3|9030000003||Оглы Ян|СФР: ждём.|принята"
	if list := strings.Join(got["Список"], "\n"); list != want {
		t.Errorf(" got %s\nwant %s", list, want)
	}
	if act := strings.Join(got["Протокол загрузки"], "\n"); !strings.Contains(act, "«Контакт» – это «Телефон», «Кому» – это «ФИО», «Сообщение» – это «Текст»") {
		t.Errorf("the act does not know the columns: %s", act)
	}
	if p := h.protocol(l); len(p.ErrorRecords) != 1 || p.ErrorRecords[0].Messages[0] != (RecordMessage{TypeError, RulePhone, "phone", "«Контакт»: " + phone.Sentence}) {
		t.Errorf("the protocol names another column: %+v", p.ErrorRecords)
	}
	results, err := rowsOf(h.download(h.ResultsFile(t.Context(), loader, l.ID)), testLimits)
	if err != nil || len(results) != 5 || !strings.HasPrefix(results[3], "4: 2|123||Ким|СФР: ждём.|Не принята при загрузке|Ошибка в строке: 101|«Контакт»: ") {
		t.Errorf("results: %q, %v", results, err)
	}
}

// A file that was refused for its columns comes back with that, every row; what was passed over is in the act.
func TestAFileWithFaultyColumnsComesBack(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), "СНИЛС;Текст;Текст сообщения\n11223344595;т;у\n")
	got := sheetsOf(t, h.download(h.ProtocolFile(t.Context(), loader, l.ID)))
	if l.State != Rejected || !strings.Contains(l.StateReason, ErrNoPhoneColumn.Detail) ||
		strings.Join(got["Список"][1:], "\n") != "11223344595|т|у|не принята||"+l.StateReason {
		t.Errorf("%s: %q", l.StateReason, got["Список"])
	}
	f, err := corpus.Make("hidden-rows.xlsx", corpusSeed)
	if err != nil {
		t.Fatal(err)
	}
	l = h.load(listHeader(), string(f.Bytes))
	if act := strings.Join(sheetsOf(t, h.download(h.ProtocolFile(t.Context(), loader, l.ID)))["Протокол загрузки"], "\n"); !strings.Contains(act, "Скрытых строк пропущено: 2.") {
		t.Errorf("the act does not tell of hidden rows: %s", act)
	}
}

func TestNotInformedFileNamesEverybodyWhoWasNotToldWithTheReason(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), "Телефон;Текст;ФИО\n9030000001;СФР: выплата назначена.;Первая А\n123;СФР: выплата назначена.;Вторая Б\n9030000003;СФР: выплата назначена.;Третья В\n"+
		"9030000004;СФР: выплата назначена.;Четвёртая Г\n9030000005;СФР: выплата назначена.;Пятая Д\n")
	for i, end := range []struct {
		state  dispatch.State
		reason string
	}{{dispatch.Delivered, ""}, {dispatch.Undelivered, "invalid_number"}, {dispatch.Suppressed, "opt_out"}} {
		if _, err := h.db.Exec(t.Context(), `INSERT INTO outcomes (id, at, entry, state, sequence, attempt, reason) VALUES ($1, $2, 1, $3, 1, 1, $4)`,
			int64(dispatch.MakeID(l.No, int32(i+1))), noon, end.state, end.reason); err != nil {
			t.Fatal(err)
		}
	}
	sheets := sheetsOf(t, h.download(h.NotInformedFile(t.Context(), loader, l.ID)))
	phone, _ := RuleOf(RulePhone)
	want := "Телефон|Текст|ФИО|ЕКЦ: строка файла|ЕКЦ: состояние|ЕКЦ: причина|ЕКЦ: что сделать\n" +
		"123|СФР: выплата назначена.|Вторая Б|3|Не принята при загрузке|Ошибка в строке: 101|«Телефон»: " + phone.Sentence + "\n" +
		"9030000003|СФР: выплата назначена.|Третья В|4|Не доставлено|Номер не существует|Уточните номер.\n" +
		"9030000004|СФР: выплата назначена.|Четвёртая Г|5|Не отправлялось|Отказ от сообщений|Отправьте письмо."
	if got := strings.Join(sheets["Не уведомлены"], "\n"); got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
	if got := strings.Join(sheets["По причинам"], "\n"); !strings.Contains(got, "Номер не существует|1|Уточните номер.") || !strings.Contains(got, "Отказ от сообщений|1|Отправьте письмо.") {
		t.Errorf("by reason: %s", got)
	}
	results, err := rowsOf(h.download(h.ResultsFile(t.Context(), approver, l.ID)), testLimits)
	if err != nil || len(results) != 6 || results[1] != "2: 9030000001|СФР: выплата назначена.|Первая А|Доставлено|||23.11.2026 12:00:00" ||
		!strings.HasPrefix(results[5], "6: 9030000005|СФР: выплата назначена.|Пятая Д|Ещё не завершено") {
		t.Errorf("results: %q, %v", results, err)
	}
	if n := h.number(`SELECT count(*) FROM journal WHERE kind = 'personal.viewed' AND list_no = $1`, l.No); n != 2 {
		t.Errorf("%d looks in the journal", n)
	}
}

// failing is a reader that has gone.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestADownloadThatBreaksOffIsAnError(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), goodFile)
	d, err := h.ProtocolFile(t.Context(), loader, l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := d(failing{}); err == nil {
		t.Error("a workbook that nobody took is said to be whole")
	}
}

// Not every program works out by itself how high a wrapped row has to be.
func TestNoLineOfTheActHidesTheNext(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	b := newBook(&file, sheetPlan{name: "Лист", widths: []int{10, 20}})
	b.next()
	b.line(styleWrapped, "коротко", "двадцать букв ровно.")
	b.line(styleText, "", strings.Repeat("ш", 100))
	b.line(styleWrapped, strings.Repeat("ш", 9), strings.Repeat("ш", 55))
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for row, want := range []float64{2 * lineHeight, lineHeight, 4 * lineHeight} {
		if got, err := f.GetRowHeight("Лист", row+1); err != nil || got != want {
			t.Errorf("row %d is %v points high, want %v; %v", row+1, got, want, err)
		}
	}
}

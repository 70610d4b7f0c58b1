package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/xuri/excelize/v2"

	"ekc/journal"
)

// correct uploads a mended file of a list and checks it.
func (h *hub) correct(id uuid.UUID, file string, change ...func(*Header)) *List {
	h.t.Helper()
	var head Header
	for _, f := range change {
		f(&head)
	}
	ref, err := h.Correct(h.t.Context(), loader, id, head, strings.NewReader(file))
	if err != nil {
		h.t.Fatal(err)
	}
	h.checkAll()
	return h.get(ref.ID)
}

// said is the protocol in short: row, codes.
func (h *hub) said(l *List) string {
	h.t.Helper()
	var out []string
	for _, r := range h.protocol(l).ErrorRecords {
		line := fmt.Sprint(r.Row)
		for _, m := range r.Messages {
			line += fmt.Sprintf(" %d", m.RuleCode)
		}
		out = append(out, line)
	}
	return strings.Join(out, ", ")
}

func counted(l *List) string {
	return fmt.Sprintf("%s: %d rows, %d accepted, %d rejected, %d skipped", l.State, l.Rows, l.Accepted, l.Rejected, l.Skipped)
}

const oneBad = "Телефон;ФИО;Код события;Текст\n+79030000001;Иванова Мария;OP-04;СФР: выплата назначена.\n123;Петров Пётр;OP-04;СФР: выплата назначена.\n" +
	"+79030000003;Сидоров Иван;OP-04;СФР: выплата назначена.\n"

func TestACorrectionTellsNobodyTwice(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(func(x *Header) { x.Channels, x.Priority = []string{"sms"}, PriorityUrgent }), oneBad)
	_, err := h.Correct(t.Context(), loader, l.ID, Header{}, strings.NewReader(oneBad+" "))
	var fault *Fault
	if !errors.As(err, &fault) || fault.Code != ErrState.Code || !strings.HasSuffix(fault.Detail, "замените его файл.") {
		t.Errorf("before approval: %+v", fault)
	}
	h.approve(l)
	_, err = h.Replace(t.Context(), loader, l.ID, Header{}, strings.NewReader(oneBad+" "))
	if !errors.As(err, &fault) || fault.Code != ErrState.Code || !strings.HasSuffix(fault.Detail, "загрузите исправление этого списка.") {
		t.Errorf("after approval: %+v", fault)
	}
	for _, p := range []journal.Principal{stranger, {Account: "other", Agency: agency, Roles: []journal.Role{journal.RoleListApprover}}} {
		if _, err := h.Correct(t.Context(), p, l.ID, Header{}, strings.NewReader(oneBad)); err == nil {
			t.Errorf("%s corrects the list", p.Account)
		}
	}
	mended := strings.Replace(oneBad, "\n123;", "\n+79030000002;", 1)
	c := h.correct(l.ID, mended)
	if counted(c) != "ready: 3 rows, 1 accepted, 0 rejected, 2 skipped" || c.Corrects != l.ID || h.said(c) != "2 136, 4 136" || c.Name != "Исправление: Список" ||
		c.OrderedBy != l.OrderedBy || *c.LegalBasis != *l.LegalBasis || c.Priority != PriorityUrgent {
		t.Errorf("%s %s %+v", counted(c), h.said(c), c)
	}
	if sent := h.contents(c); len(sent) != 1 || sent[0].Phones[0].E164() != "+79030000002" {
		t.Errorf("%+v", sent)
	}
	if why := strings.Join(sheetsOf(t, h.download(h.NotInformedFile(t.Context(), loader, l.ID)))["По причинам"], "\n"); !strings.Contains(why,
		"Загружено исправление||«Исправление: Список» от 23.11.2026 12:00:00, список "+c.ID.String()) {
		t.Errorf("who was not told is asked of the corrected list: %s", why)
	}
	if v, err := h.Preview(t.Context(), loader, c.ID, 2); err != nil || v.Accepted || v.NotificationID != 0 || len(v.Messages) != 1 {
		t.Errorf("preview of a skipped row: %+v, %v", v, err)
	}
	got, err := rowsOf(h.download(h.ProtocolFile(t.Context(), loader, c.ID)), testLimits)
	if err != nil || !strings.Contains(got[1], "|принята раньше, пропущена|136|") || !strings.HasSuffix(got[2], "|принята") {
		t.Errorf("%q, %v", got, err)
	}
	// A correction of the correction, and a second one of the list, know of both; rows in another order are still known.
	h.approve(c)
	lines := strings.Split(strings.TrimSpace(mended), "\n")
	turned := strings.Join([]string{lines[0], lines[3], lines[2], lines[1], "+79030000004;Новая Анна;OP-04;СФР: выплата назначена."}, "\n")
	for i, id := range []uuid.UUID{c.ID, l.ID} {
		again := h.correct(id, turned+strings.Repeat("\n", i))
		if counted(again) != "ready: 4 rows, 1 accepted, 0 rejected, 3 skipped" {
			t.Errorf("%s %s", counted(again), h.said(again))
		}
		if _, err := h.Refuse(t.Context(), approver, again.ID, "не нужно"); err != nil {
			t.Fatal(err)
		}
	}
	all := h.correct(l.ID, mended+"\n\n")
	if all.State != Rejected || all.StateReason != ErrNothingNew.Detail || all.Skipped != 3 || all.Rejected != 0 {
		t.Errorf("%s %s", counted(all), all.StateReason)
	}
}

// The sender's ids decide where both lists have them: a person may have two rows of one event, and one of them may have been bad.
func TestACorrectionGoesByExternalIDWhereThereIsOne(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	file := "Телефон;ФИО;Внешний номер;Текст\n+79030000001;Иванова Мария;a1;СФР: выплата назначена.\n123;Иванова Мария;a2;СФР: пособие назначено.\n+79030000003;Оглы Ян;a3;СФР: выплата назначена.\n"
	l := h.approve(h.load(listHeader(), file))
	// The second row has the same person as the first; the third has another phone by now, and its time has passed.
	mended := "Телефон;ФИО;Внешний номер;Текст;Отправить до\n+79030000001;Иванова Мария;a2;СФР: пособие назначено.;\n+79030000009;Оглы Ян;a3;СФР: выплата назначена.;01.01.2020\n" +
		"+79030000001;Иванова Мария;a1;СФР: выплата назначена.;\n+79030000004;Новая Анна;a4;СФР: выплата назначена.;\n"
	c := h.correct(l.ID, mended)
	if counted(c) != "ready: 4 rows, 2 accepted, 0 rejected, 2 skipped" || h.said(c) != "2 109, 3 136, 4 136" {
		t.Errorf("%s: %s", counted(c), h.said(c))
	}
	// Ids of a list without a column of them are row numbers, which are nobody's.
	plain := h.approve(h.load(listHeader(), "Телефон;Текст\n+79030000011;СФР: выплата назначена.\n12;СФР: выплата назначена.\n+79030000013;СФР: выплата назначена.\n"))
	c = h.correct(plain.ID, "Телефон;Внешний номер;Текст\n+79030000012;2;СФР: выплата назначена.\n+79030000011;3;СФР: выплата назначена.\n")
	if counted(c) != "ready: 2 rows, 1 accepted, 0 rejected, 1 skipped" || h.said(c) != "3 136" {
		t.Errorf("%s: %s", counted(c), h.said(c))
	}
}

func TestAListExportedIsRecognisedRowForRow(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), oneBad)
	answer := string(h.download(h.ProtocolFile(t.Context(), loader, l.ID)))
	// As a list of its own: what is called taken, and is, is skipped; what was bad is bad.
	again := h.load(listHeader(), answer)
	if again.State != Rejected || h.said(again) != "2 136, 3 101, 4 136" || again.Skipped != 2 || again.Rejected != 1 {
		t.Errorf("%s: %s", counted(again), h.said(again))
	}
	// In place of the list's own file everything counts anew.
	if _, err := h.Replace(t.Context(), loader, l.ID, Header{}, strings.NewReader(answer)); err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if l = h.get(l.ID); counted(l) != "ready: 3 rows, 2 accepted, 1 rejected, 0 skipped" || h.said(l) != "3 101" {
		t.Errorf("%s: %s", counted(l), h.said(l))
	}
	h.approve(l)
	c := h.correct(l.ID, string(h.download(h.ProtocolFile(t.Context(), loader, l.ID))))
	if c.State != Rejected || h.said(c) != "2 136, 3 101, 4 136" {
		t.Errorf("%s: %s", counted(c), h.said(c))
	}
	// Nobody is lost by a mark: a list that is off has told nobody.
	other := newHub(t)
	if got := other.load(listHeader(), answer); counted(got) != "ready: 3 rows, 2 accepted, 1 rejected, 0 skipped" {
		t.Errorf("the mark of a list nobody knows: %s", counted(got))
	}
}

// A mended file has the titles of the list it corrects, and is read by its mapping, whatever the agency says of its columns since; that it
// was corrected makes no new version of the agency's mapping.
func TestACorrectionIsReadByTheMappingOfItsList(t *testing.T) {
	t.Parallel()
	h := mappingHub(t)
	l := h.load(listHeader(withMapping(foreignMapping)), foreignTitles+"1;9030000001;8 495 000-00-00;Ли;СФР: ждём.\n2;123;;Ким;СФР: ждём.\n3;9030000003;;Оглы Ян;СФР: ждём.\n")
	h.approve(l)
	h.load(listHeader(withMapping(map[string]string{"Тел": "phone", "Контакт": ""})), "Тел;Контакт;Сообщение\n9030000009;отдел;СФР: ждём.\n")
	answer := h.download(h.ProtocolFile(t.Context(), loader, l.ID))
	mended := mend(t, answer, "B3", "9030000002")
	c := h.correct(l.ID, mended)
	if counted(c) != "ready: 3 rows, 1 accepted, 0 rejected, 2 skipped" || h.said(c) != "2 136, 4 136" {
		t.Fatalf("%s: %s %s", counted(c), h.said(c), c.StateReason)
	}
	if sent := h.contents(c); len(sent) != 1 || sent[0].Phones[0].E164() != "+79030000002" || sent[0].Person.FullName().Reveal() != "Ким" {
		t.Errorf("%+v", sent)
	}
	if m, _ := h.cfg.Catalog().Mapping(agency, noon); m.Version != 2 || m.Columns["Контакт"] != "" {
		t.Errorf("version %d: %v", m.Version, m.Columns)
	}
	// What is said with the mended file goes before it.
	c = h.correct(l.ID, mended, func(x *Header) { x.Again, x.Mapping = true, map[string]string{"Кому": ""} })
	if c.State != Ready || c.Accepted != 3 { // without their names these are other people
		t.Errorf("%s: %s", counted(c), c.StateReason)
	}
}

// mend changes one cell, as its sender would.
func mend(t testing.TB, file []byte, cell, value string) string {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetCellStr(f.GetSheetName(0), cell, value); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOneCorrectionIsCheckedAtATime(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.approve(h.load(listHeader(), oneBad))
	mended := strings.Replace(oneBad, "\n123;", "\n+79030000002;", 1)
	if _, err := h.Correct(t.Context(), loader, l.ID, Header{}, strings.NewReader(mended)); err != nil {
		t.Fatal(err)
	}
	_, err := h.Correct(t.Context(), loader, l.ID, Header{}, strings.NewReader(mended+"\n"))
	wantFault(t, err, ErrCorrecting)
	h.checkAll()
	if c := h.correct(l.ID, mended+"\n"); c.State != Rejected || c.Skipped != 3 {
		t.Errorf("%s", counted(c))
	}
}

// What was skipped when a slice was admitted stays so when the check goes on after a crash, whatever has become of the other list.
func TestSkippedRowsStayWhenACheckIsResumed(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.SliceRows = 2 })
	l := h.approve(h.load(listHeader(), oneBad))
	mended := strings.Replace(oneBad, "\n123;", "\n+79030000002;", 1)
	ref, err := h.Correct(t.Context(), loader, l.ID, Header{}, strings.NewReader(mended))
	if err != nil {
		t.Fatal(err)
	}
	h.afterSlice = func(int) error { return fmt.Errorf("dies") }
	if _, err := h.checkNext(t.Context(), takesAny); err == nil {
		t.Fatal("it did not die")
	}
	h.afterSlice = nil
	if _, err := h.db.Exec(t.Context(), `UPDATE lists SET state = 'cancelled' WHERE no = $1`, l.No); err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.Exec(t.Context(), `UPDATE list_files SET checked_until = NULL`); err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if c := h.get(ref.ID); counted(c) != "ready: 3 rows, 2 accepted, 0 rejected, 1 skipped" || h.said(c) != "2 136" {
		t.Errorf("%s: %s", counted(c), h.said(c))
	}
}

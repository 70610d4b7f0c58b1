package openapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
)

func TestAPersonIsFoundWithAPurposeMaskedAndJournalled(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	f.placed()
	search := func(key, who string) reply {
		return f.do(key, "POST", "/v1/history/search", `{`+who+`,"purpose":{"code":"complaint","reference":"ОБР-17/2026"}}`)
	}
	for name, who := range map[string]string{
		"phone": `"phone":"8 (903) 000-00-01"`, "snils": `"snils":"11223344595"`,
	} {
		r := search(f.loader, who)
		var found SearchAnswer
		r.into(t, &found)
		if len(found.Found) != 1 || found.Unmasked || found.More || found.Found[0].Notification.NotificationID != f.ids[0].String() || found.Found[0].List.OrderedBy != "Приказ № 7" ||
			found.Found[0].List.LegalBasis == nil || found.Found[0].Row != 2 || len(found.Items) != 5 {
			t.Errorf("%s: %s", name, r.body)
		}
		for _, secret := range []string{"9030000001", "000-00-01", "Мария", "Иванова", "11223344595", "112-233-445", "выплата"} {
			if strings.Contains(r.body, secret) {
				t.Errorf("%s: masked answer holds %s: %s", name, secret, r.body)
			}
		}
		var full SearchAnswer
		search(f.auditor, who).into(t, &full)
		if len(full.Found) != 1 || !full.Unmasked || full.Found[0].Text != "СФР: выплата назначена." || full.Found[0].Person.Phone != "+79030000001" ||
			full.Found[0].Person.FullName != "Иванова Мария Петровна" || full.Found[0].Person.SNILS != "112-233-445 95" {
			t.Errorf("%s in full: %+v", name, full.Found)
		}
	}
	stranger := f.key("stranger", agencyB, journal.RoleListLoader)
	var none SearchAnswer
	search(stranger, `"phone":"+79030000001"`).into(t, &none)
	if len(none.Found) != 0 || len(none.Items) != 0 {
		t.Errorf("another agency's: %+v", none)
	}
	search(f.auditor, `"phone":"+79030000099"`).into(t, &none)
	if len(none.Found) != 0 || none.Found == nil {
		t.Errorf("nobody: %+v", none)
	}

	for name, body := range map[string]string{
		"no purpose":   `{"phone":"+79030000001"}`,
		"two ways":     `{"phone":"+79030000001","snils":"11223344595","purpose":{"code":"complaint","reference":"1"}}`,
		"no way":       `{"purpose":{"code":"complaint","reference":"1"}}`,
		"name alone":   `{"full_name":"Иванова Мария","purpose":{"code":"complaint","reference":"1"}}`,
		"empty reason": `{"phone":"+79030000001","purpose":{"code":"complaint","reference":""}}`,
		"phone inside": `{"phone":"+79030000001","purpose":{"code":"complaint","reference":"8 903 000 00 01"}}`,
		"SNILS inside": `{"phone":"+79030000001","purpose":{"code":"complaint","reference":"112-233-445 95"}}`,
	} {
		if r := f.do(f.auditor, "POST", "/v1/history/search", body); r.status != 422 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}

	f.placed()
	var searches Page[HistoryEntry]
	f.do(f.auditor, "GET", "/v1/history?kind=person.searched", nil).into(t, &searches)
	if len(searches.Items) != 6 {
		t.Fatalf("%d searches in the history", len(searches.Items))
	}
	for _, e := range searches.Items {
		if e.Purpose != "complaint: ОБР-17/2026" || e.Actor == "" {
			t.Errorf("%+v", e)
		}
	}
	var entries []byte
	rows, err := f.db.Query(t.Context(), `SELECT entries FROM journal`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pgx.ForEachRow(rows, []any{&entries}, func() error {
		if bytesHold(entries, "9030000001", "11223344595", "Иванова") {
			return fmt.Errorf("the journal holds a person")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWhoSaysNothingCameIsFoundInTheListsOfHisAgency(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	// The same phone once more, in a list that waits for the morning, and a row that was not taken.
	var second ListRef
	f.upload(f.loader, append(listFieldsOfForm, "file", "Телефон;СНИЛС;Текст\n+7 903 000-00-01;;СФР: справка готова.\n90300000;112-233-445 95;СФР: справка готова.\n"+
		"+7 903 000-00-05;;СФР: справка готова.\n")...).into(t, &second)
	f.reaches(f.loader, second.URL, "ready")
	due := f.clock.now().Add(9 * time.Hour)
	if _, err := f.db.Exec(t.Context(), `UPDATE outbox SET due_at = $1 WHERE id >> 24 <> $2`, due, f.l.No); err != nil {
		t.Fatal(err)
	}
	search := func(key, who string) reply {
		return f.do(key, "POST", "/v1/notifications/search", `{`+who+`,"purpose":{"code":"complaint","reference":"ОБР-17/2026"}}`)
	}
	var found FoundAnswer
	r := search(f.loader, `"phone":"8 (903) 000-00-01"`)
	r.into(t, &found)
	if len(found.Found) != 2 || found.More || found.Found[0].List.ID != second.ID || found.Found[1].List.ID != f.ref.ID {
		t.Fatalf("%s", r.body)
	}
	waiting, told := found.Found[0].Notification, found.Found[1].Notification
	if waiting.State != "pending" || waiting.WaitingUntil == nil || !waiting.WaitingUntil.Equal(due) || told.State != "delivered" || told.Code != "000" || told.WaitingUntil != nil {
		t.Errorf("%+v, %+v", waiting, told)
	}
	supervisor := f.key("supervisor", agencyA, journal.RoleSupervisor)
	operator := f.key("operator", agencyA, journal.RoleOperatorL2) // sees a person in full elsewhere
	for _, key := range []string{supervisor, operator} {
		r := search(key, `"snils":"112-233-445 95"`)
		r.into(t, &found)
		if len(found.Found) != 2 || found.Found[0].Kind != "rejection" || found.Found[0].Row != 3 || fmt.Sprint(found.Found[0].RuleCodes) != "[101]" || found.Found[1].Person == nil {
			t.Errorf("%s", r.body)
		}
		for _, secret := range []string{"9030000001", "000-00-01", "Мария", "Иванова", "11223344595", "112-233-445", "выплата", "справка"} {
			if strings.Contains(r.body, secret) {
				t.Errorf("masked answer holds %s: %s", secret, r.body)
			}
		}
	}
	stranger := f.key("stranger", agencyB, journal.RoleListLoader)
	var none FoundAnswer
	search(stranger, `"phone":"+79030000001"`).into(t, &none)
	if len(none.Found) != 0 || none.Found == nil {
		t.Errorf("another agency's: %+v", none)
	}
	f.wants(f.do(f.loader, "POST", "/v1/notifications/search", `{"phone":"+79030000001"}`), 422, CodePurpose)
	f.wants(search(f.auditor, `"phone":"+79030000001"`), 403, CodeForbidden)

	f.placed()
	var looks Page[HistoryEntry]
	f.do(f.auditor, "GET", "/v1/history?kind=person.searched", nil).into(t, &looks)
	if len(looks.Items) != 4 || looks.Items[0].Actor != "loader" || looks.Items[0].Purpose != "complaint: ОБР-17/2026" {
		t.Errorf("looks in the history: %+v", looks.Items)
	}
}

func TestWhatAnotherFileReplacedIsNotFound(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	var ref ListRef
	f.upload(f.loader, append(listFieldsOfForm, "file", "Телефон;СНИЛС;Текст\n+7 903 000-00-07;;СФР: справка готова.\n90300000;142-334-456 31;СФР: справка готова.\n"+
		"+7 903 000-00-05;;СФР: справка готова.\n")...).into(t, &ref)
	f.reaches(f.loader, ref.URL, "ready")
	find := func(who string) (found FoundAnswer) {
		f.do(f.loader, "POST", "/v1/notifications/search", `{`+who+`,"purpose":{"code":"complaint","reference":"1"}}`).into(t, &found)
		return found
	}
	phone, snils := `"phone":"+79030000007"`, `"snils":"142-334-456 31"`
	if before := find(phone); len(before.Found) != 1 {
		t.Fatalf("%+v", before)
	}
	if before := find(snils); len(before.Found) != 1 {
		t.Fatalf("%+v", before)
	}
	body, contentType := form("file", "Телефон;Текст\n+7 903 000-00-08;СФР: справка готова.\n")
	if r := f.do(f.loader, "PUT", ref.URL+"/file", body, "Content-Type", contentType); r.status != 202 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	f.reaches(f.loader, ref.URL, "ready")
	if after := find(phone); len(after.Found) != 0 {
		t.Errorf("%+v", after.Found)
	}
	if after := find(snils); len(after.Found) != 0 {
		t.Errorf("%+v", after.Found)
	}
}

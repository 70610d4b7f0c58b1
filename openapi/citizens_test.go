package openapi

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/ingest"
	"ekc/journal"
)

func TestProfileOfACitizenIsKeptSealedShownWithAPurposeAndJournalled(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	const purpose = `"purpose":{"code":"complaint","reference":"ОБР-18/2026"}`
	first, second := f.key("operator.one", agencyA, journal.RoleOperatorL1), f.key("operator.two", agencyA, journal.RoleOperatorL2)
	system := f.key("agency.system", agencyA, journal.RoleSourceSystem)
	keep := func(key, phone, by string) reply {
		return f.do(key, "PUT", "/v1/citizens/profile", `{"snils":"112-233-445 95","phone":"`+phone+`","told_by":"`+by+`",`+purpose+`}`)
	}
	for _, r := range []reply{keep(system, "8 916 000 00 07", "agency"), keep(first, "+79160000008", "citizen"), keep(first, "+79160000008", "citizen")} {
		if r.status != 204 {
			t.Fatalf("got %d: %s", r.status, r.body)
		}
	}
	f.wants(keep(system, "+79160000009", "citizen"), 422, "invalid_request")
	f.wants(keep(first, "88005553535", "citizen"), 422, "bad_phone")
	f.wants(keep(f.auditor, "+79160000008", "citizen"), 403, "forbidden")
	f.wants(f.do(first, "POST", "/v1/citizens/profile", `{"snils":"11223344595"}`), 422, "purpose_required")
	f.wants(f.do(first, "POST", "/v1/citizens/profile", `{"snils":"11223344596",`+purpose+`}`), 422, "bad_snils")

	var masked, full ProfileAnswer
	f.do(first, "POST", "/v1/citizens/profile", `{"snils":"11223344595",`+purpose+`}`).into(t, &masked)
	f.do(second, "POST", "/v1/citizens/profile", `{"snils":"11223344595",`+purpose+`}`).into(t, &full)
	if len(masked.Contacts) != 2 || masked.Unmasked || strings.Contains(masked.Contacts[0].Phone, "0000008") || masked.Contacts[0].ToldBy != "citizen" {
		t.Errorf("masked: %+v", masked)
	}
	if len(full.Contacts) != 2 || !full.Unmasked || full.Contacts[0].Phone != "+79160000008" || full.Contacts[1].Phone != "+79160000007" {
		t.Errorf("in full: %+v", full)
	}
	var inClear int
	if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM contacts WHERE contacts::text ~ '9160000008|11223344595' OR encode(sealed, 'escape') ~ '9160000008|11223344595'`).
		Scan(&inClear); err != nil || inClear != 0 {
		t.Errorf("%d contacts in the clear, %v", inClear, err)
	}
	var looks int
	err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM journal WHERE kind IN ('profile.changed', 'person.searched') AND purpose LIKE 'complaint%'`).Scan(&looks)
	if err != nil || looks < 2 {
		t.Errorf("%d rows of the journal tell of it, %v", looks, err)
	}
}

func TestHistoryAnswersWithTheMessageThatCameFromEgisso(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	id := uuid.New()
	fates, err := f.server.doors.Lists.TakeParts(t.Context(), []ingest.FeedPart{{
		Principal: journal.Principal{Account: "source/egisso", Agency: "0001.000001", Source: "egisso", Roles: []journal.Role{journal.RoleSourceSystem}},
		ListID:    id, Part: 1, Parts: 1, Verbatim: []byte("<request>мера</request>"),
		Header: ingest.Header{Source: "egisso", LegalBasis: &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление", Date: "2020-12-03"}, OrderedBy: "Регламент"},
		Rows:   []ingest.InputRow{{ExternalID: "c-1", SNILS: "11223344595", LifeEvent: "OP-04", Text: "СФР: выплата назначена."}},
	}})
	if err != nil || fates[0] != nil {
		t.Fatal(err, fates)
	}
	f.reaches(f.auditor, "/v1/lists/"+id.String(), "running")
	search := func(key string) (out SearchAnswer) {
		f.do(key, "POST", "/v1/history/search", `{"snils":"11223344595","purpose":{"code":"complaint","reference":"ОБР-19/2026"}}`).into(t, &out)
		return out
	}
	found := search(f.auditor)
	if len(found.Found) != 2 || found.Found[0].List.ID != id.String() || found.Found[0].Message != "<request>мера</request>" || found.Found[1].Message != "" {
		t.Errorf("found: %+v", found.Found)
	}
	for _, one := range search(f.key("watcher", "0001.000001", journal.RoleListLoader)).Found {
		if one.Message != "" {
			t.Error("a masked answer has the message")
		}
	}
}

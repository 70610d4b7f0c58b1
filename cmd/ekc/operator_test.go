package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"ekc/fixtures"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres/postgrestest"
)

// download gets a file of the API.
func (w *world) download(c *apiClient, path string) []byte {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, c.base+path, nil)
	must(w.t, err)
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := c.http.Do(req)
	must(w.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s %s, %v", path, resp.Status, data, err)
	}
	return data
}

// bookRows opens a workbook as a spreadsheet program would.
func bookRows(t *testing.T, file []byte, sheet int) [][]string {
	t.Helper()
	book, err := excelize.OpenReader(bytes.NewReader(file))
	must(t, err)
	defer book.Close()
	rows, err := book.GetRows(book.GetSheetName(sheet))
	must(t, err)
	return rows
}

// mended types the mends over the cells of an annotated file and saves it.
func mended(t *testing.T, file []byte) []byte {
	t.Helper()
	book, err := excelize.OpenReader(bytes.NewReader(file))
	must(t, err)
	defer book.Close()
	sheet := book.GetSheetName(0)
	rows, err := book.GetRows(sheet)
	must(t, err)
	mends, err := fixtures.Mends()
	must(t, err)
	for _, m := range mends {
		column := slices.Index(rows[0], m.Title)
		if column < 0 {
			t.Fatalf("there is no column «%s»", m.Title)
		}
		cell, err := excelize.CoordinatesToCellName(column+1, m.Row)
		must(t, err)
		must(t, book.SetCellStr(sheet, cell, m.Value))
	}
	var out bytes.Buffer
	must(t, book.Write(&out))
	return out.Bytes()
}

// A new operator brings the broken sample, mends what came back, and brings it again (docs/operator.md): nobody is told twice, what was
// overlooked is told, and another person approves each time.
func TestANewOperatorMendsTheBrokenSample(t *testing.T) {
	t.Parallel()
	const agency = "B202.000001"
	w := newWorld(t, postgrestest.NewURL(t))
	w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	s.loader, s.approver = w.person("ivanova", agency, journal.RoleListLoader), w.person("petrov", agency, journal.RoleListApprover)
	sample := fixtures.Sample{File: "faults.csv"}
	content, err := sample.Bytes()
	must(t, err)
	fields := plainList("Файл с ошибками")
	fields["life_event"], fields["legal_basis.code"] = "", "152-FZ-10"
	ref, err := s.loader.submit(t.Context(), sample.File, bytes.NewReader(content), fields)
	must(t, err)
	list := w.await(s, ref.ID, checked)
	if list.State != string(ingest.Ready) || list.Rows != 68 || list.Accepted != 41 || list.Rejected != 27 {
		t.Fatalf("the broken sample: %+v", list)
	}
	annotated := w.download(s.loader, "/v1/lists/"+list.ID+"/protocol.xlsx")
	rows := bookRows(t, annotated, 0)
	if got := rows[7][len(rows[7])-3:]; got[0] != "не принята" || got[1] != "118" || !strings.HasPrefix(got[2], "«Телефон»: В ячейке несколько номеров.") {
		t.Errorf("row 8 came back as %q", got)
	}
	correction := mended(t, annotated)

	var refusal *apiError
	_, err = s.loader.upload(t.Context(), "POST", "/v1/lists/"+list.ID+"/corrections", "mended.xlsx", bytes.NewReader(correction), nil)
	if !errors.As(err, &refusal) || refusal.Code != "list_state" || !strings.Contains(refusal.Detail, "замените его файл") {
		t.Errorf("a correction before approval: %v", err)
	}
	if err := approve(t.Context(), staff{approver: s.loader}, list); !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
		t.Errorf("the loader approves: %v", err)
	}
	must(t, approve(t.Context(), s, list))
	w.await(s, list.ID, ended)

	ref, err = s.loader.upload(t.Context(), "POST", "/v1/lists/"+list.ID+"/corrections", "mended.xlsx", bytes.NewReader(correction), nil)
	must(t, err)
	second := w.await(s, ref.ID, checked)
	if second.State != string(ingest.Ready) || second.Accepted != 26 || second.Skipped != 41 || second.Rejected != 1 || second.Name != "Исправление: Файл с ошибками" {
		t.Fatalf("the correction: %+v", second)
	}
	var protocol ingest.Protocol
	must(t, s.loader.call(t.Context(), http.MethodGet, "/v1/lists/"+second.ID+"/protocol?limit=1000", nil, &protocol))
	for _, r := range protocol.ErrorRecords {
		if m := r.Messages[0]; r.RecordOK != (m.RuleCode == ingest.RuleSkipped) || !r.RecordOK && (r.Row != 59 || m.RuleCode != ingest.RuleChannel) {
			t.Errorf("row %d of the correction: %+v", r.Row, r)
		}
	}
	must(t, approve(t.Context(), s, second))
	second = w.await(s, second.ID, ended)
	if second.Counts["delivered"] != 24 || second.Counts["undelivered"] != 2 {
		t.Errorf("the correction ended: %v", second.Counts)
	}
	w.toldOnce(t)

	if got := strings.Count(string(w.download(s.loader, "/v1/lists/"+second.ID+"/results.csv")), "\r\n"); got != 1+26 {
		t.Errorf("results.csv has %d lines", got)
	}
	if got := bookRows(t, w.download(s.loader, "/v1/lists/"+second.ID+"/results.xlsx"), 0); len(got) != 69 || got[1][17] != "Принята раньше, пропущена" || got[6][17] != "Доставлено" {
		t.Errorf("results.xlsx has %d rows: %q", len(got), got[1])
	}
	left := bookRows(t, w.download(s.loader, "/v1/lists/"+second.ID+"/not-informed.xlsx"), 0)
	var who []string
	for _, row := range left[1:] {
		if len(row) != 21 || row[20] == "" {
			t.Errorf("nothing is advised for row %q", row)
		}
		who = append(who, row[17])
	}
	if !slices.Equal(who, []string{"5", "6", "59"}) {
		t.Errorf("not informed: %q", who)
	}
	first := bookRows(t, w.download(s.loader, "/v1/lists/"+list.ID+"/not-informed.xlsx"), 1)
	if last := first[len(first)-1]; last[0] != "Загружено исправление" || !strings.Contains(last[2], second.ID) {
		t.Errorf("the first list does not name its correction: %q", last)
	}
	w.overlooked(s, list, second)
}

// toldOnce: no phone got more than one message, but the one that two people share; what was mended in a row that had been taken is not said.
func (w *world) toldOnce(t *testing.T) {
	t.Helper()
	got := make(map[string]int)
	for _, m := range w.smsc.Messages() {
		got[m.To]++
		if strings.Contains(m.Text, "приходите в любой день") {
			t.Errorf("%s was told what was mended afterwards", m.To)
		}
	}
	for phone, n := range got {
		if n != 1 && phone != "79271235368" {
			t.Errorf("%s got %d messages", phone, n)
		}
	}
	if len(got) != 39+26 { // of 41 one has no mobile phone, and two share one
		t.Errorf("%d phones were told", len(got))
	}
}

// overlooked mends the last row in the file that came back with the correction: only it is left.
func (w *world) overlooked(s staff, list, second openapi.List) {
	w.t.Helper()
	book, err := excelize.OpenReader(bytes.NewReader(w.download(s.loader, "/v1/lists/"+second.ID+"/protocol.xlsx")))
	must(w.t, err)
	defer book.Close()
	must(w.t, book.SetCellStr(book.GetSheetName(0), "M59", "СМС"))
	var file bytes.Buffer
	must(w.t, book.Write(&file))
	ref, err := s.loader.upload(w.t.Context(), "POST", "/v1/lists/"+list.ID+"/corrections", "last.xlsx", &file, nil)
	must(w.t, err)
	if third := w.await(s, ref.ID, checked); third.State != string(ingest.Ready) || third.Accepted != 1 || third.Skipped != 67 || third.Rejected != 0 {
		w.t.Errorf("the last correction: %+v", third)
	}
}

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ekc/ingest"
	"ekc/openapi"
	"ekc/smpp"
	"ekc/smpp/smpptest"
)

// fault is one thing that goes wrong for the troubled agency. begin returns once it bites; what it returns ends it and finds out that
// it was there all the time.
type fault struct {
	name  string
	begin func(*stand) (end func())
}

var faults = []fault{
	{"rows that cannot be opened", poisonedRows},
	{"lists whose key or template is gone", lostKeyAndTemplate},
	{"SMSC that throttles everything", throttling},
	{"SMSC that never answers", silence},
	{"SMSC that is away and refuses binds", refusedBinds},
	{"SMSC that sends garbage", garbage},
	{"list with nothing but invalid numbers", invalidNumbers},
	{"agency that floods lists", flood},
	{"hostile and broken uploads", hostileUploads},
}

// poisonedRows spoils the sealed content of five rows of twenty, each in its way; the fifteen between them are bystanders too.
func poisonedRows(s *stand) func() {
	l := s.bring(s.troubled, "список", s.phones(20))
	tag, err := s.db.Exec(s.t.Context(), `UPDATE notifications n SET sealed = CASE row_number
			WHEN 1 THEN '' WHEN 2 THEN '\x00' WHEN 3 THEN substring(n.sealed, 1, 20) WHEN 4 THEN set_byte(n.sealed, 40, get_byte(n.sealed, 40) # 255)
			ELSE next END
		FROM (SELECT id, row_number() OVER (ORDER BY id), lead(sealed) OVER (ORDER BY id) AS next FROM notifications
			WHERE id >> 24 = (SELECT no FROM lists WHERE lists.id = $1)) spoilt WHERE spoilt.id = n.id AND row_number <= 5`, l.ID)
	must(s.t, err)
	if tag.RowsAffected() != 5 {
		s.t.Fatalf("%d rows are spoilt", tag.RowsAffected())
	}
	must(s.t, approve(s.t.Context(), s.troubled, l))
	return func() {
		l = s.await(s.troubled, l.ID, ended)
		if l.Counts["refused"] != 5 || l.Counts["delivered"] != 15 {
			s.t.Errorf("of the spoilt list: %v, want 5 refused and 15 delivered", l.Counts)
		}
	}
}

// lostKeyAndTemplate starts a list whose key was destroyed, one whose key cannot be opened by the key set there is, and one whose
// template is no longer in the catalogue.
func lostKeyAndTemplate(s *stand) func() {
	t := s.t
	destroyed, foreign := s.bring(s.troubled, "список", s.phones(20)), s.bring(s.troubled, "список", s.phones(20))
	for id, wrapped := range map[string][]byte{destroyed.ID: nil, foreign.ID: []byte("wrapped by another key set")} {
		// A key of its own: the list's own one is still open in this process, which has just sealed with it.
		_, err := s.db.Exec(t.Context(), `WITH lost AS (INSERT INTO data_keys (scope, wrapped) VALUES ('lost/' || $1, $2) RETURNING id)
			UPDATE runs SET data_key = (SELECT id FROM lost) WHERE list_no = (SELECT no FROM lists WHERE id = $1::uuid)`, id, wrapped)
		must(t, err)
	}
	templated, err := s.troubled.loader.submit(t.Context(), "x.csv", strings.NewReader("Телефон\n"+s.phones(1)[0]+"\n"), map[string]string{"name": "шаблон", "life_event": "OP-04", "template": "S-00",
		"ordered_by": "письмо 1", "legal_basis.code": "x", "legal_basis.document": "приказ", "legal_basis.date": "2026-01-15"})
	must(t, err)
	third := s.await(s.troubled, templated.ID, checked)
	_, err = s.db.Exec(t.Context(), `DELETE FROM catalog_items WHERE kind = 'template' AND code = 'S-00'`)
	must(t, err)
	for _, l := range []openapi.List{destroyed, foreign, third} {
		must(t, approve(t.Context(), s.troubled, l))
	}
	return func() {
		if l := s.await(s.troubled, destroyed.ID, ended); l.Counts["refused"] != 20 {
			t.Errorf("of the list whose key is destroyed: %v, want 20 refused", l.Counts)
		}
		if l := s.await(s.troubled, third.ID, ended); l.Counts["delivered"] != 1 {
			t.Errorf("of the list whose template is gone: %v, want 1 delivered: it was rendered before", l.Counts)
		}
		l := s.await(s.troubled, foreign.ID, func(openapi.List) bool { return true })
		if l.State != string(ingest.Running) || l.Counts["pending"] != 20 {
			t.Errorf("the list whose key cannot be opened is %s %v: the right key set may come yet, it must wait", l.State, l.Counts)
		}
	}
}

func throttling(s *stand) func() {
	l := s.send(s.troubled, "список", phones(40, smpptest.Throttled)...)
	s.awaitSMSC(s.bad, "it throttles", func(st smpptest.Stats) bool { return st.Refused[smpp.StatusThrottled] >= 3 })
	time.Sleep(2 * time.Second) // in which the link's pauses grow: what it was given before is part of the fault
	return func() { s.unfinished(l) }
}

func silence(s *stand) func() {
	l := s.send(s.troubled, "список", s.phones(600)...)
	s.awaitSMSC(s.bad, "it is at work", func(st smpptest.Stats) bool { return st.Messages >= 20 })
	s.bad.Pause()
	time.Sleep(5 * time.Second) // in which the link is found out: what it was given before is part of the fault
	return func() {
		s.unfinished(l)
		s.bad.Resume()
	}
}

func refusedBinds(s *stand) func() {
	l := s.send(s.troubled, "список", s.phones(600)...)
	s.awaitSMSC(s.bad, "it is at work", func(st smpptest.Stats) bool { return st.Messages >= 20 })
	s.bad.RefuseBinds(smpp.StatusInvPaswd)
	s.bad.DropLinks()
	s.awaitSMSC(s.bad, "a bind was refused", func(st smpptest.Stats) bool { return st.BindsRefused > 0 })
	return func() { s.unfinished(l) }
}

// garbage is put between the PDUs of a link at work: what no SMS centre should send, and what looks like a receipt.
func garbage(s *stand) func() {
	l := s.send(s.troubled, "список", s.phones(600)...)
	s.awaitSMSC(s.bad, "it is at work", func(st smpptest.Stats) bool { return st.Messages >= 20 })
	deliver := func(text string) []byte {
		return smpp.AppendDeliverSM(nil, 7, &smpp.ShortMessage{Source: smpp.Address{TON: 1, NPI: 1, Addr: "79101000101"},
			Dest: smpp.Address{TON: 5, Addr: "BAD"}, ESMClass: 0x04, ShortMessage: []byte(text)})
	}
	pdus := [][]byte{
		smpp.AppendHeaderOnly(nil, 0x0BADF00D, smpp.StatusOK, 1),
		smpp.AppendHeaderOnly(nil, smpp.SubmitSMResp, smpp.StatusOK, 0xFFFFFF),
		smpp.AppendHeaderOnly(nil, smpp.GenericNack, 0xEEEEEEEE, 0),
		deliver("id:\x00\xff\xfe sub:\xc3( stat:DELIVRD err:\x00\x00\x00"),
		deliver("id:' OR 1=1 -- stat:\u0000 submit date:99999999999999"),
		deliver(strings.Repeat("\xff", 250)),
		{0, 0, 0, 17, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 'x'}, // deliver_sm without an end
		{0, 0, 0, 4, 0, 0, 0, 5},                               // shorter than a header
		{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5},                   // four gigabytes long
	}
	stop := s.repeat(1, func(_ context.Context, i int) error {
		s.bad.Inject(pdus[i%len(pdus)])
		time.Sleep(10 * time.Millisecond)
		return nil
	})
	s.awaitSMSC(s.bad, "the hub complains", func(st smpptest.Stats) bool { return st.NacksReceived > 0 && st.Binds > 1 })
	return func() {
		stop()
		s.unfinished(l)
	}
}

// invalidNumbers brings a list that is rejected whole, and one of which the SMS centre refuses each row.
func invalidNumbers(s *stand) func() {
	bad := make([]string, 200)
	for i := range bad {
		bad[i] = fmt.Sprintf("+7910%04d", i)
	}
	ref, err := s.troubled.loader.submit(s.t.Context(), "x.csv", strings.NewReader(listOf(bad)), plainList("список"))
	must(s.t, err)
	l := s.send(s.troubled, "список", phones(40, smpptest.InvalidDestination)...)
	s.awaitSMSC(s.bad, "it refuses", func(st smpptest.Stats) bool { return st.Refused[smpp.StatusInvDstAdr] > 0 })
	return func() {
		if first := s.await(s.troubled, ref.ID, checked); first.State != string(ingest.Rejected) {
			s.t.Errorf("a list without one good number is %s", first.State)
		}
		if l = s.await(s.troubled, l.ID, ended); l.Counts["refused"] != int64(l.Accepted) {
			s.t.Errorf("of numbers that do not exist: %v, want all %d refused", l.Counts, l.Accepted)
		}
	}
}

// flood brings lists as fast as they are taken, and starts each.
func flood(s *stand) func() {
	var started atomic.Int64
	stop := s.repeat(3, func(ctx context.Context, _ int) error {
		ref, err := s.troubled.loader.submit(ctx, "x.csv", strings.NewReader(listOf(s.phones(200))), plainList("список"))
		if err != nil {
			return err
		}
		l, err := s.troubled.loader.awaitList(ctx, ref.ID, checked, func(openapi.List) {})
		if err == nil {
			err = approve(ctx, s.troubled, l)
		}
		started.Add(1)
		return err
	})
	s.awaitSMSC(s.bad, "several lists are started", func(smpptest.Stats) bool { return started.Load() >= 4 })
	return func() {
		stop()
		if n := s.bad.Stats().Messages; int64(n) >= 200*started.Load() {
			s.t.Errorf("all of %d lists were sent: it was no flood", started.Load())
		}
		s.t.Logf("%d lists of 200 rows", started.Load())
	}
}

// hostileUploads brings files that are meant to do harm or are cut, three at a time, and holds uploads open that say nothing.
func hostileUploads(s *stand) func() {
	files := [][2]string{
		{"over the limit", strings.Repeat("Телефон\n", 1<<19)},
		{"junk", strings.Repeat("\x00\xff\x1b", 1<<19)},
		{"cut", workbookOf("<worksheet/>")[:300]},
		{"bomb", workbookOf("<worksheet><sheetData>" + strings.Repeat("<row><c/></row>", 1<<20) + "</sheetData></worksheet>")},
		{"separators", strings.Repeat(";", 1<<20)},
		{"a quote without an end", "Телефон;Текст\n\"" + strings.Repeat("a\n", 1<<19)},
		{"one endless line", "Телефон;Текст\n+79101000101;" + strings.Repeat("я", 1<<20)},
		{"entities", workbookOf(`<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><worksheet>&b;</worksheet>`)},
		{"half a workbook", workbookOf("<worksheet><sheetData><row><c>")},
	}
	var refused, rejected atomic.Int64
	bring := s.repeat(3, func(ctx context.Context, i int) error {
		name, file := files[i%len(files)][0], files[i%len(files)][1]
		ref, err := s.troubled.loader.submit(ctx, "x.xlsx", strings.NewReader(file), map[string]string{"name": name, "again": "true"})
		if name == "over the limit" && err != nil { // a refusal, or the connection is closed under an upload that goes on
			refused.Add(1)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l, err := s.troubled.loader.awaitList(ctx, ref.ID, checked, func(openapi.List) {})
		if err == nil && l.State != string(ingest.Rejected) {
			return fmt.Errorf("%s is %s", name, l.State)
		}
		rejected.Add(1)
		return err
	})
	hold := s.repeat(20, func(ctx context.Context, _ int) error {
		slow, end := io.Pipe()
		defer context.AfterFunc(ctx, func() { _ = end.CloseWithError(ctx.Err()) })()
		_, _ = s.troubled.loader.submit(ctx, "x.csv", slow, plainList("список")) // until the client loses patience
		return nil
	})
	s.awaitSMSC(s.bad, "some are judged", func(smpptest.Stats) bool { return refused.Load() > 0 && rejected.Load() > 0 })
	return func() {
		bring()
		hold()
		s.t.Logf("%d files were refused at the door, %d when they were read", refused.Load(), rejected.Load())
	}
}

// workbookOf is a workbook of one sheet.
func workbookOf(sheet string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, part := range [][2]string{
		{"[Content_Types].xml", `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>`},
		{"_rels/.rels", `<Relationships><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"xl/workbook.xml", `<workbook xmlns:r="r"><sheets><sheet name="1" sheetId="1" r:id="r1"/></sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`},
		{"xl/worksheets/sheet1.xml", sheet},
	} {
		if w, err := z.Create(part[0]); err == nil { // a buffer takes everything
			_, _ = io.WriteString(w, part[1])
		}
	}
	_ = z.Close()
	return b.String()
}

// repeat does it over and over, several at a time, until the returned function is called.
func (s *stand) repeat(workers int, do func(ctx context.Context, i int) error) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := worker; ctx.Err() == nil; i += workers {
				if err := do(ctx, i); err != nil && ctx.Err() == nil {
					s.t.Error(err)
					return
				}
			}
		})
	}
	stop = func() {
		cancel()
		all.Wait()
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *stand) awaitSMSC(smsc *smpptest.Server, what string, ok func(smpptest.Stats) bool) {
	s.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok(smsc.Stats()) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// unfinished says that the trouble lasted to the end.
func (s *stand) unfinished(l openapi.List) {
	s.t.Helper()
	var left int
	must(s.t, s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM notifications n LEFT JOIN outcomes o ON o.id = n.id
		WHERE n.id >> 24 = (SELECT no FROM lists WHERE id = $1) AND o.id IS NULL`, l.ID).Scan(&left))
	if left == 0 {
		s.t.Error("the troubled list has ended: the fault was over before the bystanders were")
	}
}

package ingest

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/smpp"
)

// testMark begins the text of a test sending, so that nobody takes it for the message itself.
const testMark = "Проверка: "

// Refusals of a test sending.
var (
	ErrTestPhone   = &Fault{FaultInvalid, "test_phone", "Укажите мобильный номер, на который придёт проверка: +7 и 10 цифр."}
	ErrTestLong    = &Fault{FaultInvalid, "test_too_long", "С пометкой «Проверка» текст строки длиннее %d частей СМС. Выберите строку с текстом короче."}
	ErrTestOfTest  = &Fault{FaultConflict, "test_of_test", "Это и есть проверочная отправка. Откройте список, который она проверяет."}
	ErrTestStopped = &Fault{FaultConflict, "list_stopped", "Отправка этого списка остановлена: проверку тоже отправить нельзя, пока остановку не снимут."}
	ErrTestsOfList = &Fault{FaultConflict, "tests_of_list", "Больше проверок этого списка отправить нельзя: правила разрешают %d на один список."}
	ErrTestsOfADay = &Fault{FaultConflict, "tests_of_day", "Больше проверок сейчас отправить нельзя: правила разрешают сотруднику %d в сутки. Повторите завтра."}
)

// testSend is what a list of one shows of another.
type testSend struct {
	list         *List
	row          int
	notification dispatch.NotificationID
}

// TestSend sends one accepted row of a list that is ready, approved or running, as it will leave, to a mobile phone its loader names: the
// first row when row is zero. It makes a list of one that names the list it tests, goes ahead of all lists and needs no second person:
// the catalogue's rules say how many there may be of a list and by an account in 24 hours. The text begins with a mark. Of the citizen
// whose row it is nothing else goes along, and in the tested list nothing is counted.
func (s *Service) TestSend(ctx context.Context, p journal.Principal, id uuid.UUID, row int, phone string) (Ref, error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return Ref{}, err
	}
	if err := s.mayTestSend(p, l); err != nil {
		return Ref{}, err
	}
	to, err := citizen.ParsePhone(phone)
	if err != nil || to.Kind() != citizen.Mobile {
		return Ref{}, ErrTestPhone
	}
	if row == 0 {
		if row, err = s.firstRow(ctx, l); err != nil {
			return Ref{}, err
		}
	}
	shown, err := s.preview(ctx, l, row)
	if err != nil {
		return Ref{}, err
	}
	a, rows, err := s.testOf(ctx, l, shown, to)
	if err != nil {
		return Ref{}, err
	}
	var table bytes.Buffer
	if err := appendTable(&table, rows); err != nil {
		return Ref{}, err
	}
	return s.take(ctx, p, a, &table)
}

// mayTestSend are the loaders of the list's own agency, while it is theirs to send.
func (s *Service) mayTestSend(p journal.Principal, l *List) error {
	switch {
	case p.Agency != l.Agency || !p.Has(journal.RoleListLoader) || p.Test && !l.Test:
		return ErrForbidden
	case l.Tests != uuid.Nil:
		return ErrTestOfTest
	case l.State != Ready && l.State != Approved && l.State != Running:
		return s.wrongState(l)
	case l.LegalBasis == nil || l.LegalBasis.Code == "" || l.LegalBasis.Document == "":
		return ErrNoBasis
	case l.OrderedBy == "":
		return ErrNoOrder
	}
	return nil
}

// firstRow is the number of the first accepted row.
func (s *Service) firstRow(ctx context.Context, l *List) (int, error) {
	ids, _, err := dispatch.PageIDs(ctx, s.cfg.DB, l.No, nil, 0, 1, l.CreatedAt)
	if err != nil {
		return 0, err
	}
	first, err := dispatch.ReadStatus(ctx, s.cfg.DB, ids, l.CreatedAt)
	if err != nil {
		return 0, err
	}
	if len(first) == 0 {
		return 0, ErrRowNotFound
	}
	return int(first[0].RowNo), nil
}

// testOf makes the header and the row of a test sending: those of the tested list, but for what is the citizen's.
func (s *Service) testOf(ctx context.Context, l *List, shown Preview, to citizen.Phone) (arrival, []InputRow, error) {
	a := arrival{kind: KindExpress, format: formatTable, testSend: &testSend{list: l, row: shown.Row, notification: shown.NotificationID}}
	now, snapshot := s.cfg.Now(), s.cfg.Catalog()
	text := testMark + shown.Text
	_, segments := smpp.Segments(text)
	switch {
	case !shown.Accepted:
		return a, nil, ErrRowNotFound
	case !shown.ValidUntil.IsZero() && !shown.ValidUntil.After(now):
		return a, nil, ErrListExpired
	case segments > s.cfg.MaxSegments:
		return a, nil, ErrTestLong.with(s.cfg.MaxSegments)
	}
	if shown.Template != "" {
		var known bool
		if shown.Template == l.Template {
			a.template, known = snapshot.Template(l.Template, l.TemplateVersion)
		} else {
			a.template, known = snapshot.FindTemplate(shown.Template, now)
		}
		if !known {
			return a, nil, ErrUnknownTemplate
		}
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	if err != nil {
		return a, nil, err
	}
	_, e, err := s.lastFile(ctx, l.No, key)
	if err != nil {
		return a, nil, err
	}
	e.Name = firstRunes(fmt.Sprintf("Проверка строки %d: %s", shown.Row, l.Name), 200)
	e.LegalBasis, e.OrderedBy = l.LegalBasis, l.OrderedBy
	e.Template, e.LifeEvent, e.Channels = shown.Template, shown.LifeEvent, shown.Channels
	e.NotBefore, e.ValidUntil, e.InformBy, e.Trusted = Moment{}, Moment{At: shown.ValidUntil}, Moment{}, false
	a.envelope = e
	return a, []InputRow{{Phone: to.E164(), Text: text}}, nil
}

func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

const (
	// The tested list is locked already, so that its test sendings are counted one at a time; this does the same for those of an account.
	lockTestsSQL  = `SELECT pg_advisory_xact_lock(hashtextextended('test_send/' || $1, 0))`
	countTestsSQL = `SELECT (SELECT count(*) FROM lists WHERE tests = @list AND state <> 'rejected'),
		(SELECT count(*) FROM lists WHERE tests IS NOT NULL AND loaded_by = @account AND created_at > @since AND state <> 'rejected')`
)

// permitTest holds a test sending against the catalogue's rules, in the transaction that makes its list.
func (s *Service) permitTest(ctx context.Context, tx pgx.Tx, p journal.Principal, id uuid.UUID) error {
	l, err := find(ctx, tx, p, id, true)
	if err != nil {
		return err
	}
	if err := s.mayTestSend(p, l); err != nil {
		return err
	}
	stopped, err := s.cfg.Admission.Stopped(ctx, tx, l.No)
	if err != nil {
		return err
	}
	if stopped {
		return ErrTestStopped
	}
	now := s.cfg.Now()
	rules, err := s.cfg.Catalog().Rules(now)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, lockTestsSQL, p.Account); err != nil {
		return fmt.Errorf("lock test sendings: %w", err)
	}
	var ofList, ofDay int
	err = tx.QueryRow(ctx, countTestsSQL, pgx.NamedArgs{"list": l.No, "account": p.Account, "since": now.Add(-24 * time.Hour)}).Scan(&ofList, &ofDay)
	switch {
	case err != nil:
		return fmt.Errorf("count test sendings: %w", err)
	case ofList >= rules.TestsPerList:
		return ErrTestsOfList.with(rules.TestsPerList)
	case ofDay >= rules.TestsPerDay:
		return ErrTestsOfADay.with(rules.TestsPerDay)
	}
	return nil
}

// recordTest tells of a test sending in the history of the tested list: that it was sent, and that a citizen's text was shown to somebody.
func (s *Service) recordTest(ctx context.Context, tx pgx.Tx, p journal.Principal, t *testSend, ref *Ref) error {
	data := func(more ...string) []journal.Field {
		return journal.Fields(append(more, "row", fmt.Sprint(t.row), "test_list_id", ref.ID.String())...)
	}
	for _, e := range []journal.Entry{{Kind: journal.ListTestSent, Data: data()}, {Kind: journal.PersonalViewed, Data: data("what", "test_send")}} {
		e.ListNo, e.Agency, e.Notification = t.list.No, t.list.Agency, int64(t.notification)
		if err := s.append(ctx, tx, p, e); err != nil {
			return err
		}
	}
	return nil
}

// approveTest lets a test sending go: by the rule that bounds it, in place of a second person.
func (s *Service) approveTest(ctx context.Context, tx pgx.Tx, l *List) error {
	rule := journal.System("ingest")
	rule.Account = "rule/" + catalog.RuleTestsPerList
	return s.approve(ctx, tx, rule, l, time.Time{}, journal.Fields("tests", l.Tests.String(), "by", l.LoadedBy))
}

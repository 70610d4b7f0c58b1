package ingest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres/postgrestest"
)

// hub is a Service on a database of its own, with the seed catalogue and one SMS pool that nobody holds.
type hub struct {
	*Service
	t         testing.TB
	db        *pgxpool.Pool
	sequencer sync.Once
}

// noon is a working day at 12:00 in Moscow.
var noon = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func newHub(t testing.TB, change ...func(*Config)) *hub {
	t.Helper()
	return hubOn(t, postgrestest.New(t), keyring(t), change...)
}

func keyring(t testing.TB) *citizen.Keyring {
	t.Helper()
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return citizen.NewKeyring(keys, 16)
}

var seedCatalog = sync.OnceValues(func() (*catalog.Catalog, error) {
	items, err := catalog.SeedItems()
	if err != nil {
		return nil, err
	}
	return catalog.New(items), nil
})

func smsRoutes(channel, _ string, _ citizen.Phone, _ bool) (string, bool) {
	return "sms", channel == "sms"
}

func hubOn(t testing.TB, db *pgxpool.Pool, keys *citizen.Keyring, change ...func(*Config)) *hub {
	t.Helper()
	items, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	if err := dispatch.EnsurePool(t.Context(), db, "sms", "sms", []string{"smsc"}); err != nil {
		t.Fatal(err)
	}
	c := Config{DB: db, Catalog: func() *catalog.Catalog { return items }, Keys: keys, Journal: journal.NewWriter(),
		Admission: dispatch.NewAdmission(smsRoutes), Routes: smsRoutes, Now: func() time.Time { return noon },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Poll: 20 * time.Millisecond, SliceRows: 1000}
	for _, f := range change {
		f(&c)
	}
	return &hub{Service: New(c), t: t, db: db}
}

const agency = "0002.000014"

var (
	loader   = journal.Principal{Account: "loader", Agency: agency, Roles: []journal.Role{journal.RoleListLoader}}
	approver = journal.Principal{Account: "approver", Agency: agency, Roles: []journal.Role{journal.RoleListApprover, journal.RoleListLoader}}
	stranger = journal.Principal{Account: "stranger", Agency: "B202.000001", Roles: []journal.Role{journal.RoleListLoader, journal.RoleListApprover}}
	auditor  = journal.Principal{Account: "auditor", Roles: []journal.Role{journal.RoleAuditor}}
)

var basis = &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление № 1994", Date: "2020-12-03"}

// disclosing is a basis under which a text may speak of health.
var disclosing = &catalog.LegalBasis{Code: "152-FZ-10", Document: "Согласие", Date: "2026-01-15"}

func listHeader(change ...func(*Header)) Header {
	h := Header{Name: "Список", LegalBasis: basis, OrderedBy: "Приказ № 1"}
	for _, f := range change {
		f(&h)
	}
	return h
}

// load submits a file and checks it at once.
func (h *hub) load(head Header, file string) *List {
	h.t.Helper()
	ref, err := h.Submit(h.t.Context(), loader, head, strings.NewReader(file))
	if err != nil {
		h.t.Fatal(err)
	}
	h.checkAll()
	return h.get(ref.ID)
}

func (h *hub) checkAll() {
	h.t.Helper()
	for {
		found, err := h.checkNext(h.t.Context(), takesAny)
		if err != nil {
			h.t.Fatal(err)
		}
		if !found {
			return
		}
	}
}

func (h *hub) get(id uuid.UUID) *List {
	h.t.Helper()
	l, err := h.Get(h.t.Context(), loader, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func (h *hub) protocol(l *List) Protocol {
	h.t.Helper()
	p, err := h.Protocol(h.t.Context(), loader, l.ID, 0, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *hub) approve(l *List) *List {
	h.t.Helper()
	l, err := h.Approve(h.t.Context(), approver, l.ID, Expected{l.Accepted, l.DigestString()}, time.Time{})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func (h *hub) number(sql string, args ...any) (n int64) {
	h.t.Helper()
	if err := h.db.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

func wantFault(t testing.TB, err error, want *Fault) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %s", err, want.Code)
	}
}

const goodFile = "Телефон;СНИЛС;ФИО;Код события;Текст;ОКТМО\n" +
	"+7 903 000-00-01;112-233-445 95;Иванова Мария Петровна;OP-04;СФР: выплата назначена.;01000000\n" +
	"8 (903) 000-00-02;;Оглы Ян;OP-04;СФР: выплата назначена.;\n" +
	"9030000003;;;OP-04;СФР: выплата назначена.;45000000\n"

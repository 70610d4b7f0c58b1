package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
)

// Config is what a Service is made of. Zero numbers take the defaults.
type Config struct {
	DB        *pgxpool.Pool
	Catalog   func() *catalog.Catalog // the snapshot of the moment
	Keys      *citizen.Keyring
	Journal   *journal.Writer
	Admission *dispatch.Admission
	Routes    dispatch.Routes // the same that Admission has: a row without any link gets a verdict, not an error
	Now       func() time.Time
	Log       *slog.Logger
	Metrics   prometheus.Registerer

	Limits      Limits
	SliceRows   int // rows of one transaction; 10,000
	MaxSegments int // the longest text; 10
	Checkers    int // lists checked at once, besides one small one and one single event; 2
	// Lease is how long a list stays with a process that has stopped speaking; 30 s.
	Lease time.Duration
	// PartsTimeout is how long the missing parts of a list of the feed are waited for before somebody is told; 1 h.
	PartsTimeout time.Duration
	// Poll is how often a process looks for lists that others left; 1 s.
	Poll time.Duration
}

// Service is the life of lists. It is safe for concurrent use.
type Service struct {
	cfg     Config
	process string
	wake    chan struct{}
	metrics metrics

	afterSlice func(part int) error // for tests that die between slices
}

// New makes a Service; Run does its work in the background.
func New(c Config) *Service {
	c.Limits = c.Limits.withDefaults()
	c.SliceRows = cmp.Or(c.SliceRows, 10_000)
	c.MaxSegments = cmp.Or(c.MaxSegments, 10)
	c.Checkers = cmp.Or(c.Checkers, 2)
	c.Lease = cmp.Or(c.Lease, 30*time.Second)
	c.PartsTimeout = cmp.Or(c.PartsTimeout, time.Hour)
	c.Poll = cmp.Or(c.Poll, time.Second)
	return &Service{cfg: c, process: rand.Text(), wake: make(chan struct{}, c.Checkers+2), metrics: newMetrics(c.Metrics)}
}

// Refusals of the life of a list.
var (
	ErrNotFound        = &Fault{FaultNotFound, "list_not_found", "Такого списка нет."}
	ErrRowNotFound     = &Fault{FaultNotFound, "row_not_found", "Такой строки в списке нет, или она не принята."}
	ErrForbidden       = &Fault{FaultForbidden, "role_missing", "У вашей учётной записи нет права на это действие."}
	ErrOwnList         = &Fault{FaultForbidden, "own_list", "Список загрузили вы. Утвердить или отклонить его должен другой сотрудник."}
	ErrState           = &Fault{FaultConflict, "list_state", "Список в состоянии «%s»: это действие сейчас невозможно."}
	ErrReplaceFile     = &Fault{FaultConflict, "list_state", "Список в состоянии «%s»: к нему ещё не нужно исправление, замените его файл."}
	ErrCorrectList     = &Fault{FaultConflict, "list_state", "Список в состоянии «%s»: файл уже не заменить, загрузите исправление этого списка."}
	ErrChanged         = &Fault{FaultConflict, "list_changed", "Список изменился после просмотра. Откройте его заново, проверьте и утвердите ещё раз."}
	ErrNoBasis         = &Fault{FaultConflict, "no_legal_basis", "Не указано правовое основание (код, документ, дата). Замените файл списка тем же файлом, указав основание, и утверждайте."}
	ErrNoOrder         = &Fault{FaultConflict, "no_order", "Не указано, по чьему распоряжению отправляется список (приказ или письмо). Замените файл списка тем же файлом, указав распоряжение, и утверждайте."}
	ErrSameFile        = &Fault{FaultConflict, "same_file", "Этот же файл уже загружен %s (список %s). Если его нужно отправить ещё раз, подтвердите повторную загрузку."}
	ErrSameRows        = &Fault{FaultConflict, "same_rows", "Те же строки уже загружены %s (список %s), только в другом файле. Если их нужно отправить ещё раз, загрузите файл с подтверждением повтора."}
	ErrUnknownTemplate = &Fault{FaultInvalid, "unknown_template", "Такого шаблона нет в справочнике, или он не действует. Выберите шаблон из списка."}
	ErrUnknownEvent    = &Fault{FaultInvalid, "unknown_life_event", "Такого события нет в справочнике, или оно не действует. Выберите событие из списка."}
	ErrUnknownSource   = &Fault{FaultInvalid, "unknown_source", "Такого источника списков нет в справочнике."}
	ErrHeaderField     = &Fault{FaultInvalid, "bad_field", "Неверное значение поля %s."}
	ErrBasis           = &Fault{FaultInvalid, "bad_field", "Правовое основание (legal_basis) указывается целиком: код, документ и дата, например 31.01.2026."}
	ErrListExpired     = &Fault{FaultInvalid, "expired", "Срок отправки списка уже прошёл. Исправьте дату «Отправить до»."}
	ErrBadUpload       = &Fault{FaultInvalid, "upload_broken", "Файл передан не полностью. Загрузите его ещё раз."}
)

// State of a list (DESIGN 2).
type State string

// States of a list.
const (
	Receiving  State = "receiving"
	Checking   State = "checking"
	Rejected   State = "rejected"
	Ready      State = "ready"
	Refused    State = "refused"
	Approved   State = "approved"
	Running    State = "running"
	Paused     State = "paused"
	Cancelling State = "cancelling"
	Cancelled  State = "cancelled"
	Completed  State = "completed"
)

// Ref is what a submitter gets: the list's name for ever, and where it stands.
type Ref struct {
	ID    uuid.UUID
	No    int64
	State State
}

// List is one list as its agency sees it.
type List struct {
	No              int64
	ID              uuid.UUID
	Agency          string
	Source          string
	Kind            string
	Name            string
	State           State
	StateReason     string // Russian; why it was rejected, refused or cancelled
	LifeEvent       string
	Template        string
	TemplateVersion int
	Channels        []string
	Priority        string
	OnUncertain     string
	LegalBasis      *catalog.LegalBasis
	OrderedBy       string
	NotBefore       time.Time
	ValidUntil      time.Time
	InformBy        time.Time
	Test            bool
	Tests           uuid.UUID // of a test sending: the list whose row it shows; zero for a list of its own
	Corrects        uuid.UUID // the list whose mended file this is; zero for none
	Rows            int
	Accepted        int
	Rejected        int
	Warnings        int
	Skipped         int    // of Rows: taken by an earlier list, and so neither accepted nor rejected
	Suppressed      int    // of Accepted: set aside by the check as duplicates, and not sent while what they repeat is
	Segments        int64  // of what is not set aside
	Digest          []byte // of what would be sent
	LoadedBy        string
	ApprovedBy      string
	CreatedAt       time.Time
	ApprovedAt      time.Time
	StartAt         time.Time
	FirstSentAt     time.Time
	EndedAt         time.Time
	Counts          map[dispatch.State]int64
	AsOf            time.Time

	dataKey int64
	byFeed  bool
}

const listColumns = `no, id, agency, source, kind, name, state, state_reason, life_event, template, template_version, channels, priority,
	on_uncertain, legal_basis, ordered_by, not_before, valid_until, inform_by, test, rows, accepted, rejected, warnings, segments, digest,
	loaded_by, approved_by, created_at, approved_at, start_at, first_sent_at, ended_at, data_key,
	(SELECT tested.id FROM lists tested WHERE tested.no = lists.tests), skipped, (SELECT mended.id FROM lists mended WHERE mended.no = lists.corrects), suppressed,
	kind IN ('feed', 'express') AND EXISTS (SELECT FROM feed_lists f WHERE f.list_no = lists.no)`

func scanList(row pgx.CollectableRow) (*List, error) {
	var l List
	var basis []byte
	var tests, corrects *uuid.UUID
	var notBefore, validUntil, informBy, approvedAt, startAt, sentAt, endedAt *time.Time
	err := row.Scan(&l.No, &l.ID, &l.Agency, &l.Source, &l.Kind, &l.Name, &l.State, &l.StateReason, &l.LifeEvent, &l.Template,
		&l.TemplateVersion, &l.Channels, &l.Priority, &l.OnUncertain, &basis, &l.OrderedBy, &notBefore, &validUntil, &informBy, &l.Test,
		&l.Rows, &l.Accepted, &l.Rejected, &l.Warnings, &l.Segments, &l.Digest, &l.LoadedBy, &l.ApprovedBy, &l.CreatedAt, &approvedAt,
		&startAt, &sentAt, &endedAt, &l.dataKey, &tests, &l.Skipped, &corrects, &l.Suppressed, &l.byFeed)
	if err != nil {
		return nil, err
	}
	if tests != nil {
		l.Tests = *tests
	}
	if corrects != nil {
		l.Corrects = *corrects
	}
	if basis != nil {
		if err := json.Unmarshal(basis, &l.LegalBasis); err != nil {
			return nil, fmt.Errorf("legal basis of list %d: %w", l.No, err)
		}
	}
	for _, t := range [...]struct {
		from *time.Time
		to   *time.Time
	}{{notBefore, &l.NotBefore}, {validUntil, &l.ValidUntil}, {informBy, &l.InformBy}, {approvedAt, &l.ApprovedAt}, {startAt, &l.StartAt},
		{sentAt, &l.FirstSentAt}, {endedAt, &l.EndedAt}} {
		if t.from != nil {
			*t.to = *t.from
		}
	}
	return &l, nil
}

const getListSQL = `SELECT ` + listColumns + ` FROM lists WHERE id = @id AND (@agency = '' OR agency = @agency)`

// find reads a list that the principal may see; another agency's does not exist.
func find(ctx context.Context, db journal.Querier, p journal.Principal, id uuid.UUID, forUpdate bool) (*List, error) {
	sql := getListSQL
	if forUpdate {
		sql += ` FOR NO KEY UPDATE`
	}
	rows, err := db.Query(ctx, sql, pgx.NamedArgs{"id": id, "agency": p.Agency})
	if err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	l, err := pgx.CollectExactlyOneRow(rows, scanList)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("read list: %w", err)
	case !p.Sees(l.Agency):
		return nil, ErrNotFound
	}
	return l, nil
}

// Get returns a list with its counts.
func (s *Service) Get(ctx context.Context, p journal.Principal, id uuid.UUID) (*List, error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return nil, err
	}
	return l, s.addCounts(ctx, []*List{l})
}

// ListsQuery chooses lists; After is the number of the last one of the page before, 0 for the first page.
type ListsQuery struct {
	After  int64
	Limit  int // 50 when zero, at most 200
	States []State
}

const listsSQL = `SELECT ` + listColumns + ` FROM lists
	WHERE (@agency = '' OR agency = @agency) AND (@after = 0 OR no < @after) AND (@states::text[] IS NULL OR state = ANY(@states))
	ORDER BY no DESC LIMIT @limit`

// Lists returns a page, the newest first. next is 0 after the last page.
func (s *Service) Lists(ctx context.Context, p journal.Principal, q ListsQuery) (lists []*List, next int64, err error) {
	if !p.Sees(p.Agency) {
		return nil, 0, ErrForbidden
	}
	limit := min(cmp.Or(max(q.Limit, 0), 50), 200)
	var states []string
	for _, st := range q.States {
		states = append(states, string(st))
	}
	rows, err := s.cfg.DB.Query(ctx, listsSQL, pgx.NamedArgs{"agency": p.Agency, "after": q.After, "states": states, "limit": limit + 1})
	if err != nil {
		return nil, 0, fmt.Errorf("read lists: %w", err)
	}
	if lists, err = pgx.CollectRows(rows, scanList); err != nil {
		return nil, 0, fmt.Errorf("read lists: %w", err)
	}
	if len(lists) > limit {
		lists = lists[:limit]
		next = lists[limit-1].No
	}
	return lists, next, s.addCounts(ctx, lists)
}

const countsSQL = `SELECT list_no, state, n FROM list_counters WHERE list_no = ANY($1) AND n <> 0`

func (s *Service) addCounts(ctx context.Context, lists []*List) error {
	byNo := make(map[int64]*List, len(lists))
	nos := make([]int64, 0, len(lists))
	now := s.cfg.Now().UTC()
	for _, l := range lists {
		l.Counts, l.AsOf = make(map[dispatch.State]int64), now
		byNo[l.No] = l
		nos = append(nos, l.No)
	}
	rows, err := s.cfg.DB.Query(ctx, countsSQL, nos)
	if err != nil {
		return fmt.Errorf("read counts: %w", err)
	}
	var no, n int64
	var state int16
	_, err = pgx.ForEachRow(rows, []any{&no, &state, &n}, func() error {
		byNo[no].Counts[dispatch.State(state)] = n
		return nil
	})
	if err != nil {
		return fmt.Errorf("read counts: %w", err)
	}
	return nil
}

// mayLoad are those who bring lists; both are of one agency.
func mayLoad(p journal.Principal) bool {
	return p.Agency != "" && (p.Has(journal.RoleListLoader) || p.Has(journal.RoleSourceSystem))
}

func mayApprove(p journal.Principal) bool {
	return p.Agency != "" && p.Has(journal.RoleListApprover)
}

// mayRead are those who may see what is in an agency's rows.
func mayRead(p journal.Principal) bool {
	return slices.ContainsFunc(p.Roles, func(r journal.Role) bool {
		return r == journal.RoleListLoader || r == journal.RoleListApprover || r == journal.RoleAuditor || r == journal.RoleSourceSystem
	})
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

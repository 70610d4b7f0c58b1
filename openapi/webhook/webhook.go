// Package webhook tells agencies and their systems that have no Kafka what became of their lists: each has an address of its own to which
// the same events are posted, signed, in their order, at least once. What an address has not taken is tried again; one that takes nothing
// for long is given up, which shows, until a person says to go on: nothing of what it is owed is lost, since it lies in the journal.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
)

// Reports is what is told. *ingest.Service is one.
type Reports interface {
	Reports(ctx context.Context, from int64, limit int, wanted func(*ingest.List) bool) (reports []ingest.Report, next int64, err error)
}

// Config is what a Service is made of. Zero numbers take the defaults.
type Config struct {
	DB      *pgxpool.Pool
	Reports Reports
	Catalog func() *catalog.Catalog // the snapshot of the moment
	Keyring *citizen.Keyring
	Journal *journal.Writer
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer

	Networks []netip.Prefix // private ones that webhooks may go to; none

	Poll    time.Duration // how often it looks for what is new; 500 ms
	Tries   int           // failures one after another until an address is given up; 100, which is a day
	Longest time.Duration // the longest pause between two tries; 15 min
}

// Service keeps the webhooks and delivers to them. It is safe for concurrent use.
type Service struct {
	cfg     Config
	client  *http.Client
	metrics metrics
}

// New makes a Service; Run delivers.
func New(c Config) *Service {
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Tries <= 0 {
		c.Tries = 100
	}
	if c.Longest <= 0 {
		c.Longest = 15 * time.Minute
	}
	return &Service{cfg: c, client: newClient(c.Networks), metrics: newMetrics(c.Metrics)}
}

var (
	errURL      = &ingest.Fault{Kind: ingest.FaultInvalid, Code: "webhook_url", Detail: "Адрес не подходит. Нужен https без имени пользователя и без #, до 500 знаков."}
	errAgency   = &ingest.Fault{Kind: ingest.FaultInvalid, Code: "webhook_agency", Detail: "Укажите ведомство, о списках которого сообщать."}
	errUnknown  = &ingest.Fault{Kind: ingest.FaultInvalid, Code: "webhook_unknown", Detail: "Такого ведомства или источника нет в справочнике, или они не действуют."}
	errForeign  = &ingest.Fault{Kind: ingest.FaultForbidden, Code: "webhook_agency_foreign", Detail: "Адрес можно завести только для своего ведомства."}
	errNotFound = &ingest.Fault{Kind: ingest.FaultNotFound, Code: "webhook_not_found", Detail: "Такого адреса нет."}
	errTooMany  = &ingest.Fault{Kind: ingest.FaultConflict, Code: "webhooks_too_many", Detail: "У ведомства уже 10 адресов. Удалите ненужный."}
	errPosition = &ingest.Fault{Kind: ingest.FaultInvalid, Code: "webhook_position", Detail: "До этого места в журнале адрес ещё не дошёл. Укажите ekcposition полученного события."}
)

// perAgency bounds how many webhooks an agency may have.
const perAgency = 10

const (
	lockAgencySQL = `SELECT pg_advisory_xact_lock(hashtextextended('webhooks ' || $1, 0))`
	insertSQL     = `INSERT INTO webhooks (id, agency, source, url, statuses, replies, data_key, sealed, position, created_at, created_by) OVERRIDING SYSTEM VALUE
		VALUES (@id, @agency, @source, @url, @statuses, @replies, @key, @sealed, @position, @at, @by)`
)

// Create makes a webhook for what happens from now on. The secret is returned once and cannot be had again.
func (s *Service) Create(ctx context.Context, p journal.Principal, n openapi.NewWebhook) (made openapi.Webhook, secret string, err error) {
	switch u, ok := checkURL(n.URL); {
	case !ok:
		return made, "", errURL
	case n.Agency == "" && p.Agency == "":
		return made, "", errAgency
	default:
		n.URL = u.String()
	}
	if n.Agency == "" {
		n.Agency = p.Agency
	}
	if !p.Sees(n.Agency) {
		return made, "", errForeign
	}
	c := s.cfg.Catalog()
	_, agency := c.Agency(n.Agency, s.cfg.Now())
	_, source := c.Source(n.Source, s.cfg.Now())
	if !agency || !source && n.Source != "" {
		return made, "", errUnknown
	}
	secret = newSecret()
	var id int64
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		var there int
		if _, err := tx.Exec(ctx, lockAgencySQL, n.Agency); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM webhooks WHERE agency = $1`, n.Agency).Scan(&there); err != nil {
			return err
		}
		if there >= perAgency {
			return errTooMany
		}
		if err := tx.QueryRow(ctx, `SELECT nextval('webhooks_id_seq')`).Scan(&id); err != nil {
			return err
		}
		position, err := journal.Head(ctx, tx)
		if err != nil {
			return err
		}
		key, err := s.cfg.Keyring.ScopeKey(ctx, tx, "webhooks/"+n.Agency, n.Agency)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, insertSQL, pgx.NamedArgs{"id": id, "agency": n.Agency, "source": n.Source, "url": n.URL, "statuses": n.Statuses, "replies": n.Replies,
			"key": key.ID, "sealed": key.Seal(nil, []byte(secret), citizen.RowAAD("webhooks", id)), "position": position, "at": s.cfg.Now(), "by": p.Account}); err != nil {
			return err
		}
		return s.record(ctx, tx, p, n.Agency, id, "created")
	})
	if err == nil {
		made, err = s.get(ctx, p, id)
	}
	if err != nil {
		return openapi.Webhook{}, "", fmt.Errorf("create webhook: %w", err)
	}
	return made, secret, nil
}

// record leaves a person's act in the journal. Where a webhook leads to is not in it: an address may hold what its owner calls a secret.
func (s *Service) record(ctx context.Context, tx pgx.Tx, p journal.Principal, agency string, id int64, what string) error {
	_, err := s.cfg.Journal.Append(ctx, tx, []journal.Entry{{Kind: journal.SourceChanged, At: s.cfg.Now(), Agency: agency, Actor: p.Account,
		Data: journal.Fields("webhook", strconv.FormatInt(id, 10), "what", what)}})
	return err
}

const (
	columns = `id, agency, source, url, statuses, replies, position, failures, fault, since, retry_at, dead, created_at, created_by`
	listSQL = `SELECT ` + columns + ` FROM webhooks WHERE ($1 = '' OR agency = $1) AND id > $2 ORDER BY id LIMIT $3`
	getSQL  = `SELECT ` + columns + ` FROM webhooks WHERE id = $1`
)

// List returns the webhooks the principal may see, by id, those after the given one.
func (s *Service) List(ctx context.Context, p journal.Principal, after int64, limit int) ([]openapi.Webhook, error) {
	if !p.Sees(p.Agency) {
		return nil, errNotFound
	}
	rows, err := s.cfg.DB.Query(ctx, listSQL, p.Agency, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	found, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	return found, nil
}

func scan(row pgx.CollectableRow) (w openapi.Webhook, err error) {
	var dead bool
	err = row.Scan(&w.ID, &w.Agency, &w.Source, &w.URL, &w.Statuses, &w.Replies, &w.Position, &w.Failures, &w.Fault, &w.Since, &w.RetryAt, &dead, &w.CreatedAt, &w.CreatedBy)
	switch w.State = "active"; {
	case dead:
		w.State, w.RetryAt = "dead", nil
	case w.Failures > 0:
		w.State = "failing"
	}
	return w, err
}

func (s *Service) get(ctx context.Context, p journal.Principal, id int64) (openapi.Webhook, error) {
	rows, err := s.cfg.DB.Query(ctx, getSQL, id)
	if err != nil {
		return openapi.Webhook{}, fmt.Errorf("read webhook: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !p.Sees(w.Agency) {
		return openapi.Webhook{}, errNotFound
	}
	if err != nil {
		return openapi.Webhook{}, fmt.Errorf("read webhook: %w", err)
	}
	return w, nil
}

// Delete ends a webhook and forgets its secret. A delivery that is under way may still arrive.
func (s *Service) Delete(ctx context.Context, p journal.Principal, id int64) error {
	return s.change(ctx, p, id, "deleted", func(tx pgx.Tx, _ openapi.Webhook) error {
		_, err := tx.Exec(ctx, `DELETE FROM webhooks WHERE id = $1`, id)
		return err
	})
}

const replaySQL = `UPDATE webhooks SET position = $2, failures = 0, fault = '', since = NULL, retry_at = NULL, dead = false WHERE id = $1`

// Replay lets a webhook go on that was given up, or tell again what follows a place in the journal; nil is where it stands.
func (s *Service) Replay(ctx context.Context, p journal.Principal, id int64, from *int64) (openapi.Webhook, error) {
	err := s.change(ctx, p, id, "replayed", func(tx pgx.Tx, w openapi.Webhook) error {
		at := w.Position
		if from != nil {
			if at = *from; at > w.Position {
				return errPosition
			}
		}
		_, err := tx.Exec(ctx, replaySQL, id, at)
		return err
	})
	if err != nil {
		return openapi.Webhook{}, err
	}
	return s.get(ctx, p, id)
}

func (s *Service) change(ctx context.Context, p journal.Principal, id int64, what string, do func(pgx.Tx, openapi.Webhook) error) error {
	err := postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, getSQL+` FOR UPDATE`, id)
		if err != nil {
			return err
		}
		w, err := pgx.CollectExactlyOneRow(rows, scan)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !p.Sees(w.Agency) {
			return errNotFound
		}
		if err == nil {
			err = do(tx, w)
		}
		if err != nil {
			return err
		}
		return s.record(ctx, tx, p, w.Agency, id, what)
	})
	if err != nil {
		return fmt.Errorf("change webhook: %w", err)
	}
	return nil
}

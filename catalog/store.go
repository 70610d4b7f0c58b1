package catalog

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/journal"
	"ekc/postgres"
)

const loadItems = `
SELECT kind, code, version, agency, effective_from, effective_to, body, created_at, created_by
FROM catalog_items
WHERE kind = ANY(@kinds)
ORDER BY kind, code, version`

var kinds = []Kind{KindLifeEvent, KindMeasure, KindAgency, KindOffice, KindSource, KindTemplate, KindRule, KindState, KindMapping, KindLinkPrice}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Load reads all items. A row that cannot be read is no error: it is among the Faults, and only its own code suffers. Fields this
// release does not know are passed over, so that a newer one may run beside it.
func Load(ctx context.Context, db querier) (*Catalog, error) {
	rows, err := db.Query(ctx, loadItems, pgx.NamedArgs{"kinds": kinds})
	if err != nil {
		return nil, fmt.Errorf("load catalogue: %w", err)
	}
	defer rows.Close()
	var items []Item
	var broken []Item
	var faults []error
	for rows.Next() {
		var kind Kind
		var head Head
		var from, to pgtype.Timestamptz
		var body []byte
		if err := rows.Scan(&kind, &head.Code, &head.Version, &head.Agency, &from, &to, &body, &head.CreatedAt, &head.CreatedBy); err != nil {
			return nil, fmt.Errorf("load catalogue: %w", err)
		}
		if from.InfinityModifier == pgtype.Finite {
			head.From = from.Time
		}
		if to.InfinityModifier == pgtype.Finite {
			head.To = to.Time
		}
		item, err := decode(kind, head, body, false)
		if err == nil {
			err = Validate(item)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("version %d: %w", head.Version, err))
			if item == nil {
				item, _ = decode(kind, head, []byte("{}"), false)
			}
			broken = append(broken, item)
			continue
		}
		items = append(items, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("load catalogue: %w", err)
	}
	c := New(items)
	c.faults = faults
	for _, item := range broken {
		c.table(item.Kind()).withhold(*item.Header())
	}
	return c, nil
}

// One writer of the catalogue at a time: version numbers are given out in order.
const lockCatalog = `SELECT pg_advisory_xact_lock(hashtextextended('catalog_items', 0))`

const putItem = `
INSERT INTO catalog_items (kind, code, version, agency, effective_from, effective_to, body, created_by)
SELECT @kind::text, @code::text, coalesce(max(version), 0) + 1, @agency::text, @from::timestamptz, @to::timestamptz, @body::jsonb, @by::text
FROM catalog_items WHERE kind = @kind AND code = @code
RETURNING version, created_at`

// Put writes an item as the next version of its code and sets the item's Version, CreatedAt and CreatedBy. Processes see it within
// two seconds of the commit. The journal entry belongs into the same transaction and is the caller's.
func Put(ctx context.Context, tx pgx.Tx, p journal.Principal, item Item) error {
	if err := Validate(item); err != nil {
		return err
	}
	h := item.Header()
	body, err := json.Marshal(item)
	if err != nil {
		return fmt.Errorf("write catalogue %s %q: %w", item.Kind(), h.Code, err)
	}
	if _, err := tx.Exec(ctx, lockCatalog); err != nil {
		return fmt.Errorf("lock catalogue: %w", err)
	}
	err = tx.QueryRow(ctx, putItem, pgx.NamedArgs{
		"kind": item.Kind(), "code": h.Code, "agency": h.Agency, "from": since(h.From), "to": until(h.To), "body": body, "by": p.Account,
	}).Scan(&h.Version, &h.CreatedAt)
	if err != nil {
		return fmt.Errorf("write catalogue %s %q: %w", item.Kind(), h.Code, err)
	}
	h.CreatedBy = p.Account
	return nil
}

func since(t time.Time) pgtype.Timestamptz {
	if t.IsZero() {
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: t, Valid: true}
}

func until(t time.Time) pgtype.Timestamptz {
	if t.IsZero() {
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: t, Valid: true}
}

const seedItem = `
INSERT INTO catalog_items (kind, code, version, agency, effective_from, effective_to, body, created_by)
SELECT @kind::text, @code::text, 1, @agency::text, @from::timestamptz, @to::timestamptz, @body::jsonb, 'seed'
WHERE NOT EXISTS (SELECT FROM catalog_items WHERE kind = @kind AND code = @code)`

// Seed writes what the product comes with, where a code has no version yet, and says how many items that were.
func Seed(ctx context.Context, db *pgxpool.Pool) (int, error) {
	items, err := SeedItems()
	if err != nil {
		return 0, err
	}
	added := 0
	err = postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockCatalog); err != nil {
			return err
		}
		var batch pgx.Batch
		for _, item := range items {
			h := item.Header()
			body, err := json.Marshal(item)
			if err != nil {
				return err
			}
			batch.Queue(seedItem, pgx.NamedArgs{
				"kind": item.Kind(), "code": h.Code, "agency": h.Agency, "from": since(h.From), "to": until(h.To), "body": body,
			}).Exec(func(tag pgconn.CommandTag) error { added += int(tag.RowsAffected()); return nil })
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return 0, fmt.Errorf("seed catalogue: %w", err)
	}
	return added, nil
}

//go:embed seed/*.yaml
var seedFiles embed.FS

// SeedItems are the items the product comes with, validated.
func SeedItems() ([]Item, error) {
	var items []Item
	for _, kind := range kinds {
		data, err := fs.ReadFile(seedFiles, "seed/"+string(kind)+".yaml")
		if err != nil {
			return nil, fmt.Errorf("seed of the catalogue: %w", err)
		}
		more, err := parseKind(kind, data)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	for _, item := range items {
		item.Header().CreatedBy = "seed"
	}
	return items, nil
}

// refreshEvery leaves room inside the two seconds within which a change is in force everywhere.
const refreshEvery = time.Second

// Rows are only ever added, so their number tells one state of the table from another; the newest is asked for the sake of a
// database put back from a dump.
const catalogVersion = `SELECT count(*), coalesce(max(created_at)::text, '') FROM catalog_items`

type version struct {
	rows   int64
	newest string
}

// Watcher keeps the current snapshot. While the database is away the last one stays.
type Watcher struct {
	db      *pgxpool.Pool
	log     *slog.Logger
	current atomic.Pointer[Catalog]
	seen    version
}

// Watch loads the first snapshot; Run keeps it fresh.
func Watch(ctx context.Context, db *pgxpool.Pool, log *slog.Logger) (*Watcher, error) {
	w := &Watcher{db: db, log: log}
	if err := w.refresh(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// Current is the newest snapshot. It does not block.
func (w *Watcher) Current() *Catalog { return w.current.Load() }

// Run looks for changes until ctx ends. One Run at a time.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := w.refresh(bounded)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			w.log.Warn("catalogue not refreshed, the last snapshot stays", "err", err)
		case err == nil && away:
			w.log.Info("catalogue refreshed again")
		}
		away = err != nil
	}
}

// refresh asks for the version first: what is added between the two queries is loaded now and once more at the next round.
func (w *Watcher) refresh(ctx context.Context) error {
	var v version
	if err := w.db.QueryRow(ctx, catalogVersion).Scan(&v.rows, &v.newest); err != nil {
		return fmt.Errorf("look for changes of the catalogue: %w", err)
	}
	if w.current.Load() != nil && v == w.seen {
		return nil
	}
	c, err := Load(ctx, w.db)
	if err != nil {
		return err
	}
	for _, fault := range c.Faults() {
		w.log.Error("catalogue item cannot be read and is left out", "err", fault)
	}
	w.current.Store(c)
	w.seen = v
	return nil
}

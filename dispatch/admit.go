package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/postgres"
)

// Lanes: a claim takes lane 0 first, by a claimer of its own; then 1, then 2.
const (
	LaneSingle int16 = 0 // answers and single events
	LaneNormal int16 = 1
	LaneBulk   int16 = 2
)

// List is what the rows of one list share.
type List struct {
	No          int64
	Agency      string
	Key         *citizen.DataKey // seals every blob of the list
	OnUncertain string           // "resend" or "hold"
	Sender      string           // by name; "" = the agency's
	Weight      int16            // share beside other lists of the same agency; 0 = 1
	Test        bool             // of a test key: simulators only
}

func (l List) policy() string { return cmp.Or(l.OnUncertain, "resend") }

// Row is one accepted row of a list.
type Row struct {
	Ordinal    int32 // unique in the list, from 1
	RowNo      int32 // as its sender counts
	Part       int32
	ExternalID string
	Content    Content // Salt is filled by Write
	Zones      citizen.Zones
	Channels   []string // the plan, in order: "sms", "voice"
	Lane       int16
	WideWindow bool // the wider window of the rules (priority urgent)
	NotBefore  time.Time
	ValidUntil time.Time
	InformBy   time.Time
	Segments   int
	LifeEvent  string
	Template   string
	Earlier    NotificationID   // the one that tells the person the same, so that this one need not; 0 = none
	Digests    []citizen.Digest // of phone, SNILS, name with birth date: how the person is found later
}

// ErrNoChannel says that no link of this installation performs a channel of the row's plan.
var ErrNoChannel = errors.New("no link performs any channel of the plan")

// Routes chooses the pool that carries a channel for an agency. ok is false when there is none.
type Routes func(channel, agency string, to citizen.Phone, test bool) (pool string, ok bool)

// Admission writes accepted rows. It is the only way into notifications and outbox.
type Admission struct {
	routes Routes
}

// NewAdmission returns an Admission that places rows by routes.
func NewAdmission(routes Routes) *Admission { return &Admission{routes: routes} }

// runKey is what the rows of one run share (runs' unique key).
type runKey struct {
	pool, channel, plan, zones, life, template string
	step, lane                                 int16
	wide                                       bool
	until                                      int64
}

const (
	copyNotificationsSQL = `COPY notifications (id, row_no, part, segments, valid_until, inform_by, external_id, sealed) FROM STDIN BINARY`
	copyOutboxSQL        = `COPY outbox (run, due_at, id) FROM STDIN BINARY`
)

// MakeRuns makes the runs that rows of a list need, each in a transaction of its own. Transactions that Write such rows afterwards need
// not wait for one another, nor does it wait for them.
func (a *Admission) MakeRuns(ctx context.Context, db *pgxpool.Pool, list List, rows []*Row) error {
	_, err := a.runsOf(ctx, db, waitingRunsSQL, list, rows, func(key runKey, r *Row) (int32, error) {
		if _, err := db.Exec(ctx, makeRunSQL, runArgs(key, list, r)); err != nil {
			return 0, fmt.Errorf("make run: %w", err)
		}
		return 0, nil
	})
	return err
}

// Write stores rows behind the caller's own gate, in the caller's transaction: sealed notifications, the outbox, and the persons
// index. Their runs wait until Start. Nothing is sent before that. Rows with an Earlier one are set aside and not in the outbox.
func (a *Admission) Write(ctx context.Context, tx pgx.Tx, list List, rows []*Row) error {
	runOf, err := a.runsOf(ctx, tx, shareRunsSQL, list, rows, func(key runKey, r *Row) (int32, error) { return ensureRun(ctx, tx, key, list, r) })
	if err != nil {
		return err
	}
	index := make([]citizen.IndexEntry, 0, 4*len(rows))
	for _, r := range rows {
		for _, d := range r.Digests {
			index = append(index, citizen.IndexEntry{Digest: d, Ref: citizen.Ref{Kind: citizen.RefNotification, ID: int64(MakeID(list.No, r.Ordinal))}})
		}
	}
	var plain, sealed []byte
	err = postgres.CopyIn(ctx, tx, copyNotificationsSQL, len(rows), func(row *postgres.CopyRow, i int) {
		r := rows[i]
		id := int64(MakeID(list.No, r.Ordinal))
		r.Content.Salt = citizen.NewSalt()
		plain = r.Content.encode(plain[:0])
		sealed = list.Key.Seal(sealed[:0], plain, citizen.RowAAD("notifications", id))
		row.Fields(8)
		row.Bigint(id)
		row.Integer(r.RowNo)
		row.Integer(r.Part)
		row.Smallint(int16(r.Segments))
		row.TimestamptzOrNull(r.ValidUntil)
		row.TimestamptzOrNull(r.InformBy)
		row.Text(r.ExternalID)
		row.Bytea(sealed)
	})
	if err != nil {
		return fmt.Errorf("copy notifications: %w", err)
	}
	// In the order of the outbox's key, so that inserts append.
	order := make([]int, 0, len(rows))
	var aside []int
	for i := range rows {
		if rows[i].Earlier != 0 {
			aside = append(aside, i)
		} else {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(x, y int) int { return int(runOf[x]) - int(runOf[y]) })
	err = postgres.CopyIn(ctx, tx, copyOutboxSQL, len(order), func(row *postgres.CopyRow, i int) {
		r := rows[order[i]]
		row.Fields(3)
		row.Integer(runOf[order[i]])
		row.Timestamptz(firstDue(r))
		row.Bigint(int64(MakeID(list.No, r.Ordinal)))
	})
	if err != nil {
		return fmt.Errorf("copy outbox: %w", err)
	}
	if err := setAside(ctx, tx, list.No, rows, aside, runOf); err != nil {
		return err
	}
	return citizen.WriteIndex(ctx, tx, index)
}

// place decides which run a row belongs to: the first channel of its plan that some link performs.
func (a *Admission) place(list List, r *Row) (runKey, error) {
	for step, channel := range r.Channels {
		pool, ok := a.routes(channel, list.Agency, r.Content.Phones[0], list.Test)
		if !ok {
			continue
		}
		k := runKey{pool: pool, channel: channel, plan: strings.Join(r.Channels, ","), zones: string(r.Zones), life: r.LifeEvent,
			template: r.Template, step: int16(step), lane: r.Lane, wide: r.WideWindow}
		if !r.ValidUntil.IsZero() {
			k.until = lastDay(r.ValidUntil).Unix()
		}
		return k, nil
	}
	return runKey{}, ErrNoChannel
}

// lastDay is the end of the UTC day of a time: rows whose valid_until differ by hours share a run, or a list with a time of its own in
// every row would be a run per row. Each row is held to its own.
func lastDay(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

const waitingRunsSQL = `
SELECT r.id, p.name, r.channel, array_to_string(r.plan, ','), r.zones, r.life_event, r.template, r.step, r.lane, r.wide_window, r.valid_until
FROM runs r JOIN pools p ON p.no = r.pool
WHERE r.list_no = $1 AND r.on_uncertain = $2 AND r.state NOT IN ('active', 'done')`

// A run that waits, for Start or for a person, is only kept from changing: any number of transactions may write rows of it at once.
const shareRunsSQL = waitingRunsSQL + ` FOR SHARE OF r`

// runsOf returns the run of each row: one of those that sql finds waiting, or what other says.
func (a *Admission) runsOf(ctx context.Context, db citizen.DB, sql string, list List, rows []*Row, other func(runKey, *Row) (int32, error)) ([]int32, error) {
	known := make(map[runKey]int32)
	found, err := db.Query(ctx, sql, list.No, list.policy())
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	var id int32
	var k runKey
	var until *time.Time
	_, err = pgx.ForEachRow(found, []any{&id, &k.pool, &k.channel, &k.plan, &k.zones, &k.life, &k.template, &k.step, &k.lane, &k.wide, &until}, func() error {
		k.until = 0
		if until != nil {
			k.until = until.Unix()
		}
		known[k] = id
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	runOf := make([]int32, len(rows))
	var last runKey
	for i, r := range rows {
		key, err := a.place(list, r)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", r.RowNo, err)
		}
		if i > 0 && key == last { // as most are
			runOf[i] = runOf[i-1]
			continue
		}
		run, ok := known[key]
		if !ok {
			if run, err = other(key, r); err != nil {
				return nil, err
			}
			known[key] = run
		}
		runOf[i], last = run, key
	}
	return runOf, nil
}

const insertRunSQL = `
INSERT INTO runs AS r (list_no, agency, pool, channel, plan, step, lane, weight, zones, wide_window, on_uncertain, data_key, life_event,
	template, sender, test, valid_until)
SELECT @list, @agency, no, @channel, @plan, @step, @lane, @weight, @zones, @wide, @on_uncertain, @data_key, @life_event,
	@template, @sender, @test, @valid_until FROM pools WHERE name = @pool
ON CONFLICT (list_no, pool, zones, wide_window, lane, plan, step, template, life_event, valid_until, on_uncertain)`

// Whoever looked for the run before it was there does not wait for those who write rows of it since.
const makeRunSQL = insertRunSQL + ` DO NOTHING`

// A run that is going on already, since its list was started before this part came, is woken. DO UPDATE locks it against being put to
// sleep meanwhile.
const ensureRunSQL = insertRunSQL + ` DO UPDATE SET
	next_due = CASE WHEN r.state IN ('active', 'done') THEN '-infinity' ELSE r.next_due END,
	state = CASE r.state WHEN 'done' THEN 'active' ELSE r.state END
RETURNING id`

func ensureRun(ctx context.Context, tx pgx.Tx, key runKey, list List, r *Row) (id int32, err error) {
	err = tx.QueryRow(ctx, ensureRunSQL, runArgs(key, list, r)).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("pool %s: %w", key.pool, ErrNoChannel)
	}
	if err != nil {
		return 0, fmt.Errorf("ensure run: %w", err)
	}
	return id, nil
}

func runArgs(key runKey, list List, r *Row) pgx.NamedArgs {
	return pgx.NamedArgs{"list": list.No, "agency": list.Agency, "pool": key.pool, "channel": key.channel,
		"plan": r.Channels, "step": key.step, "lane": key.lane, "weight": max(list.Weight, 1), "zones": key.zones,
		"wide": key.wide, "on_uncertain": list.policy(), "data_key": list.Key.ID, "life_event": key.life, "template": key.template,
		"sender": list.Sender, "test": list.Test, "valid_until": timeOrNil(lastDay(r.ValidUntil))}
}

// epoch is the due time of a row without not_before: always in the past, and the same for all, so that the outbox's key
// orders them by id.
var epoch = time.Unix(0, 0).UTC()

func firstDue(r *Row) time.Time {
	if r.NotBefore.IsZero() {
		return epoch
	}
	return r.NotBefore
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// Start lets the list's runs go, not before at (zero = now). The caller has approved the list in the same transaction.
func (a *Admission) Start(ctx context.Context, tx pgx.Tx, listNo int64, at time.Time) error {
	if at.IsZero() {
		at = epoch
	}
	_, err := tx.Exec(ctx, `UPDATE runs SET state = 'active', next_due = $2 WHERE list_no = $1 AND state = 'waiting'`, listNo, at)
	if err != nil {
		return fmt.Errorf("start runs: %w", err)
	}
	return nil
}

// Pause holds the list's runs. Holders of the pools see it within half a second, and ask before every write.
func (a *Admission) Pause(ctx context.Context, tx pgx.Tx, listNo int64) error {
	return moveRuns(ctx, tx, listNo, "paused", "active", "done") // a receipt may yet bring rows to one that is done
}

// Resume lets paused runs go on.
func (a *Admission) Resume(ctx context.Context, tx pgx.Tx, listNo int64) error {
	return moveRuns(ctx, tx, listNo, "active", "paused")
}

// Cancel makes the holders of the pools end what has not left as cancelled; what is on the wire is let finish.
func (a *Admission) Cancel(ctx context.Context, tx pgx.Tx, listNo int64) error {
	return moveRuns(ctx, tx, listNo, "cancelling", "waiting", "active", "paused", "done")
}

func moveRuns(ctx context.Context, tx pgx.Tx, listNo int64, to string, from ...string) error {
	_, err := tx.Exec(ctx, `UPDATE runs SET state = $2, next_due = CASE $2 WHEN 'cancelling' THEN '-infinity' ELSE next_due END
		WHERE list_no = $1 AND state = ANY($3)`, listNo, to, from)
	if err != nil {
		return fmt.Errorf("set runs of list %d to %s: %w", listNo, to, err)
	}
	return nil
}

// Discard removes what was admitted of a list that was never started: another file takes its place, with ordinals that go on
// from where this one's ended (the persons index keeps its references until they are purged, and must never point at others).
func (a *Admission) Discard(ctx context.Context, tx pgx.Tx, listNo int64) error {
	var started bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM runs WHERE list_no = $1 AND state <> 'waiting')`, listNo).Scan(&started); err != nil {
		return fmt.Errorf("discard list %d: %w", listNo, err)
	}
	if started {
		return fmt.Errorf("discard list %d: it was started", listNo)
	}
	first, next := int64(MakeID(listNo, 0)), int64(MakeID(listNo+1, 0))
	for _, step := range [...]struct {
		sql  string
		args []any
	}{
		{`DELETE FROM outbox WHERE run IN (SELECT id FROM runs WHERE list_no = $1)`, []any{listNo}},
		{`DELETE FROM runs WHERE list_no = $1`, []any{listNo}},
		{`DELETE FROM duplicates WHERE id >= $1 AND id < $2`, []any{first, next}},
		{`DELETE FROM outcomes WHERE id >= $1 AND id < $2`, []any{first, next}}, // of rows that were taken back
		{`DELETE FROM notifications WHERE id >= $1 AND id < $2`, []any{first, next}},
	} {
		if _, err := tx.Exec(ctx, step.sql, step.args...); err != nil {
			return fmt.Errorf("discard list %d: %w", listNo, err)
		}
	}
	return nil
}

// Stopped reports whether a stop of this very list is in force.
func (a *Admission) Stopped(ctx context.Context, tx pgx.Tx, listNo int64) (stopped bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM stops WHERE lifted_at IS NULL AND scope = 'list' AND target = $1::bigint::text)`, listNo).Scan(&stopped)
	if err != nil {
		return false, fmt.Errorf("look for a stop of list %d: %w", listNo, err)
	}
	return stopped, nil
}

package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// Office is what people ask of dispatch, in any process: stops, the state of links, what was told, and decisions about what is
// uncertain. The holders of the pools see it through the database.
type Office struct {
	DB      *pgxpool.Pool
	Journal *journal.Writer
	Keyring *citizen.Keyring
	Now     func() time.Time
	// For WaitingFor: the rules in force, and the pools that lead to simulators only.
	Rules      func() *Rules
	Simulators []string
}

// Stop holds back what it names, in every process, until it is lifted.
type Stop struct {
	ID       int64
	Scope    StopScope
	Target   string
	Reason   string
	Actor    string
	At       time.Time
	LiftedAt *time.Time
	LiftedBy string
}

// ErrStop says that a stop is not one of the contract's.
var ErrStop = errors.New("stop: unknown scope, or a target that does not fit it")

// ErrNotThere says that there is no such thing, or none that may be seen.
var ErrNotThere = errors.New("not there")

// SetStop holds something back; in force everywhere within two seconds after it returns.
func (o *Office) SetStop(ctx context.Context, p journal.Principal, scope StopScope, target, reason string) (id int64, err error) {
	if !slices.Contains(stopScopes(), scope) || (scope == StopAll) != (target == "") {
		return 0, ErrStop
	}
	err = postgres.InTx(ctx, o.DB, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `INSERT INTO stops (scope, target, reason, actor) VALUES ($1, $2, $3, $4) RETURNING id`,
			string(scope), target, reason, p.Account).Scan(&id); err != nil {
			return fmt.Errorf("set stop: %w", err)
		}
		_, err := o.Journal.Append(ctx, tx, []journal.Entry{{Kind: journal.StopSet, At: o.Now(), Agency: p.Agency, Actor: p.Account,
			Data: journal.Fields("stop", fmt.Sprint(id), "scope", string(scope), "target", target, "why", journal.Text(reason))}})
		return err
	})
	return id, err
}

// LiftStop ends a stop.
func (o *Office) LiftStop(ctx context.Context, p journal.Principal, id int64) error {
	return postgres.InTx(ctx, o.DB, func(tx pgx.Tx) error {
		var scope, target string
		err := tx.QueryRow(ctx, `UPDATE stops SET lifted_at = clock_timestamp(), lifted_by = $2 WHERE id = $1 AND lifted_at IS NULL RETURNING scope, target`,
			id, p.Account).Scan(&scope, &target)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotThere
		}
		if err != nil {
			return fmt.Errorf("lift stop: %w", err)
		}
		_, err = o.Journal.Append(ctx, tx, []journal.Entry{{Kind: journal.StopLifted, At: o.Now(), Agency: p.Agency, Actor: p.Account,
			Data: journal.Fields("stop", fmt.Sprint(id), "scope", scope, "target", target)}})
		return err
	})
}

const stopsSQL = `SELECT id, scope, target, reason, actor, at, lifted_at, lifted_by FROM stops
	WHERE ($1 = 0 OR id < $1) AND ($2 OR lifted_at IS NULL) ORDER BY id DESC LIMIT $3`

// Stops lists stops set before the given one (zero = all), the newest first: those in force, or with lifted all there were.
func (o *Office) Stops(ctx context.Context, before int64, lifted bool, limit int) ([]Stop, error) {
	rows, err := o.DB.Query(ctx, stopsSQL, before, lifted, limit)
	if err != nil {
		return nil, fmt.Errorf("list stops: %w", err)
	}
	stops, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Stop])
	if err != nil {
		return nil, fmt.Errorf("list stops: %w", err)
	}
	return stops, nil
}

// PoolState is a pool, who holds it, and how its links are.
type PoolState struct {
	Name      string
	Channel   string
	Holder    string // "" = nobody
	RenewedAt *time.Time
	Links     []LinkReport
}

// Held reports whether a process has the pool: a holder that has not renewed in time has lost it (DESIGN 1).
func (p *PoolState) Held(now time.Time) bool {
	return p.Holder != "" && p.RenewedAt != nil && now.Sub(*p.RenewedAt) < writeFor
}

// LinkReport is a link's state as its holder last said, and when.
type LinkReport struct {
	Name    string
	State   LinkState
	At      *time.Time
	Stopped bool // a stop of all, of its channel, of its pool or of itself is in force
}

const poolsSQL = `SELECT p.name, p.channel, coalesce(h.process, ''), h.renewed_at, l.name, l.state, l.state_at,
		EXISTS (SELECT FROM stops s WHERE s.lifted_at IS NULL AND (s.scope = 'all' OR s.scope = 'link' AND s.target = l.name
			OR s.scope = 'pool' AND s.target = p.name OR s.scope = 'channel' AND s.target = p.channel))
	FROM pools p LEFT JOIN pool_holders h ON h.pool = p.no LEFT JOIN links l ON l.pool = p.no ORDER BY p.name, l.name`

// Pools says how all pools are.
func (o *Office) Pools(ctx context.Context) ([]PoolState, error) {
	rows, err := o.DB.Query(ctx, poolsSQL)
	if err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	var all []PoolState
	var p PoolState
	var name *string
	var state *LinkState
	var at *time.Time
	var stopped bool
	_, err = pgx.ForEachRow(rows, []any{&p.Name, &p.Channel, &p.Holder, &p.RenewedAt, &name, &state, &at, &stopped}, func() error {
		if len(all) == 0 || all[len(all)-1].Name != p.Name {
			all = append(all, p)
		}
		if name != nil && state != nil {
			last := &all[len(all)-1]
			last.Links = append(last.Links, LinkReport{Name: *name, State: *state, At: at, Stopped: stopped})
		}
		state = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	return all, nil
}

// Contents opens what was told to whom. The caller has the right to look, and has journalled the look. What cannot be opened any
// more, because its key was destroyed, is left out.
func (o *Office) Contents(ctx context.Context, ids []NotificationID) (map[NotificationID]Content, error) {
	return Contents(ctx, o.DB, o.Keyring, ids)
}

// Contents is Office.Contents for whoever has no office.
func Contents(ctx context.Context, db citizen.DB, keys *citizen.Keyring, ids []NotificationID) (map[NotificationID]Content, error) {
	rows, err := db.Query(ctx, `SELECT n.id, n.sealed, (SELECT data_key FROM runs r WHERE r.list_no = n.id >> 24 LIMIT 1)
		FROM notifications n WHERE n.id = ANY($1)`, rawIDs(ids))
	if err != nil {
		return nil, fmt.Errorf("read contents: %w", err)
	}
	type sealed struct {
		id   int64
		blob []byte
		key  *int64
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s sealed, err error) { return s, row.Scan(&s.id, &s.blob, &s.key) })
	if err != nil {
		return nil, fmt.Errorf("read contents: %w", err)
	}
	open := make(map[NotificationID]Content, len(found))
	for _, s := range found {
		if s.key == nil {
			continue
		}
		key, err := keys.Key(ctx, db, *s.key)
		if errors.Is(err, citizen.ErrKeyDestroyed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		plain, err := key.Open(nil, s.blob, citizen.RowAAD("notifications", s.id))
		if err != nil {
			return nil, fmt.Errorf("notification %s: %w", NotificationID(s.id), err)
		}
		var c Content
		if err := c.decode(plain); err != nil {
			return nil, fmt.Errorf("notification %s: %w", NotificationID(s.id), err)
		}
		open[NotificationID(s.id)] = c
	}
	return open, nil
}

// ErrTooLate says that a notification has left, is leaving, or has ended.
var ErrTooLate = errors.New("the notification has left or ended already")

// Cancel ends a notification that has not left; ErrTooLate when it has.
func (o *Office) Cancel(ctx context.Context, p journal.Principal, agency string, id NotificationID) error {
	return postgres.InTx(ctx, o.DB, func(tx pgx.Tx) error {
		late, err := Withdraw(ctx, tx, o.Journal, Withdrawal{Agency: agency, Actor: p.Account, At: o.Now(), IDs: []NotificationID{id}})
		if err == nil && len(late) > 0 {
			err = ErrTooLate
		}
		return err
	})
}

// Decision is what a person says of a notification that is held as uncertain.
type Decision string

const (
	DecideResend Decision = "resend" // send it again, marked as a possible duplicate
	DecideSent   Decision = "sent"   // it is known to have left: wait for nothing, end it as unconfirmed
)

// ErrNotHeld says that a notification does not wait for a person.
var ErrNotHeld = errors.New("the notification does not wait for a decision")

// Settle decides held notifications of one list. It waits for the pool's settling transactions, so that no process has them in hand.
func (o *Office) Settle(ctx context.Context, p journal.Principal, agency string, id NotificationID, what Decision) error {
	return postgres.InTx(ctx, o.DB, func(tx pgx.Tx) error {
		var pool, no, sequence int16
		var run int32
		err := tx.QueryRow(ctx, `SELECT pool, run, no, sequence FROM uncertain WHERE notification = $1`, int64(id)).Scan(&pool, &run, &no, &sequence)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotHeld
		}
		if err != nil {
			return fmt.Errorf("settle %s: %w", id, err)
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, poolLock(pool)); err != nil {
			return fmt.Errorf("settle %s: %w", id, err)
		}
		tag, err := tx.Exec(ctx, `DELETE FROM outbox WHERE run = $1 AND due_at = $2 AND id = $3`, run, held, int64(id))
		if err != nil {
			return fmt.Errorf("settle %s: %w", id, err)
		}
		if tag.RowsAffected() == 0 {
			return ErrNotHeld
		}
		entry := journal.Entry{Kind: journal.NotificationSettled, At: o.Now(), Agency: agency, Actor: p.Account, ListNo: id.List(),
			Notification: int64(id), Sequence: int(sequence), Attempt: int(no), Reason: string(what)}
		if what == DecideResend {
			if _, err := o.Journal.Append(ctx, tx, []journal.Entry{entry}); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE uncertain SET decided = true WHERE notification = $1`, int64(id)); err != nil {
				return fmt.Errorf("settle %s: %w", id, err)
			}
			_, err = tx.Exec(ctx, `INSERT INTO outbox (run, tries, sequence, due_at, id) VALUES ($1, $2, $3, $4, $5)`, run, no, sequence, o.Now(), int64(id))
			if err == nil {
				_, err = tx.Exec(ctx, `UPDATE runs SET next_due = least(next_due, $2), state = CASE state WHEN 'done' THEN 'active' ELSE state END
					WHERE id = $1`, run, o.Now())
			}
			if err != nil {
				return fmt.Errorf("settle %s: %w", id, err)
			}
			return nil
		}
		ends := journal.Entry{Kind: journal.Outcome, At: o.Now(), Agency: agency, ListNo: id.List(), Notification: int64(id),
			Sequence: int(sequence) + 1, Attempt: int(no), State: Unconfirmed.String(), From: Uncertain.String(), Reason: string(ReasonHeld)}
		ids, err := o.Journal.Append(ctx, tx, []journal.Entry{entry, ends})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO outcomes (id, at, entry, state, sequence, attempt, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO NOTHING`, int64(id), o.Now(), ids[1], int16(Unconfirmed), sequence+1, no, string(ReasonHeld))
		if err != nil {
			return fmt.Errorf("settle %s: %w", id, err)
		}
		return nil
	})
}

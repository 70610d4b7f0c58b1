package egisso

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
)

const (
	// takeBytes is what is given to Lists at once, as it was read.
	takeBytes = 8 << 20
	// storeWithin bounds one try to store; it goes on while the process is stopped or the group divided anew.
	storeWithin = 20 * time.Second
	// crowdedEvery is how often a full house is asked whether there is room.
	crowdedEvery = time.Second
)

// handle makes messages durable, in order: parts and recalls with Lists, what cannot be taken with the rejecter.
func (r *reader) handle(ctx context.Context, messages []message) error {
	if !r.express {
		if err := r.awaitRoom(ctx); err != nil {
			return err
		}
	}
	t := taking{reader: r, ctx: ctx}
	for i := range messages {
		if err := t.take(&messages[i]); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := r.patiently(ctx, func(ctx context.Context) error { return r.rejecter.keep(ctx, t.refused) }); err != nil {
		return err
	}
	r.gauge.taken(t.taken, len(t.refused))
	return nil
}

// patiently does what needs the database until it is done, or until ctx ends before that.
func (r *reader) patiently(ctx context.Context, do func(context.Context) error) error {
	var wait postgres.Backoff
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
		err := do(bounded)
		cancel()
		switch {
		case err == nil:
			return nil
		case postgres.IsUnavailable(err):
			r.gauge.set(placeStore, FaultDatabase, err)
		default:
			r.gauge.set(placeStore, FaultStore, err)
		}
		_ = wait.Wait(ctx)
	}
}

// awaitRoom holds lists back while too many wait to be checked.
func (r *reader) awaitRoom(ctx context.Context) error {
	for {
		var crowded bool
		err := r.patiently(ctx, func(ctx context.Context) (err error) {
			crowded, err = r.feed.cfg.Lists.Crowded(ctx)
			return err
		})
		if err != nil || !crowded {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(crowdedEvery):
		}
	}
}

// taking is one batch on its way.
type taking struct {
	*reader
	ctx context.Context

	parts   []ingest.FeedPart // not given to Lists yet
	of      []*message        // theirs
	bytes   int
	refused []refusal
	taken   int
}

func (t *taking) take(m *message) error {
	if m.Transactional || m.Control {
		if !m.At.Before(t.feed.resumed(t.source)) {
			return t.stop(m)
		}
		if !m.Control { // whether it was committed, and with what, nobody says
			t.refuse(m, "transactional", "Сообщение записано в транзакции, договор это запрещает. Уберите transactional.id и отправьте его ещё раз.")
		}
		return nil
	}
	if m.TooLarge {
		t.refuse(m, "unpacks_too_large", fmt.Sprintf("Сообщение не прочитано: пакет, в котором оно лежит, распаковывается больше чем в %d МиБ. Отправьте его в пакетах поменьше.", unpackedMost>>20))
		return nil
	}
	now := t.feed.Now()
	parsed, err := Parse(m.Headers, m.Value, now)
	if t.refusedBy(m, err) {
		return nil
	}
	if err != nil {
		return err
	}
	if parsed.xml() && !isMessages(t.topic) {
		t.refuse(m, "xml_topic", "Сообщения ЕГИССО (10.33.O, 10.06.S, 20.02.S) принимаются только из её темы …messages.v1. Отправьте список по договору этой темы.")
		return nil
	}
	agency, ok := t.agency(parsed.Source, now)
	if !ok {
		t.refuse(m, "source_foreign", "Ведомство, названное в source, не из тех, чьи списки приносит эта тема. Проверьте код участника и тему.")
		return nil
	}
	who := journal.Principal{Account: "source/" + t.source, Agency: agency, Source: t.source, Roles: []journal.Role{journal.RoleSourceSystem}}
	parts := parsed.Also
	if parsed.Part != nil {
		parts = append([]*Part{parsed.Part}, parts...)
	}
	for _, p := range parts {
		if t.express && t.refusedBy(m, p.CheckEvent()) {
			return nil
		}
	}
	for _, p := range parts {
		if err := t.part(m, p, who, parsed.Type == TypeFacts); err != nil {
			return err
		}
	}
	if len(parts) == 0 {
		t.taken++
	}
	if err := t.deaths(who, parsed.Deaths); err != nil {
		return err
	}
	recalls := parsed.Recalls
	if parsed.Cancel != nil {
		recalls = append(recalls, *parsed.Cancel)
	}
	return t.recall(m, who, recalls)
}

// agency is whose a message is: the participant it names, among those of the topic's source; XML may name none, then it is the first.
func (t *taking) agency(named string, now time.Time) (string, bool) {
	source, ok := t.feed.cfg.Catalog().Source(t.source, now)
	if !ok || len(source.Agencies) == 0 {
		return "", false
	}
	if named == "" {
		return source.Agencies[0], true
	}
	return named, slices.Contains(source.Agencies, named)
}

// refuse is for a message as a whole, whichever of its lists was refused first.
func (t *taking) refuse(m *message, code, detail string) {
	for _, r := range t.refused {
		if r.Partition == m.Partition && r.Offset == m.Offset {
			return
		}
	}
	t.refused = append(t.refused, refusal{*m, code, detail})
}

// refusedBy refuses the message if the error is a fault of its own.
func (t *taking) refusedBy(m *message, err error) bool {
	fault, ok := errors.AsType[*Problem](err)
	if ok {
		t.refuse(m, fault.Code, fault.Detail)
	}
	return ok
}

func (t *taking) part(m *message, p *Part, who journal.Principal, facts bool) error {
	p.Header.Source = t.source
	t.parts, t.of = append(t.parts, ingest.FeedPart{
		Principal: who, ListID: p.ListID, Part: p.Part, Parts: p.Parts, Header: p.Header, Express: t.express, Rows: p.Rows,
		Digest: p.Digest, HeaderDigest: p.HeaderDigest, Verbatim: p.Verbatim, Facts: facts,
		Origin: fmt.Sprintf("%s[%d]@%d", t.topic, m.Partition, m.Offset),
	}), append(t.of, m)
	if t.bytes += m.size(); t.bytes >= takeBytes {
		return t.flush()
	}
	return nil
}

// flush gives the parts to Lists.
func (t *taking) flush() error {
	if len(t.parts) == 0 {
		return nil
	}
	err := t.patiently(t.ctx, func(ctx context.Context) error { return t.offer(ctx, 0, len(t.parts)) })
	t.parts, t.of, t.bytes = t.parts[:0], t.of[:0], 0
	return err
}

// offer gives a run of parts; if the database cannot hold what one of them says, each alone, and refuses that one.
func (t *taking) offer(ctx context.Context, from, to int) error {
	fates, err := t.feed.cfg.Lists.TakeParts(ctx, t.parts[from:to])
	switch {
	case unstorable(err) && to-from > 1:
		for i := from; i < to; i++ {
			if err := t.offer(ctx, i, i+1); err != nil {
				return err
			}
		}
		return nil
	case unstorable(err): // the error may quote what it could not read, so it is not logged
		t.gauge.log.Error("a part cannot be stored for what it says", "partition", t.of[from].Partition, "offset", t.of[from].Offset)
		fates = []*ingest.Fault{errUnstorable}
	case err != nil:
		return err
	}
	for i, fate := range fates {
		if fate != nil {
			t.refuse(t.of[from+i], fate.Code, fate.Detail)
		} else {
			t.taken++
		}
	}
	return nil
}

var errUnstorable = &ingest.Fault{Kind: ingest.FaultInvalid, Code: "not_storable",
	Detail: "Сообщение нельзя сохранить из-за того, что в нём есть. Сообщите в поддержку ЕКЦ тему, раздел и смещение."}

// unstorable says that no other try will do: PostgreSQL's class 22, data exception.
func unstorable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "22")
}

// recall gives what is taken back to Lists, after the parts that came before it.
func (t *taking) recall(m *message, who journal.Principal, recalls []Cancel) error {
	if len(recalls) == 0 {
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, c := range recalls {
		for ids := range slices.Chunk(c.ExternalIDs, ingest.PartRows) {
			if refused, err := t.recallOne(m, who, c, ids); err != nil || refused {
				return err
			}
		}
		if c.All {
			if refused, err := t.recallOne(m, who, c, nil); err != nil || refused {
				return err
			}
		}
	}
	return nil
}

// deaths are told to Lists after the parts that came before them.
func (t *taking) deaths(who journal.Principal, deaths []Death) error {
	if len(deaths) == 0 {
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	people := make([]citizen.SNILS, len(deaths))
	for i, d := range deaths {
		people[i] = d.SNILS
	}
	return t.patiently(t.ctx, func(ctx context.Context) error { return t.feed.cfg.Lists.TakeDeaths(ctx, who, people) })
}

func (t *taking) recallOne(m *message, who journal.Principal, c Cancel, ids []string) (refused bool, err error) {
	r := ingest.Recall{Principal: who, ListID: c.ListID, ExternalIDs: ids, All: c.All, Reason: c.Reason, OccurredAt: c.OccurredAt}
	err = t.patiently(t.ctx, func(ctx context.Context) error {
		err := t.feed.cfg.Lists.TakeRecall(ctx, r)
		if fault, ok := errors.AsType[*ingest.Fault](err); ok {
			t.refuse(m, fault.Code, fault.Detail)
			refused = true
			return nil
		}
		return err
	})
	return refused, err
}

// stop ends the reading of the source: what was admitted waits, and nothing more is read until a person resumes it. What came before the
// message is stored and will be read again.
func (t *taking) stop(m *message) error {
	e := &stopError{topic: t.topic, partition: m.Partition, offset: m.Offset}
	if err := t.flush(); err != nil {
		return err
	}
	err := t.patiently(t.ctx, func(ctx context.Context) error {
		if err := t.rejecter.keep(ctx, t.refused); err != nil {
			return err
		}
		if err := t.feed.cfg.Lists.HoldSource(ctx, t.source, string(FaultTransactions)); err != nil {
			return err
		}
		return t.feed.stop(ctx, t.source, e)
	})
	if err != nil {
		return err
	}
	return e
}

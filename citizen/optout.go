package citizen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"
)

// The whole message must be one of these words; a word inside a sentence is for a person to read.
var (
	stopWords = commandSet("СТОП", "STOP", "STOPP", "ОТПИСАТЬСЯ", "ОТПИСКА", "ОТКАЗ", "НЕТ РАССЫЛКЕ", "НЕ ПРИСЫЛАЙТЕ", "ОТКЛЮЧИТЬ",
		"UNSUBSCRIBE", "ХВАТИТ")
	startWords = commandSet("СТАРТ", "START", "ДА РАССЫЛКЕ", "ВКЛЮЧИТЬ")
)

// IsStop reports whether a message asks us to stop: one of the opt-out words and nothing else, in any case, with Latin letters
// among Cyrillic ones, with quotes, punctuation or emoji around.
func IsStop(text string) bool { return stopWords[foldCommand(text)] }

// IsStart reports whether a message takes a refusal back, by the same rules.
func IsStart(text string) bool { return startWords[foldCommand(text)] }

func commandSet(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[foldCommand(w)] = true
	}
	return set
}

// foldCommand brings a message to the form in which command words are compared: upper case, ё as е, one blank between words,
// nothing but letters and digits, every letter that Latin and Cyrillic share as the Cyrillic one, a zero beside letters as О.
func foldCommand(text string) string {
	words := strings.FieldsFunc(norm.NFKC.String(text), func(c rune) bool { return unicode.IsSpace(c) })
	kept := words[:0]
	for _, w := range words {
		letters := strings.IndexFunc(w, unicode.IsLetter) >= 0
		w = strings.Map(func(c rune) rune {
			if c == '0' && letters {
				return 'О'
			}
			if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
				return -1
			}
			c = unicode.ToUpper(c)
			if c == 'Ё' {
				return 'Е'
			}
			if c < utf8.RuneSelf && lookAlike[c] != 0 {
				return lookAlike[c]
			}
			return c
		}, w)
		if w != "" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// AllAgencies is the scope of a refusal that holds for everybody; any other scope is an agency's code.
const AllAgencies = "all"

// OptOutSource is the way a refusal came.
type OptOutSource string

const (
	OptOutBySMS      OptOutSource = "sms"
	OptOutByCall     OptOutSource = "call"
	OptOutByOperator OptOutSource = "operator"
)

// OptOut is a refusal of informing by one phone. It outlives whatever else is known of the person.
type OptOut struct {
	Digest Digest // of the phone, under the index key current at that time
	Scope  string // AllAgencies or an agency's code
	Source OptOutSource
	Cause  string    // what it rests on: "inbound/<no>"
	At     time.Time // set by the database
}

// Covers reports whether the refusal stops an agency's informing.
func (o OptOut) Covers(agency string) bool { return o.Scope == AllAgencies || o.Scope == agency }

const addOptOut = `
INSERT INTO opt_outs (digest, scope, source, cause)
SELECT @digest, @scope, @source, @cause
WHERE NOT EXISTS (SELECT FROM opt_outs WHERE digest = ANY(@digests) AND scope = @scope AND lifted_at IS NULL)`

// AddOptOut stores a refusal; digests are Keyring.PhoneDigests. One that holds already is left as it is, and added is false. It stops
// sending once the transaction has committed.
func AddOptOut(ctx context.Context, db DB, digests []Digest, scope string, source OptOutSource, cause string) (added bool, err error) {
	if len(digests) == 0 {
		return false, errors.New("add opt-out: no digest")
	}
	tag, err := db.Exec(ctx, addOptOut, pgx.NamedArgs{
		"digest": digests[0][:], "digests": digestBytes(digests), "scope": scope, "source": string(source), "cause": cause})
	if err != nil {
		return false, fmt.Errorf("add opt-out: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

const liftOptOuts = `
UPDATE opt_outs SET lifted_at = clock_timestamp()
WHERE digest = ANY(@digests) AND lifted_at IS NULL AND (@scope = 'all' OR scope = @scope)`

// LiftOptOuts takes a phone's refusals back: all of them for AllAgencies, else the one of that agency. It returns how many.
func LiftOptOuts(ctx context.Context, db DB, digests []Digest, scope string) (int64, error) {
	tag, err := db.Exec(ctx, liftOptOuts, pgx.NamedArgs{"digests": digestBytes(digests), "scope": scope})
	if err != nil {
		return 0, fmt.Errorf("lift opt-outs: %w", err)
	}
	return tag.RowsAffected(), nil
}

const selectOptOuts = `
SELECT digest, scope, source, cause, at FROM opt_outs WHERE digest = ANY(@digests) AND lifted_at IS NULL`

// OptOutsOf gives the refusals that hold for any of the digests: a claimed batch, or all digests of one phone.
func OptOutsOf(ctx context.Context, db DB, digests []Digest) ([]OptOut, error) {
	return collectOptOuts(db.Query(ctx, selectOptOuts, pgx.NamedArgs{"digests": digestBytes(digests)}))
}

const (
	optOutsInForce = `SELECT digest, scope FROM opt_outs WHERE digest = ANY($1) AND lifted_at IS NULL`
	recentOptOuts  = `SELECT digest, scope FROM opt_outs WHERE at > clock_timestamp() - $1::interval AND lifted_at IS NULL`
)

// QueueOptOuts asks, with a batch, for the refusals that hold of any of the phones.
func QueueOptOuts(b *pgx.Batch, digests [][]byte, found func(digest Digest, scope string)) {
	queueOptOuts(b, optOutsInForce, digests, found)
}

// QueueRecentOptOuts asks, with a batch, for the refusals that hold and were made lately. A transaction shows its row only when it
// commits, so who follows asks again for as long back as a transaction may last.
func QueueRecentOptOuts(b *pgx.Batch, within time.Duration, found func(digest Digest, scope string)) {
	queueOptOuts(b, recentOptOuts, within, found)
}

func queueOptOuts(b *pgx.Batch, sql string, arg any, found func(digest Digest, scope string)) {
	b.Queue(sql, arg).Query(func(rows pgx.Rows) error {
		var digest []byte
		var scope string
		_, err := pgx.ForEachRow(rows, []any{&digest, &scope}, func() error { found(Digest(digest), scope); return nil })
		return err
	})
}

// causeWithin is more than the clock of whoever wrote a refusal and that of the database differ.
const causeWithin = time.Hour

const selectOptOutsOfCause = `
SELECT digest, scope, source, cause, at FROM opt_outs WHERE at BETWEEN @from AND @to AND cause = @cause AND lifted_at IS NULL ORDER BY id`

// OptOutsOfCause gives the refusals that hold and rest on one cause, written about the time at.
func OptOutsOfCause(ctx context.Context, db DB, cause string, at time.Time) ([]OptOut, error) {
	return collectOptOuts(db.Query(ctx, selectOptOutsOfCause, pgx.NamedArgs{"cause": cause, "from": at.Add(-causeWithin), "to": at.Add(causeWithin)}))
}

func collectOptOuts(rows pgx.Rows, err error) ([]OptOut, error) {
	if err != nil {
		return nil, fmt.Errorf("read opt-outs: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o OptOut, err error) {
		var digest []byte
		var source string
		if err = row.Scan(&digest, &o.Scope, &source, &o.Cause, &o.At); err != nil {
			return o, err
		}
		if copy(o.Digest[:], digest) != len(o.Digest) {
			return o, fmt.Errorf("digest of %d bytes", len(digest))
		}
		o.Source = OptOutSource(source)
		return o, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read opt-outs: %w", err)
	}
	return found, nil
}

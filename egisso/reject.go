package egisso

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// refusal is a message that cannot be taken, and why: Code is stable, Detail a Russian sentence that repeats nothing of the message.
type refusal struct {
	message
	code, detail string
}

const (
	// rejectedWhole is what goes to the rejected topic as it came; of a larger value its first rejectedHead go, and its digest.
	rejectedWhole = 512 << 10
	rejectedHead  = 64 << 10
	// publishBatch is how many rejected messages are in hand at once.
	publishBatch = 16
	// publishClaim is how long one process has them for itself.
	publishClaim = time.Minute
	// rejectedSuffix makes a topic's name that of its rejected messages.
	rejectedSuffix = ".rejected"
)

// rejecter keeps what could not be taken of one topic, and tells its sender. Kept is durable, and what the offset waits for; told is by
// the topic's own rejected topic, at least once, whenever that can be written.
type rejecter struct {
	db            *pgxpool.Pool
	keys          *citizen.Keyring
	journal       *journal.Writer
	source, topic string
	now           func() time.Time
	producer      Producer
	gauge         *gauge
	wake          chan struct{} // something was kept
}

// head is what is sealed of a message beside its value.
type head struct {
	Key     []byte   `json:"key"`
	Headers []Header `json:"headers"`
}

const keepSQL = `
INSERT INTO feed_rejected (source, topic, partition_no, offset_no, stamped_at, code, detail, size, data_key, sealed_head, sealed_value, at)
VALUES (@source, @topic, @partition, @offset, @stamped, @code, @detail, @size, @key, @head, @value, @now)
ON CONFLICT (topic, partition_no, offset_no, stamped_at) DO NOTHING`

// keep stores refused messages, all in one transaction; those that are there already stay as they are.
func (r *rejecter) keep(ctx context.Context, refused []refusal) error {
	if len(refused) == 0 {
		return nil
	}
	now := r.now()
	key, err := r.keys.ScopeKey(ctx, r.db, "rejected/"+r.source+"/"+now.UTC().Format(time.DateOnly), "")
	if err != nil {
		return err
	}
	err = postgres.InTx(ctx, r.db, func(tx pgx.Tx) error {
		var entries []journal.Entry
		for _, f := range refused {
			sealedHead, err := json.Marshal(head{f.Key, f.Headers})
			if err != nil {
				return err
			}
			place := r.place(f.Partition)
			tag, err := tx.Exec(ctx, keepSQL, pgx.NamedArgs{
				"source": r.source, "topic": r.topic, "partition": f.Partition, "offset": f.Offset, "stamped": f.At, "code": f.code, "detail": f.detail,
				"size": len(f.Value), "key": key.ID, "now": now,
				"head":  key.Seal(nil, sealedHead, citizen.RowAAD(place+" head", f.Offset)),
				"value": key.Seal(nil, f.Value, citizen.RowAAD(place, f.Offset)),
			})
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 1 {
				entries = append(entries, journal.Entry{Kind: journal.PartRejected, At: now, Reason: "message", Code: f.code,
					Data: journal.Fields("source", r.source, "topic", r.topic, "partition", strconv.Itoa(f.Partition), "offset", strconv.FormatInt(f.Offset, 10))})
			}
		}
		_, err := r.journal.Append(ctx, tx, entries)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep rejected messages: %w", err)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

// place binds what is sealed to where it came from.
func (r *rejecter) place(partition int) string {
	return fmt.Sprintf("feed_rejected %s %d", r.topic, partition)
}

// run publishes what is kept until ctx ends. A topic that cannot be written stops nothing else.
func (r *rejecter) run(ctx context.Context) error {
	wait := postgres.Backoff{First: time.Second, Most: 30 * time.Second}
	tick := time.NewTicker(publishClaim) // for what another process left behind
	defer tick.Stop()
	for {
		n, err := r.publish(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if wait.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		wait.Reset()
		if n == publishBatch {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-tick.C:
		}
	}
}

const claimRejectedSQL = `
UPDATE feed_rejected SET claimed_until = @until WHERE id IN (
	SELECT id FROM feed_rejected WHERE topic = @topic AND published_at IS NULL AND (claimed_until IS NULL OR claimed_until < @now)
	ORDER BY id LIMIT @limit FOR UPDATE SKIP LOCKED)
RETURNING id`

const rejectedSQL = `SELECT partition_no, offset_no, stamped_at, code, detail, data_key, sealed_head, sealed_value, at FROM feed_rejected WHERE id = @id`

const publishedSQL = `UPDATE feed_rejected SET published_at = @now, claimed_until = NULL WHERE id = ANY(@ids)`

const unclaimSQL = `UPDATE feed_rejected SET claimed_until = NULL WHERE id = ANY(@ids) AND published_at IS NULL`

// publish writes what waits, oldest first, and says how much that was.
func (r *rejecter) publish(ctx context.Context) (n int, err error) {
	now := r.now()
	rows, err := r.db.Query(ctx, claimRejectedSQL, pgx.NamedArgs{"until": now.Add(publishClaim), "topic": r.topic, "now": now, "limit": publishBatch})
	if err != nil {
		return 0, fmt.Errorf("claim rejected messages: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("claim rejected messages: %w", err)
	}
	slices.Sort(ids) // they come in any order
	for i, id := range ids {
		if err := r.publishOne(ctx, id); err != nil {
			// Whoever stops in between gives the rest back at once.
			settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_, undone := r.db.Exec(settle, unclaimSQL, pgx.NamedArgs{"ids": ids[i:]})
			return i, errors.Join(err, undone)
		}
	}
	return len(ids), nil
}

func (r *rejecter) publishOne(ctx context.Context, id int64) error {
	var (
		f                       refusal
		keyID                   int64
		sealedHead, sealedValue []byte
		at                      time.Time
	)
	err := r.db.QueryRow(ctx, rejectedSQL, pgx.NamedArgs{"id": id}).
		Scan(&f.Partition, &f.Offset, &f.At, &f.code, &f.detail, &keyID, &sealedHead, &sealedValue, &at)
	if err != nil {
		return fmt.Errorf("read rejected message %d: %w", id, err)
	}
	data, err := r.keys.Key(ctx, r.db, keyID)
	if err != nil {
		return err
	}
	place := r.place(f.Partition)
	opened, err := data.Open(nil, sealedHead, citizen.RowAAD(place+" head", f.Offset))
	if err == nil {
		f.Value, err = data.Open(nil, sealedValue, citizen.RowAAD(place, f.Offset))
	}
	if err != nil {
		return fmt.Errorf("rejected message %d: %w", id, err)
	}
	var h head
	if err := json.Unmarshal(opened, &h); err != nil {
		return fmt.Errorf("rejected message %d: %w", id, err)
	}
	f.Key, f.Headers = h.Key, h.Headers
	key, value, headers := answer(r.topic, f, at)
	if err := r.producer.Produce(ctx, Record{Topic: r.topic + rejectedSuffix, Key: key, Value: value, Headers: headers}); err != nil {
		r.gauge.set(placeRejected, FaultRejected, err)
		return err
	}
	r.gauge.clear(placeRejected)
	if _, err := r.db.Exec(ctx, publishedSQL, pgx.NamedArgs{"ids": []int64{id}, "now": r.now()}); err != nil {
		return fmt.Errorf("note that message %d was published: %w", id, err)
	}
	return nil
}

// Headers that a rejected message has beside its own.
const (
	headerCode      = "ekc_code"
	headerDetail    = "ekc_detail"
	headerTopic     = "ekc_topic"
	headerPartition = "ekc_partition"
	headerOffset    = "ekc_offset"
	headerAt        = "ekc_rejected_at"
	headerSize      = "ekc_size"   // of the whole value, when only its beginning is here
	headerSHA256    = "ekc_sha256" // the same's digest
)

// answer is a rejected message as its sender gets it back.
func answer(topic string, f refusal, at time.Time) (key, value []byte, headers []Header) {
	key, value = f.Key, f.Value
	if f.size()-len(value) <= rejectedHead { // else they are only kept
		headers = f.Headers
	} else if len(key) > rejectedHead {
		key = nil
	}
	text := func(key, value string) { headers = append(headers, Header{key, []byte(value)}) }
	text(headerCode, f.code)
	text(headerDetail, f.detail)
	text(headerTopic, topic)
	text(headerPartition, strconv.Itoa(f.Partition))
	text(headerOffset, strconv.FormatInt(f.Offset, 10))
	text(headerAt, at.UTC().Format(time.RFC3339Nano))
	if len(value) > rejectedWhole {
		sum := sha256.Sum256(value)
		text(headerSize, strconv.Itoa(len(value)))
		text(headerSHA256, hex.EncodeToString(sum[:]))
		value = value[:rejectedHead]
	}
	return key, value, headers
}

package citizen

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// AddDeceased keeps that people have died, as part of tx, and returns the digests of those of whom it was not known.
func AddDeceased(ctx context.Context, tx pgx.Tx, persons []Digest, at time.Time) ([]Digest, error) {
	rows, err := tx.Query(ctx, `INSERT INTO deceased (person, at) SELECT p, $2 FROM unnest($1::bytea[]) AS p ON CONFLICT DO NOTHING RETURNING person`, digestBytes(persons), at)
	return collectDigests(rows, err)
}

// Deceased are those of the digests whose people are known to have died.
func Deceased(ctx context.Context, db DB, persons []Digest) ([]Digest, error) {
	rows, err := db.Query(ctx, `SELECT person FROM deceased WHERE person = ANY ($1)`, digestBytes(persons))
	return collectDigests(rows, err)
}

// DeceasedSince are the digests of people whose death was said at that time or later.
func DeceasedSince(ctx context.Context, db DB, at time.Time) ([]Digest, error) {
	rows, err := db.Query(ctx, `SELECT person FROM deceased WHERE at >= $1`, at)
	return collectDigests(rows, err)
}

// AnyDeceased says whether anybody is known to have died at all.
func AnyDeceased(ctx context.Context, db DB) (some bool, err error) {
	if err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM deceased)`).Scan(&some); err != nil {
		return false, fmt.Errorf("look for deaths: %w", err)
	}
	return some, nil
}

func collectDigests(rows pgx.Rows, err error) ([]Digest, error) {
	if err != nil {
		return nil, fmt.Errorf("deaths: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d Digest, err error) {
		var b []byte
		if err = row.Scan(&b); err == nil {
			d = Digest(b)
		}
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("deaths: %w", err)
	}
	return found, nil
}

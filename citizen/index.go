package citizen

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
)

// RefKind says which table a reference of persons_index leads to.
type RefKind int16

const (
	RefNotification RefKind = 1
	RefRejection    RefKind = 2
	RefInbound      RefKind = 3
)

// Ref is a row that concerns a person.
type Ref struct {
	Kind RefKind
	ID   int64
}

// IndexEntry is one row of persons_index.
type IndexEntry struct {
	Digest Digest
	Ref    Ref
}

func (e IndexEntry) compare(other IndexEntry) int {
	if a, b := binary.BigEndian.Uint64(e.Digest[:]), binary.BigEndian.Uint64(other.Digest[:]); a != b { // nearly always
		return cmp.Compare(a, b)
	}
	return cmp.Or(bytes.Compare(e.Digest[:], other.Digest[:]), cmp.Compare(e.Ref.Kind, other.Ref.Kind), cmp.Compare(e.Ref.ID, other.Ref.ID))
}

const copyIndex = `COPY persons_index (digest, ref_kind, ref) FROM STDIN BINARY`

// WriteIndex adds entries by COPY, sorted by digest (pages of a random key are then touched once each), doubles left out. It sorts
// entries in place. An entry that is in the table already fails the transaction: the gate of a part keeps repeats away.
func WriteIndex(ctx context.Context, tx pgx.Tx, entries []IndexEntry) error {
	if len(entries) == 0 {
		return nil
	}
	slices.SortFunc(entries, IndexEntry.compare)
	entries = slices.Compact(entries)
	err := postgres.CopyIn(ctx, tx, copyIndex, len(entries), func(row *postgres.CopyRow, i int) {
		e := &entries[i]
		row.Fields(3)
		row.Bytea(e.Digest[:])
		row.Smallint(int16(e.Ref.Kind))
		row.Bigint(e.Ref.ID)
	})
	if err != nil {
		return fmt.Errorf("write persons index: %w", err)
	}
	return nil
}

const addToIndex = `INSERT INTO persons_index (digest, ref_kind, ref) SELECT * FROM unnest($1::bytea[], $2::smallint[], $3::bigint[]) ON CONFLICT DO NOTHING`

// AddToIndex adds entries some of which may be there already.
func AddToIndex(ctx context.Context, db DB, entries []IndexEntry) error {
	if len(entries) == 0 {
		return nil
	}
	digests, kinds, refs := make([][]byte, len(entries)), make([]int16, len(entries)), make([]int64, len(entries))
	for i := range entries {
		e := &entries[i]
		digests[i], kinds[i], refs[i] = e.Digest[:], int16(e.Ref.Kind), e.Ref.ID
	}
	if _, err := db.Exec(ctx, addToIndex, digests, kinds, refs); err != nil {
		return fmt.Errorf("add to persons index: %w", err)
	}
	return nil
}

const lookupIndex = `
SELECT ref_kind, ref FROM persons_index WHERE digest = ANY(@digests)
GROUP BY ref_kind, ref ORDER BY ref_kind, ref`

// LookupIndex finds the rows that concern a person, each once, by any of the digests (Keyring.Digests gives those of every key).
func LookupIndex(ctx context.Context, db DB, digests []Digest) ([]Ref, error) {
	rows, err := db.Query(ctx, lookupIndex, pgx.NamedArgs{"digests": digestBytes(digests)})
	if err != nil {
		return nil, fmt.Errorf("look up persons index: %w", err)
	}
	refs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Ref, err error) {
		err = row.Scan(&r.Kind, &r.ID)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("look up persons index: %w", err)
	}
	return refs, nil
}

func digestBytes(digests []Digest) [][]byte {
	b := make([][]byte, len(digests))
	for i := range digests {
		b[i] = digests[i][:]
	}
	return b
}

package postgres_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func TestCopyInCarriesEveryRowWhateverItsSize(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	if _, err := db.Exec(t.Context(), `CREATE TABLE copied (n bigint PRIMARY KEY, s smallint, i integer, at timestamptz, text text, bytes bytea)`); err != nil {
		t.Fatal(err)
	}
	at := time.Date(1931, 2, 3, 4, 5, 6, 789_000, time.UTC) // before 2000, so a negative number
	size := func(i int) int {
		if i%100 == 7 {
			return 200_000 // more than a message to the server
		}
		return i % 300
	}
	for _, n := range []int{0, 1, 3000} {
		var found, wrong int
		err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) error {
			err := postgres.CopyIn(t.Context(), tx, `COPY copied (n, s, i, at, text, bytes) FROM STDIN BINARY`, n, func(row *postgres.CopyRow, i int) {
				row.Fields(6)
				row.Bigint(int64(i) << 33)
				row.Smallint(-int16(i))
				row.Integer(-int32(i) << 8)
				if i%2 == 0 {
					row.TimestamptzOrNull(at.Add(time.Duration(i) * time.Microsecond))
				} else {
					row.TimestamptzOrNull(time.Time{})
				}
				row.Text(strings.Repeat("я", size(i)))
				row.Bytea(bytes.Repeat([]byte{0, byte(i)}, size(i)))
			})
			if err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE
				s <> -k::int OR i <> -k * 256 OR (at IS NULL) <> (k % 2 = 1) OR at <> $1::timestamptz + k * interval '1 microsecond'
				OR text <> repeat('я', size::int) OR length(bytes) <> 2 * size OR size > 0 AND (get_byte(bytes, 0) <> 0 OR get_byte(bytes, 1) <> k % 256))
				FROM (SELECT *, n >> 33 AS k, CASE WHEN (n >> 33) % 100 = 7 THEN 200000 ELSE (n >> 33) % 300 END AS size FROM copied) c`, at).Scan(&found, &wrong)
		})
		if err != nil || found != n || wrong != 0 {
			t.Errorf("%d rows: %d arrived, %d are not what was sent (%v)", n, found, wrong, err)
		}
		if _, err := db.Exec(t.Context(), `TRUNCATE copied`); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyInTellsWhatTheServerRefused(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `CREATE TEMP TABLE once (n bigint PRIMARY KEY)`); err != nil {
			return err
		}
		return postgres.CopyIn(t.Context(), tx, `COPY once (n) FROM STDIN BINARY`, 100_000, func(row *postgres.CopyRow, i int) {
			row.Fields(1)
			row.Bigint(int64(i % 50_000))
		})
	})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "23505" {
		t.Errorf("a doubled key: %v", err)
	}
}

package dispatch

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
)

// Notifications of a list are found by what its sender calls them. There is no index for that: a search reads the list.
const (
	byExternalIDSQL = `SELECT id FROM notifications WHERE id > $1 AND id < $2 AND external_id = ANY ($3) ORDER BY id`
	byRowNoSQL      = `SELECT id FROM notifications WHERE id > $1 AND id < $2 AND row_no = ANY ($3) ORDER BY id`
	externalIDsSQL  = `SELECT external_id FROM notifications WHERE id > $1 AND id < $2`
)

// ByExternalID finds notifications of a list by their external ids.
func ByExternalID(ctx context.Context, q journal.Querier, listNo int64, ids []string) ([]NotificationID, error) {
	return readIDs(ctx, q, byExternalIDSQL, int64(MakeID(listNo, 0)), int64(MakeID(listNo+1, 0)), ids)
}

// ByRowNo finds notifications of a list by the numbers of their rows.
func ByRowNo(ctx context.Context, q journal.Querier, listNo int64, rows []int32) ([]NotificationID, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	return readIDs(ctx, q, byRowNoSQL, int64(MakeID(listNo, 0)), int64(MakeID(listNo+1, 0)), rows)
}

// EachExternalID visits the external ids of a list, in no order.
func EachExternalID(ctx context.Context, q journal.Querier, listNo int64, visit func(string)) error {
	rows, err := q.Query(ctx, externalIDsSQL, int64(MakeID(listNo, 0)), int64(MakeID(listNo+1, 0)))
	if err != nil {
		return fmt.Errorf("read external ids: %w", err)
	}
	var id string
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { visit(id); return nil }); err != nil {
		return fmt.Errorf("read external ids: %w", err)
	}
	return nil
}

const failedSQL = `SELECT id FROM outcomes WHERE id = ANY ($1) AND state = ANY ($2)`

// Failed are those of the notifications whose phone was not reached: undelivered or refused.
func Failed(ctx context.Context, q journal.Querier, ids []NotificationID) ([]NotificationID, error) {
	return readIDs(ctx, q, failedSQL, rawIDs(ids), []int16{int16(Undelivered), int16(Refused)})
}

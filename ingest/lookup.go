package ingest

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/dispatch"
	"ekc/journal"
)

// Find reads a list without its counts; one that the principal may not see is ErrNotFound.
func Find(ctx context.Context, db journal.Querier, p journal.Principal, id uuid.UUID) (*List, error) {
	return find(ctx, db, p, id, false)
}

// ByNumber reads lists without their counts, those that the principal may see.
func ByNumber(ctx context.Context, db journal.Querier, p journal.Principal, nos []int64) (map[int64]*List, error) {
	lists := make(map[int64]*List, len(nos))
	if len(nos) == 0 {
		return lists, nil
	}
	rows, err := db.Query(ctx, `SELECT `+listColumns+` FROM lists WHERE no = ANY ($1)`, nos)
	if err != nil {
		return nil, fmt.Errorf("read lists: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanList)
	if err != nil {
		return nil, fmt.Errorf("read lists: %w", err)
	}
	for _, l := range found {
		if p.Sees(l.Agency) {
			lists[l.No] = l
		}
	}
	return lists, nil
}

const faultsSQL = `SELECT list_no, row_no, rule_code FROM rejections
	WHERE (list_no, row_no) IN (SELECT * FROM unnest($1::bigint[], $2::int[])) AND message_type = 1 ORDER BY list_no, row_no, no`

// FaultsOf says by which rules rows were rejected. A rejected row goes by its list and the number its sender gave it, as the persons
// index has it (citizen.RefRejection).
func FaultsOf(ctx context.Context, db journal.Querier, rejected []dispatch.NotificationID) (map[dispatch.NotificationID][]RuleCode, error) {
	if len(rejected) == 0 {
		return nil, nil
	}
	lists, numbers := make([]int64, len(rejected)), make([]int32, len(rejected))
	for i, id := range rejected {
		lists[i], numbers[i] = id.List(), id.Ordinal()
	}
	rows, err := db.Query(ctx, faultsSQL, lists, numbers)
	if err != nil {
		return nil, fmt.Errorf("read rejections: %w", err)
	}
	faults := make(map[dispatch.NotificationID][]RuleCode, len(rejected))
	var list int64
	var row int32
	var code RuleCode
	_, err = pgx.ForEachRow(rows, []any{&list, &row, &code}, func() error {
		id := dispatch.MakeID(list, row)
		faults[id] = append(faults[id], code)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rejections: %w", err)
	}
	return faults, nil
}

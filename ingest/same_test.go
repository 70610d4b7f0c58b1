package ingest

import (
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// The same list saved anew has other bytes, other columns in another order, other row numbers, and the same rows.
func TestTheSameRowsInAnotherFileAreNoticedAndTheLoaderDecides(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	first := h.load(listHeader(), goodFile)
	saved := string(book(t, func(f *excelize.File, sheet string) {
		set(t, f, sheet, []any{"Выгрузка"}, []any{"СНИЛС", "Телефон", "ФИО", "Код события", "Текст", "Заметки"},
			[]any{11223344595, 79030000001, "Иванова  Мария Петровна", "OP-04", "СФР: выплата назначена.", "x"}, nil,
			[]any{nil, "89030000002", "Оглы Ян", "Выплата назначена", "СФР: выплата назначена."}, []any{nil, 9030000003, nil, "OP-04", "СФР: выплата назначена."})
	}))
	l := h.load(listHeader(), saved)
	if l.State != Rejected || !strings.Contains(l.StateReason, "Те же строки уже загружены 23.11.2026 в 12:00 (МСК) (список "+first.ID.String()+")") {
		t.Fatalf("%s: %s; %s", counted(l), l.StateReason, h.said(l))
	}
	// The loader says that they are meant to go once more; the rows warn all the same.
	if _, err := h.Replace(t.Context(), loader, l.ID, Header{Again: true}, strings.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if l = h.get(l.ID); l.State != Ready || l.Accepted != 3 || l.Warnings != 3 {
		t.Errorf("%s: %s", counted(l), l.StateReason)
	}
	more := h.load(listHeader(), goodFile+"9030000004;;;OP-04;СФР: выплата назначена.;\n")
	if more.State != Ready || more.Accepted != 4 {
		t.Errorf("another list: %s %s", counted(more), more.StateReason)
	}
	// What is off tells nobody, and stands in nobody's way.
	for _, off := range []*List{first, l} {
		if _, err := h.Cancel(t.Context(), loader, off.ID, "ошибка"); err != nil {
			t.Fatal(err)
		}
	}
	if l = h.load(listHeader(), saved+""); l.State != Ready {
		t.Errorf("after the others were cancelled: %s %s", counted(l), l.StateReason)
	}
}

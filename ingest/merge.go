package ingest

import (
	"cmp"
	"slices"
	"strings"
)

// mergedCell is one cell to the eye, several to the file (18.3.1.55); rows and columns from 0, both ends inside.
type mergedCell struct{ top, bottom, left, right int32 }

// maxMerges lets a long list have one in every row.
const maxMerges = 2_000_000

// parseMerge reads "A1:B2". A reference that makes no sense merges nothing.
func parseMerge(ref string) (m mergedCell, ok bool) {
	from, to, two := strings.Cut(ref, ":")
	left, top, ok1 := cellOf(from)
	right, bottom, ok2 := cellOf(to)
	if !two || !ok1 || !ok2 || top < 0 || bottom < 0 {
		return m, false
	}
	m = mergedCell{int32(min(top, bottom)), int32(max(top, bottom)), int32(min(left, right)), int32(max(left, right))}
	return m, m.top != m.bottom || m.left != m.right
}

// mergedCells follows the merged cells down a sheet. Of two that overlap, the one that begins lower, or further down the file, is none.
type mergedCells struct {
	coming []mergedCell // by their first row
	over   []*mergedOpen
}

// mergedOpen is a merged cell with the row that is read now inside it, and its value.
type mergedOpen struct {
	mergedCell
	value string
}

func (m *mergedCells) of(all []mergedCell, columns int) {
	m.coming = slices.DeleteFunc(all, func(c mergedCell) bool { return int(c.left) >= columns })
	for i := range m.coming {
		m.coming[i].right = min(m.coming[i].right, int32(columns)-1)
	}
	slices.SortStableFunc(m.coming, func(a, b mergedCell) int { return cmp.Compare(a.top, b.top) })
}

// move goes on to a row, from 0.
func (m *mergedCells) move(row int32) {
	for i, open := range m.over {
		if open != nil && open.bottom < row {
			m.over[i] = nil
		}
	}
	for len(m.coming) > 0 && m.coming[0].top <= row {
		next := m.coming[0]
		m.coming = m.coming[1:]
		if next.bottom < row {
			continue
		}
		for len(m.over) <= int(next.right) {
			m.over = append(m.over, nil)
		}
		if slices.ContainsFunc(m.over[next.left:next.right+1], func(o *mergedOpen) bool { return o != nil }) {
			continue
		}
		open := &mergedOpen{mergedCell: next}
		for c := next.left; c <= next.right; c++ {
			m.over[c] = open
		}
	}
}

// spread puts the value of a merged cell, which the file has in its first place, into all of them. own reports whether the row has a value
// that does not come from the rows above it: one that has none is only the lower part of a tall row.
func (m *mergedCells) spread(no int, cells []string) (_ []string, own bool) {
	if len(m.coming) == 0 && len(m.over) == 0 {
		return cells, !blank(cells)
	}
	row := int32(no - 1)
	m.move(row)
	for i, open := range m.over {
		switch {
		case open == nil:
			if i < len(cells) && strings.TrimSpace(cells[i]) != "" {
				own = true
			}
			continue
		case open.top == row && int(open.left) == i:
			open.value = ""
			if i < len(cells) {
				open.value = cells[i]
			}
		}
		own = own || open.top == row && strings.TrimSpace(open.value) != ""
		for len(cells) <= i && open.value != "" {
			cells = append(cells, "")
		}
		if i < len(cells) {
			cells[i] = open.value
		}
	}
	return cells, own || len(cells) > len(m.over) && !blank(cells[len(m.over):])
}

// across says of each column of the row in which one its merged cell begins; nil where no cell is wider than a column.
func (m *mergedCells) across(columns int) []int {
	var first []int
	for i := range min(columns, len(m.over)) {
		if open := m.over[i]; open != nil && int(open.left) < i {
			for k := len(first); k < columns; k++ {
				first = append(first, k)
			}
			first[i] = int(open.left)
		}
	}
	return first
}

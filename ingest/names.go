package ingest

import (
	"slices"

	"ekc/catalog"
	"ekc/citizen"
)

// A template asks for a name as its author thinks of it, and a file has it as its sender keeps it: «ФИО» in one column or three.

// readyNames adds the titles of names that no column has, and that follow from what columns there are.
func (c *checker) readyNames() {
	h := c.header
	whole := h.has(fieldFullName)
	for _, f := range [...]field{fieldFullName, fieldFamily, fieldFirst, fieldPatronymic} {
		title := titleOf(f)
		if slices.ContainsFunc(c.titles, func(t string) bool { return catalog.Fold(t) == catalog.Fold(title) }) {
			continue
		}
		parts := f == fieldFullName && (h.has(fieldFamily) || h.has(fieldFirst) || h.has(fieldPatronymic))
		if whole || parts || h.has(f) {
			c.titles, c.names = append(c.titles, title), append(c.names, f)
		}
	}
}

// withNames is the row's cells with its names behind them, as titles has them; the slice is used again for the next row.
func (c *checker) withNames(out *checked, cells []string) []string {
	if len(c.names) == 0 {
		return cells
	}
	columns := len(c.header.columns)
	c.cells = append(c.cells[:0], cells[:min(len(cells), columns)]...)
	for len(c.cells) < columns {
		c.cells = append(c.cells, "")
	}
	p := &out.row.Content.Person
	for _, f := range c.names {
		var name citizen.Name
		switch f {
		case fieldFullName:
			name = p.FullName()
		case fieldFamily:
			name = p.Family
		case fieldFirst:
			name = p.First
		case fieldPatronymic:
			name = p.Patronymic
		}
		c.cells = append(c.cells, name.Reveal())
	}
	return c.cells
}

package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
)

// Mapping is what one agency's columns are, where their titles are not those of the contract. Its code is the agency's.
type Mapping struct {
	Head
	Title   string            `json:"title"`
	Columns map[string]string `json:"columns"` // their title → our name of a fixed column; "" = of no fixed column
}

func (*Mapping) Kind() Kind      { return KindMapping }
func (m *Mapping) Label() string { return m.Title }

// maxMapped is as many titles as an agency with many forms may have.
const maxMapped = 500

var columnPattern = regexp.MustCompile(`^([a-z][a-z0-9_]{0,31})?$`)

func (m *Mapping) validate() error {
	var c checker
	c.require(participantPattern.MatchString(m.Code) && m.Agency == m.Code, "code", "Код соответствия столбцов: код ведомства, которому оно принадлежит.")
	c.require(len(m.Columns) > 0 && len(m.Columns) <= maxMapped, "columns", "Столбцов: от 1 до 500.")
	keys := make([]string, 0, len(m.Columns))
	for title, name := range m.Columns {
		keys = append(keys, Fold(title))
		c.require(Fold(title) != "" && strings.TrimSpace(title) == title && utf8.RuneCountInString(title) <= 200, "columns", "Название столбца: от 1 до 200 знаков, среди них буква или цифра.")
		c.require(columnPattern.MatchString(name), "columns", "Имя столбца: как phone или birth_date.")
	}
	c.require(distinct(keys), "columns", "Названия столбцов не должны повторяться, в том числе с другими знаками препинания.")
	return c.err()
}

// MergeColumns is a mapping with another laid over it: of one title, however written, the later word stands.
func MergeColumns(under, over map[string]string) map[string]string {
	all := maps.Clone(under)
	if all == nil {
		all = make(map[string]string, len(over))
	}
	laid := make(map[string]bool, len(over))
	for title := range over {
		laid[Fold(title)] = true
	}
	maps.DeleteFunc(all, func(title, _ string) bool { return laid[Fold(title)] })
	maps.Copy(all, over)
	return all
}

// Mapping finds an agency's mapping in force at an instant.
func (c *Catalog) Mapping(agency string, at time.Time) (*Mapping, bool) {
	return c.mappings.at(agency, at)
}

// Mappings lists those in force, by code.
func (c *Catalog) Mappings(at time.Time) []*Mapping { return c.mappings.list(at) }

const latestMapping = `SELECT body FROM catalog_items WHERE kind = 'mapping' AND code = $1 ORDER BY version DESC LIMIT 1`

// RememberColumns lays columns over the newest version of an agency's mapping and writes the next one; nil when that would say nothing
// new. The journal entry belongs into the same transaction and is the caller's.
func RememberColumns(ctx context.Context, tx pgx.Tx, p journal.Principal, agency string, columns map[string]string) (*Mapping, error) {
	if _, err := tx.Exec(ctx, lockCatalog); err != nil {
		return nil, fmt.Errorf("lock catalogue: %w", err)
	}
	m := &Mapping{Head: Head{Code: agency, Agency: agency}, Title: "Соответствие столбцов"}
	var was Mapping
	var body []byte
	err := tx.QueryRow(ctx, latestMapping, agency).Scan(&body)
	if err == nil {
		err = json.Unmarshal(body, &was)
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("read mapping of %s: %w", agency, err)
	}
	if m.Columns = MergeColumns(was.Columns, columns); maps.Equal(m.Columns, was.Columns) {
		return nil, nil
	}
	if len(m.Columns) > maxMapped { // forms that nobody uses any more
		m.Columns = columns
	}
	return m, Put(ctx, tx, p, m)
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/journal"
)

// maxMapping is how many columns one list may explain.
const maxMapping = 200

// checkMapping brings a mapping into its one form: their titles without space around, our names.
func checkMapping(given map[string]string) (map[string]string, error) {
	if len(given) > maxMapping {
		return nil, ErrMapping
	}
	var columns map[string]string
	for _, title := range slices.Sorted(maps.Keys(given)) {
		ours := given[title]
		title = strings.TrimSpace(title)
		f := titleIndex[catalog.Fold(ours)]
		if catalog.Fold(title) == "" || utf8.RuneCountInString(title) > 200 || badCharacters(title) || citizen.HoldsPersonal(title) || f == fieldNone && strings.TrimSpace(ours) != "" {
			return nil, ErrMapping
		}
		columns = catalog.MergeColumns(columns, map[string]string{title: fieldNames[f]})
	}
	return columns, nil
}

// titlesOf are the titles by which a list's columns are told.
func titlesOf(e envelope) titles {
	t := titles{mapped: make(map[string]field, len(e.Columns)), asked: slices.Sorted(maps.Keys(e.Mapping))}
	for title, name := range e.Columns {
		t.mapped[catalog.Fold(title)] = titleIndex[catalog.Fold(name)] // a name that this release does not know is of no fixed column
	}
	return t
}

// rememberMapping keeps what a list that is ready said of its columns for the agency's next one.
func (s *Service) rememberMapping(ctx context.Context, tx pgx.Tx, l *List, e envelope) error {
	if len(e.Mapping) == 0 {
		return nil
	}
	by := journal.Principal{Account: l.LoadedBy, Agency: l.Agency}
	m, err := catalog.RememberColumns(ctx, tx, by, l.Agency, e.Mapping)
	var invalid *catalog.InvalidError
	switch {
	case errors.As(err, &invalid): // the list is right without it
		s.cfg.Log.Warn("a mapping of columns could not be remembered", "list_no", l.No, "err", err)
		return nil
	case err != nil || m == nil:
		return err
	}
	return s.append(ctx, tx, by, journal.Entry{Kind: journal.CatalogChanged, Agency: l.Agency, ListNo: l.No,
		Data: journal.Fields("kind", string(catalog.KindMapping), "code", m.Code, "version", fmt.Sprint(m.Version))})
}

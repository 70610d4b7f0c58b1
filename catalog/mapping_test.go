package catalog

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func TestMappingsAreValidated(t *testing.T) {
	t.Parallel()
	good := func() *Mapping {
		return &Mapping{Head: Head{Code: "0002.000014", Agency: "0002.000014"}, Title: "Столбцы", Columns: map[string]string{"Контакт": "phone", "Телефон": ""}}
	}
	if err := Validate(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Mapping){
		"no agency":          func(m *Mapping) { m.Agency = "" },
		"another agency":     func(m *Mapping) { m.Agency = "0002.000015" },
		"no columns":         func(m *Mapping) { m.Columns = nil },
		"a title of nothing": func(m *Mapping) { m.Columns = map[string]string{" - ": "phone"} },
		"the same twice":     func(m *Mapping) { m.Columns["контакт:"] = "snils" },
		"a name of another":  func(m *Mapping) { m.Columns["Адрес"] = "Адрес!" },
		"a long title":       func(m *Mapping) { m.Columns[strings.Repeat("ш", 201)] = "" },
	} {
		m := good()
		change(m)
		var invalid *InvalidError
		if err := Validate(m); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestColumnsAreRememberedInVersions(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	const agency = "0002.000014"
	remember := func(columns map[string]string) (m *Mapping) {
		t.Helper()
		err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) (err error) {
			m, err = RememberColumns(t.Context(), tx, journal.Principal{Account: "loader"}, agency, columns)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := remember(map[string]string{"Контакт": "phone", "Кому": "full_name"}); m == nil || m.Version != 1 || m.CreatedBy != "loader" {
		t.Fatalf("%+v", m)
	}
	if m := remember(map[string]string{"Кому": "full_name"}); m != nil {
		t.Errorf("what is known already makes version %d", m.Version)
	}
	if m := remember(map[string]string{"КОМУ.": ""}); m == nil || m.Version != 2 || !maps.Equal(m.Columns, map[string]string{"Контакт": "phone", "КОМУ.": ""}) {
		t.Errorf("%+v", m)
	}
	c, err := Load(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := c.Mapping(agency, day("2026-12-01")); !ok || m.Version != 2 || len(c.Mappings(day("2026-12-01"))) != 1 {
		t.Errorf("%+v", m)
	}
	if _, ok := c.Mapping("0002.000015", day("2026-12-01")); ok {
		t.Error("another agency has it, too")
	}
}

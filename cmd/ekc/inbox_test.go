package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// TestAListPutIntoItsFolderIsToldAndGivenBack plays the folder of a source that starts by itself, through the whole hub.
func TestAListPutIntoItsFolderIsToldAndGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, postgrestest.NewURL(t))
	w.start(slog.New(slog.DiscardHandler))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: w.config.Database.URL.Reveal(), Name: "test", MaxConns: 2})
	must(t, err)
	t.Cleanup(db.Close)
	source := &catalog.Source{Head: catalog.Head{Code: "penza"}, Title: "Папка Пензы", Door: catalog.DoorFolder, Agencies: []string{"B202.000001"}, Statuses: "all",
		Channels: []string{"sms"}, OrderedBy: "Приказ № 1", LegalBasis: &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление № 1994", Date: "2020-12-03"},
		AutoApproval: &catalog.Approval{Document: "Приказ № 2", Date: "2026-01-01", By: "начальник отдела"}}
	must(t, postgres.InTx(t.Context(), db, func(tx pgx.Tx) error { return catalog.Put(t.Context(), tx, journal.System("test"), source) }))
	folder := filepath.Join(w.config.StateDir, "inbox", "penza")
	await(t, "the folder is there", func() bool { _, err := os.Stat(folder); return err == nil })
	must(t, os.WriteFile(filepath.Join(folder, "список.csv"), []byte("Телефон;Код события;Текст\n+79030004242;OP-04;Минсоцзащиты Пензы: выплата назначена.\n"), 0o600))
	await(t, "the person is told", func() bool { return w.smsc.MessagesTo("79030004242") == 1 })
	await(t, "its protocol is there, and the file gone", func() bool {
		back, err := filepath.Glob(filepath.Join(folder, "taken", "*"))
		way, err2 := filepath.Glob(filepath.Join(folder, ".taking", "*"))
		return err == nil && len(back) == 1 && err2 == nil && len(way) == 0
	})
	if n := w.smsc.Stats().Messages; n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ekc/fixtures"
	"ekc/postgres"
)

// exempt is what may stand in the clear: texts of the catalogue, agencies' numbers, and staff, none of which is a citizen's. The
// canaries are citizens, so nothing of theirs is exempt.

// haystack is something that must not hold a canary.
type haystack struct {
	name string
	text []byte
}

// TestDemoEndsAsTheSamplesSayAndNobodyIsFoundInTheClear plays the whole demo, and then looks for the canaries' phone, СНИЛС, name, birth
// date and text, in clear, base64, hex, escapes and UTF-16, in everything that the hub left: the database as a dump and as files with its
// WAL and log, the hub's log, metrics, answers of the API, state and temporary files.
func TestDemoEndsAsTheSamplesSayAndNobodyIsFoundInTheClear(t *testing.T) {
	t.Parallel()
	manifest, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var hay []haystack
	err = runDemo(t.Context(), demoOptions{once: true, addr: "127.0.0.1:0", inspect: func(d *demo, p *people) error {
		hay, err = gather(t.Context(), d, p)
		return err
	}}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"Каждая строка закончилась так", "Журнал цел", "Что записали сами центры СМС"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say: %s", want)
		}
	}
	hay = append(hay, haystack{"what the demo prints", out.Bytes()})
	if len(hay) < 10 {
		t.Fatalf("only %d places were searched", len(hay))
	}
	for i, canary := range manifest.Canaries {
		for what, spellings := range canary.Spellings() {
			for _, spelling := range spellings {
				for form, needle := range fixtures.Needles(spelling) {
					for _, h := range hay {
						if bytes.Contains(h.text, needle) {
							t.Errorf("%s: the %s of canary %d, in form %d", h.name, what, i+1, form)
						}
					}
				}
			}
		}
	}
}

// TestTheSearchForCanariesFindsThem keeps the test above honest: in the list as its agency sent it they are all found.
func TestTheSearchForCanariesFindsThem(t *testing.T) {
	t.Parallel()
	manifest, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range manifest.Samples {
		if sample.File != "canaries.csv" {
			continue
		}
		text, err := sample.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for i, canary := range manifest.Canaries {
			for what, spellings := range canary.Spellings() {
				found := false
				for _, s := range spellings {
					found = found || bytes.Contains(text, fixtures.Needles(s)[0])
				}
				if !found {
					t.Errorf("the %s of canary %d is not found where it is", what, i+1)
				}
			}
		}
	}
}

func gather(ctx context.Context, d *demo, p *people) ([]haystack, error) {
	hay, err := dumpTables(ctx, d.server.URL())
	if err != nil {
		return nil, err
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/openapi.json"} {
		resp, err := http.Get(d.url + path)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		hay = append(hay, haystack{path, text})
	}
	for agency, c := range p.loader {
		var lists struct{ Items []struct{ ID string } }
		if err := c.call(ctx, http.MethodGet, "/v1/lists", nil, &lists); err != nil {
			return nil, err
		}
		for _, l := range lists.Items {
			for _, path := range []string{"/v1/lists/" + l.ID, "/v1/lists/" + l.ID + "/protocol", "/v1/notifications?list_id=" + l.ID, "/v1/history?list_id=" + l.ID} {
				var text rawBody
				if err := c.call(ctx, http.MethodGet, path, nil, &text); err != nil {
					return nil, err
				}
				hay = append(hay, haystack{agency + " " + path, text})
			}
		}
	}
	// Everything of the demo lies in its folder: PostgreSQL's files, WAL and log, the hub's log and state.
	err = filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // PostgreSQL removes files of its own meanwhile
		}
		if text, err := os.ReadFile(path); err == nil {
			hay = append(hay, haystack{strings.TrimPrefix(path, d.dir), text})
		}
		return nil
	})
	return hay, err
}

type rawBody []byte

func (b *rawBody) UnmarshalJSON(text []byte) error { *b = append((*b)[:0], text...); return nil }

func dumpTables(ctx context.Context, url string) ([]haystack, error) {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query(ctx, `SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var hay []haystack
	for _, table := range tables {
		rows, err := db.Query(ctx, fmt.Sprintf(`SELECT t::text FROM %s t`, table))
		if err != nil {
			return nil, err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		hay = append(hay, haystack{"table " + table, []byte(strings.Join(lines, "\n"))})
	}
	return hay, nil
}

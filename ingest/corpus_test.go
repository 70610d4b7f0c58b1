package ingest

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/fixtures"
	"ekc/fixtures/corpus"
)

const corpusSeed = 20261124

// corpusFiles are made once for all tests: some of them take a second.
var corpusFiles = sync.OnceValues(func() ([]corpus.File, error) { return corpus.Files(corpusSeed) })

func expectations(t testing.TB) map[string]corpus.Expected {
	t.Helper()
	all, err := corpus.Read()
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string]corpus.Expected)
	for _, e := range all {
		of[e.File] = e
	}
	return of
}

// dryService checks files without a database. The table of strings gets less room than it has in life, so that a bomb of it may be small.
func dryService(t testing.TB) *Service {
	t.Helper()
	items, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Catalog: func() *catalog.Catalog { return items }, Routes: smsRoutes, Now: func() time.Time { return noon },
		Limits: Limits{StringBytes: 32 << 20}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// dry checks a file without a database, and so without an estimate.
func dry(t testing.TB, s *Service, h Header, file []byte) (DryRun, error) {
	t.Helper()
	run, _, _, err := s.dryRun(t.Context(), loader, h, KindFile, "", file)
	return run, err
}

// said is what our reader and rules say of a file, in the form of the manifest.
func said(t testing.TB, s *Service, f corpus.File) corpus.Expected {
	t.Helper()
	got := corpus.Expected{File: f.Name}
	run, err := dry(t, s, listHeader(), f.Bytes)
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		got.Fault = fault.Code
		return got
	case err != nil:
		t.Fatalf("%v", err)
	case run.Fault != nil:
		got.Fault = run.Fault.Code
	}
	p := run.Protocol
	got.Rows, got.Taken = p.RecordNum, p.RecordNumSuccess
	for _, r := range p.ErrorRecords {
		if got.Codes == nil {
			got.Codes = map[string][]int{}
		}
		for _, m := range r.Messages {
			got.Codes[strconv.Itoa(r.Row)] = append(got.Codes[strconv.Itoa(r.Row)], int(m.RuleCode))
		}
	}
	for _, n := range p.Notes {
		got.Notes = append(got.Notes, n.Code)
	}
	return got
}

func TestCorpusGetsTheVerdictsOfItsManifest(t *testing.T) {
	t.Parallel()
	files, err := corpusFiles()
	if err != nil {
		t.Fatal(err)
	}
	want := expectations(t)
	if len(files) < 60 || len(want) != len(files) {
		t.Errorf("%d files, %d in the manifest", len(files), len(want))
	}
	s := dryService(t)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			w, ok := want[f.Name]
			if !ok {
				t.Fatal("not in the manifest")
			}
			got := said(t, s, f)
			if got.Fault != w.Fault || got.Rows != w.Rows || got.Taken != w.Taken || !slices.Equal(got.Notes, w.Notes) ||
				!maps.EqualFunc(got.Codes, w.Codes, func(a, b []int) bool { return slices.Equal(a, b) }) {
				t.Errorf("got  %+v\nwant %+v", got, w)
			}
			if w.Fault == "" {
				peopleAreRight(t, f)
			}
		})
	}
}

// peopleAreRight holds what was read against the people that the file was made of.
func peopleAreRight(t *testing.T, f corpus.File) {
	t.Helper()
	k, rows := checkerOf(t, f)
	found := 0
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want, ok := f.People[row.No]
		if !ok {
			continue
		}
		found++
		got := k.check(row).row.Content
		if len(got.Phones) == 0 || got.Phones[0].E164() != want.Phone {
			t.Errorf("row %d: another phone", row.No)
		}
		if !k.header.has(fieldSNILS) {
			continue
		}
		if got.Person.SNILS.Grouped() != want.SNILS {
			t.Errorf("row %d: another СНИЛС", row.No)
		}
		if k.header.has(fieldBirthDate) && got.Person.BirthDate != birthDate(t, want) {
			t.Errorf("row %d: another date of birth", row.No)
		}
		if family := got.Person.Family.Reveal(); f.Name != "odd-names.xlsx" && !strings.EqualFold(family, want.Family) && k.header.value(row.Cells, fieldFullName)+k.header.value(row.Cells, fieldFamily) != "" {
			t.Errorf("row %d: another name", row.No)
		}
	}
	if found != len(f.People) {
		t.Errorf("%d of %d people were read", found, len(f.People))
	}
}

func birthDate(t *testing.T, p fixtures.Person) citizen.BirthDate {
	t.Helper()
	d, err := citizen.ParseDate(p.BirthDate)
	if err != nil {
		t.Fatal(err)
	}
	return citizen.BirthDate(d)
}

// checkerOf opens a file at its first row.
func checkerOf(t testing.TB, f corpus.File) (*checker, rowReader) {
	t.Helper()
	r, err := openRows(bytes.NewReader(f.Bytes), int64(len(f.Bytes)), testLimits, titles{})
	if err != nil {
		t.Fatal(err)
	}
	h, rows, err := readHeader(r, titles{})
	if err != nil {
		t.Fatal(err)
	}
	return testChecker(t, "Телефон", func(k *checker) { k.header = h }), rows
}

// Whatever a file wants, it gets little memory, little time and nothing on the disk.
func TestHostileFilesCostLittle(t *testing.T) {
	files, err := corpusFiles()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	s := dryService(t)
	for _, f := range files {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		said(t, s, f)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		// All that is allocated, held or not. The dry run holds the file itself, twice while it grows.
		most := uint64(len(f.Bytes))*6 + 48<<20
		switch f.Name {
		case "million-empty-rows.xlsx", "cp1251-late.csv":
			most += 64 << 20 // a million rows read, a few bytes each
		case "bomb-strings.xlsx", "bomb-merges.xlsx":
			most += 160 << 20 // these may become as large as their limit, by doubling
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > most && raceDetector {
			t.Logf("%s: %d MiB allocated under the race detector, not judged", f.Name, got>>20)
		} else if got > most {
			t.Errorf("%s: %d MiB allocated, %d allowed", f.Name, got>>20, most>>20)
		}
		if took > 20*time.Second {
			t.Errorf("%s: %s", f.Name, took)
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the temporary folder: %v %v", left, err)
	}
}

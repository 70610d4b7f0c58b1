package ingest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/fixtures"
	"ekc/journal"
	"ekc/smpp/smpptest"
)

var update = flag.Bool("update", false, "write golden files anew")

// Every row of every sample gets the verdict that the manifest gives it, and its number asks of the simulator what the manifest says.
func TestSamplesGetTheVerdictsOfTheManifest(t *testing.T) {
	t.Parallel()
	m, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Samples {
		s := &m.Samples[i]
		t.Run(s.File, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			file, err := s.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			p := journal.Principal{Account: "loader", Agency: s.Agency, Roles: []journal.Role{journal.RoleListLoader}}
			ref, err := h.Submit(t.Context(), p, listHeader(func(x *Header) {
				x.LifeEvent, x.Template = s.LifeEvent, s.Template
				x.LegalBasis = &catalog.LegalBasis{Code: cmp.Or(s.Basis, basis.Code), Document: basis.Document, Date: basis.Date}
			}), bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			h.checkAll()
			l, err := h.Get(t.Context(), p, ref.ID)
			if err != nil || string(l.State) != s.State {
				t.Fatalf("%+v %v", l, err)
			}
			proto, err := h.Protocol(t.Context(), p, ref.ID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			said := make(map[int][]int)
			for _, r := range proto.ErrorRecords {
				for _, m := range r.Messages {
					said[r.Row] = append(said[r.Row], int(m.RuleCode))
				}
			}
			taken := 0
			for _, r := range s.Rows {
				if !slices.Equal(said[r.Row], r.Codes) {
					t.Errorf("row %d: got %v, want %v", r.Row, said[r.Row], r.Codes)
				}
				if r.Taken {
					taken++
				}
				if !r.Taken || !s.Approve {
					continue
				}
				if n := h.number(`SELECT count(*) FROM notifications WHERE row_no = $1`, r.Row); n != 1 {
					t.Errorf("row %d: %d notifications", r.Row, n)
				}
			}
			if l.Rows != len(s.Rows) || l.Accepted != taken {
				t.Errorf("%d of %d rows are taken, want %d of %d", l.Accepted, l.Rows, taken, len(s.Rows))
			}
			numbersAskFor(t, s, file)
			if s.File == "faults.csv" {
				golden(t, "protocol.golden.json", maskIDs(t, proto))
			}
		})
	}
}

// numbersAskFor holds the phones of a sample against the simulator's table.
func numbersAskFor(t *testing.T, s *fixtures.Sample, file []byte) {
	t.Helper()
	rows, err := openRows(bytes.NewReader(file), int64(len(file)), testLimits, titles{})
	if err != nil {
		t.Fatal(err)
	}
	head, rows, err := readHeader(rows, titles{})
	if err != nil {
		return
	}
	expected := make(map[int]fixtures.Row)
	for _, r := range s.Rows {
		expected[r.Row] = r
	}
	for {
		row, err := rows.Next()
		if err != nil {
			return
		}
		phone, err := citizen.ParsePhone(head.value(row.Cells, fieldPhone))
		if r := expected[row.No]; err == nil && r.Taken && int(smpptest.CodeOf(phone.Digits())) != r.SMSC {
			t.Errorf("row %d asks for %d, the manifest says %d", row.No, smpptest.CodeOf(phone.Digits()), r.SMSC)
		}
	}
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

func maskIDs(t *testing.T, p Protocol) []byte {
	t.Helper()
	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(uuids.ReplaceAll(b, []byte("00000000-0000-0000-0000-000000000000")), '\n')
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs from what is said now (run with -update and look at the difference): %v", path, err)
	}
}

func TestGeneratedListsAreGood(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	var file bytes.Buffer
	if err := fixtures.CSV(&file, 2000, 1); err != nil {
		t.Fatal(err)
	}
	l := h.load(listHeader(), file.String())
	if l.State != Ready || l.Accepted != 2000 || l.Warnings != 0 {
		t.Fatalf("%+v %+v", l, h.protocol(l).ErrorRecords)
	}
	if n := h.number(`SELECT count(DISTINCT zones) FROM runs`); n < 10 {
		t.Errorf("%d zones", n)
	}
}

func TestSampleTerritoriesAreOfElevenOffsets(t *testing.T) {
	t.Parallel()
	m, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	offsets := map[string]bool{}
	file, err := m.Samples[0].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRows(bytes.NewReader(file), int64(len(file)), testLimits, titles{})
	if err != nil {
		t.Fatal(err)
	}
	h, r, err := readHeader(r, titles{})
	for err == nil {
		var row sheetRow
		if row, err = r.Next(); err != nil {
			break
		}
		for _, l := range citizen.TerritoryZones(h.value(row.Cells, fieldOKTMO)).Locations() {
			offsets[noon.In(l).Format("-07")] = true
		}
	}
	if len(offsets) != 11 {
		t.Errorf("%d offsets: %s", len(offsets), fmt.Sprint(offsets))
	}
}

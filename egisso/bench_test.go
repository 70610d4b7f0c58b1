package egisso

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bytedance/sonic"

	"ekc/fixtures"
	"ekc/ingest"
)

// fullPart is a message of 1,000 rows such as agencies send.
func fullPart(b *testing.B) []byte {
	var rows []string
	for p := range fixtures.Persons(8785) {
		row, err := json.Marshal(ingest.InputRow{ExternalID: fmt.Sprintf("дело-%d", len(rows)), Phone: p.Phone, SNILS: strings.NewReplacer("-", "", " ", "").Replace(p.SNILS),
			FamilyName: p.Family, FirstName: p.First, Patronymic: p.Patronymic, BirthDate: p.BirthDate, OKTMO: p.OKTMO, Template: "S-32", Data: map[string]string{"date": "2026-12-01"}})
		if err != nil {
			b.Fatal(err)
		}
		if rows = append(rows, string(row)); len(rows) == MaxRows {
			break
		}
	}
	return onePart("", strings.Join(rows, ","))
}

// BenchmarkParse is a whole part with all its checks and both digests, beside decoders that only fill the structs: encoding/json lets a
// name come twice and repairs UTF-8, and so does sonic.ConfigStd. None of them gives the tree that the digests are made of, so that whoever used
// them would read the message twice.
func BenchmarkParse(b *testing.B) {
	value := fullPart(b)
	type message struct {
		SpecVersion, ID, Source, Type, Time, DataContentType string
		Data                                                 struct {
			ListID      string `json:"list_id"`
			Part, Parts int
			Rows        []ingest.InputRow
		}
	}
	for _, c := range []struct {
		name string
		read func() error
	}{
		{"Parse", func() error { _, err := Parse(nil, value, testNow); return err }},
		{"tree", func() error {
			if _, fault := readJSON(value); fault != nil {
				return fault
			}
			return nil
		}},
		{"encoding/json", func() error {
			dec := json.NewDecoder(bytes.NewReader(value))
			dec.DisallowUnknownFields()
			return dec.Decode(new(message))
		}},
		{"sonic.ConfigStd", func() error { return sonic.ConfigStd.Unmarshal(value, new(message)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

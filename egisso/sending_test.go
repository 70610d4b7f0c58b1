package egisso

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/ingest"
)

func sending() *Sending {
	return &Sending{Topic: "t", Source: "0001.000001", ListID: uuid.MustParse(listID), Now: testNow, Header: ingest.Header{Name: "Список", LifeEvent: "OP-04",
		LegalBasis: &catalog.LegalBasis{Code: "x", Document: "y", Date: "2020-12-03"}, OrderedBy: "письмо 12", Channels: []string{"sms"}}}
}

func numbered(n int, text string) RowSource {
	return func(take func(ingest.InputRow) error) error {
		for i := range n {
			if err := take(ingest.InputRow{ExternalID: fmt.Sprint("r-", i), Phone: "9030000001", Text: text, Data: map[string]string{"№": fmt.Sprint(i)}}); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestAListIsCutIntoPartsThatAreTakenAndLintedWell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		rows, most  int
		text        string
		parts, last int // rows of the last
	}{
		{"one row", 1, 0, "x", 1, 1}, {"exactly a part", 1000, 0, "x", 1, 1000}, {"one more", 1001, 0, "x", 2, 1}, {"parts of 10", 25, 10, "x", 3, 5},
		{"long texts", 1000, 0, strings.Repeat("й", 3000), 7, 100},
	} {
		s := sending()
		s.Rows = c.most
		l := &Linter{Now: testNow}
		parts, rows, last := 0, 0, 0
		err := s.Each(numbered(c.rows, c.text), func(r Record) error {
			m, faults := l.Add(r.Headers, r.Value)
			if len(faults) > 0 {
				t.Fatalf("%s: %+v", c.name, faults[0])
			}
			parts++
			last = len(m.Part.Rows)
			rows += last
			if string(r.Key) != listID || m.Part.Part != parts || m.Part.Parts != c.parts || m.Part.Header.OrderedBy != "письмо 12" || len(r.Value) > MaxMessage {
				t.Errorf("%s: %v, %d bytes", c.name, m.Part, len(r.Value))
			}
			return nil
		})
		if missing, _ := l.Missing(); err != nil || parts != c.parts || rows != c.rows || c.last != last && c.name != "long texts" || missing != nil {
			t.Errorf("%s: %d parts, %d rows, the last %d: %v", c.name, parts, rows, last, err)
		}
	}
}

func TestNothingOfAListIsSentIfTheFeedWouldRefuseAPartOfIt(t *testing.T) {
	t.Parallel()
	never := func(Record) error { t.Error("sent"); return nil }
	rows := func(ids ...string) RowSource {
		return func(take func(ingest.InputRow) error) error {
			for _, id := range ids {
				if err := take(ingest.InputRow{ExternalID: id}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	s := sending()
	s.Rows = 2
	var p *Problem
	if err := s.Each(rows("a", "b", "c", "89031234567"), never); !errors.As(err, &p) || p.Code != CodeIDPersonal || p.Row != 1002 {
		t.Errorf("%+v", err)
	}
	if err := s.Each(rows("a", "b", "a"), never); !errors.As(err, &p) || p.Code != CodeIDTwice || p.Row != 1001 {
		t.Errorf("%+v", err)
	}
	if err := s.Each(rows(), never); !errors.Is(err, ErrNoRows) {
		t.Error(err)
	}
	s.Source = "СФР"
	if err := s.Each(rows("a"), never); !errors.As(err, &p) || p.Code != CodeSource {
		t.Error(err)
	}
	s = sending()
	stop := errors.New("stop")
	if err := s.Each(rows("a"), func(Record) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestLinterSeesWhatIsWrongBetweenMessages(t *testing.T) {
	t.Parallel()
	part := func(no, of int, name, id string) []byte {
		return structured(TypePart, fmt.Sprintf(`{"list_id":%q,"part":%d,"parts":%d,"name":%q,"rows":[{"external_id":%q}]}`, listID, no, of, name, id))
	}
	l := &Linter{Now: testNow}
	for _, c := range []struct {
		value []byte
		code  string
	}{
		{part(1, 4, "а", "1"), ""}, {part(1, 4, "а", "1"), ""}, {part(1, 4, "а", "2"), CodePartDiffers}, {part(2, 4, "б", "2"), CodeHeaderDiffers},
		{part(2, 5, "а", "2"), CodeHeaderDiffers}, {part(2, 4, "а", "1"), CodeIDTwice}, {part(3, 4, "а", "3"), ""}, {[]byte("{"), CodeNotJSON},
	} {
		_, faults := l.Add(nil, c.value)
		if (c.code == "") != (len(faults) == 0) || c.code != "" && faults[0].Code != c.code {
			t.Errorf("%s: %+v", c.value, faults)
		}
	}
	if lists, parts := l.Missing(); len(lists) != 1 || parts[0] != 1 {
		t.Errorf("%v, %v", lists, parts)
	}
	l = &Linter{Now: testNow, Events: true}
	if _, faults := l.Add(nil, part(1, 2, "а", "1")); len(faults) != 1 || faults[0].Code != CodeNotEvent {
		t.Errorf("%+v", faults)
	}
}

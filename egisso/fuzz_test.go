package egisso

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"

	"ekc/fixtures"
)

// seeds are the golden messages.
func seeds(f *testing.F, xml bool) {
	feed, err := fixtures.ReadFeed()
	if err != nil {
		f.Fatal(err)
	}
	for _, scene := range feed.Scenes {
		for i := range scene.Messages {
			b, err := scene.Messages[i].Bytes()
			if err != nil {
				f.Fatal(err)
			}
			if m := &scene.Messages[i]; xml == (m.EKCType != "") {
				f.Add(b)
			}
		}
	}
}

// holds says that a message is either whole or refused with a problem that can be told.
func holds(t *testing.T, m *Message, err error) {
	t.Helper()
	var p *Problem
	if (m == nil) == (err == nil) || err != nil && !errors.As(err, &p) {
		t.Fatalf("%v, %v", m, err)
	}
	if p != nil {
		for _, one := range append([]*Problem{p}, p.Others...) {
			if one.Code == "" || one.Detail == "" || !utf8.ValidString(one.Detail) {
				t.Fatalf("%+v", one)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds(f, false)
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := Parse(nil, value, testNow)
		holds(t, m, err)
		if err != nil {
			return
		}
		if !json.Valid(value) {
			t.Fatal("what is no JSON is taken")
		}
		p := m.Part
		if p == nil {
			return
		}
		if p.Part < 1 || p.Part > p.Parts || len(p.Rows) < 1 || len(p.Rows) > MaxRows {
			t.Fatalf("%+v", p)
		}
		for i := range p.Rows {
			if id := p.Rows[i].ExternalID; id == "" || utf8.RuneCountInString(id) > maxID {
				t.Fatalf("%q", id)
			}
		}
		// What was taken is taken once more as we write it.
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > MaxMessage/2 {
			return
		}
		if _, err := Parse(nil, structured(TypePart, string(again)), testNow); err != nil {
			t.Fatalf("%s: %+v", again, err)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":[1.50,0,1e21,"\u00e9\ud83d\ude00"],"a":null}`, `"\u2028"`, `[1e-7,123456789012345]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		one, err := Canonical(text)
		if err != nil {
			return
		}
		var said, says any
		if json.Unmarshal(text, &said) != nil || json.Unmarshal(one, &says) != nil {
			t.Fatalf("%q is no JSON, or %q", text, one)
		}
		// -0 becomes 0, which compare as equal.
		if !reflect.DeepEqual(said, says) {
			t.Fatalf("%s says %s", text, one)
		}
		if two, err := Canonical(one); err != nil || string(one) != string(two) {
			t.Fatalf("%s becomes %s: %v", one, two, err)
		}
	})
}

// fuzzXML reads whatever comes as one type of message.
func fuzzXML(f *testing.F, kind string) {
	seeds(f, true)
	headers := []Header{{"content-type", []byte("application/xml")}, {"ekc_type", []byte(kind)}}
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := Parse(headers, value, testNow)
		holds(t, m, err)
		if err == nil && m.Part != nil {
			for _, p := range append(m.Also, m.Part) {
				if len(p.Rows) == 0 || len(p.Rows) > MaxRows {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}

func FuzzLifeEvent(f *testing.F) { fuzzXML(f, TypeLifeEvent) }
func FuzzFacts(f *testing.F)     { fuzzXML(f, TypeFacts) }
func FuzzDeaths(f *testing.F)    { fuzzXML(f, TypeDeaths) }

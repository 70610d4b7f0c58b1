package egisso

import (
	"errors"
	"testing"

	"ekc/fixtures"
)

// eachGolden runs over the golden messages, with what the contract makes of each.
func eachGolden(t *testing.T, look func(t *testing.T, scene string, f *fixtures.FeedMessage, value []byte, m *Message, err error)) {
	t.Helper()
	feed, err := fixtures.ReadFeed()
	if err != nil {
		t.Fatal(err)
	}
	for _, scene := range feed.Scenes {
		for i := range scene.Messages {
			f := &scene.Messages[i]
			value, err := f.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			headers := []Header{{"content-type", []byte(f.ContentType())}}
			if f.EKCType != "" {
				headers = append(headers, Header{"ekc_type", []byte(f.EKCType)})
			}
			m, err := Parse(headers, value, testNow)
			if err == nil && m.Part != nil && f.Topic == "egisso.notification-events.v1" {
				err = m.Part.CheckEvent()
			}
			look(t, scene.Name, f, value, m, err)
		}
	}
}

func TestGoldenMessagesHaveTheirFates(t *testing.T) {
	t.Parallel()
	before := make(map[string]*Part) // what was taken, by scene
	eachGolden(t, func(t *testing.T, scene string, f *fixtures.FeedMessage, _ []byte, m *Message, err error) {
		var p *Problem
		if f.Code != "" {
			if !errors.As(err, &p) || p.Code != f.Code {
				t.Errorf("%s: %v, want %s", f.File, err, f.Code)
			}
			return
		}
		if err != nil {
			errors.As(err, &p)
			t.Errorf("%s: %v: %+v", f.File, err, p)
			return
		}
		rows, recalls := 0, 0
		if m.Part != nil {
			rows = len(m.Part.Rows)
		}
		for _, c := range m.Recalls {
			recalls += len(c.ExternalIDs)
		}
		if rows != f.Rows || recalls != f.Recalls || len(m.Deaths) != f.Deaths {
			t.Errorf("%s: %d rows, %d recalls, %d deaths", f.File, rows, recalls, len(m.Deaths))
		}
		if m.Part == nil {
			return
		}
		first := before[scene]
		switch {
		case first == nil:
			before[scene] = m.Part
		case f.Fate == "repeat" && (m.Part.ListID != first.ListID || m.Part.Digest != first.Digest || m.Part.HeaderDigest != first.HeaderDigest):
			t.Errorf("%s is no repeat", f.File)
		case f.Fate == "rejected" && (m.Part.ListID != first.ListID || m.Part.Digest == first.Digest):
			t.Errorf("%s is no other content", f.File)
		case scene == "a header that changes between parts" && m.Part.HeaderDigest == first.HeaderDigest:
			t.Errorf("%s has the same header", f.File)
		case f.Fate == "taken" && m.Part.HeaderDigest != first.HeaderDigest:
			t.Errorf("%s has another header", f.File)
		}
	})
	if len(before) < 10 {
		t.Errorf("only %d scenes", len(before))
	}
}

package egisso

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// made makes values for a schema, as it allows them; what schemas cannot say is left to the caller.
type made struct {
	r *rand.Rand
	n int // makes external ids unlike
}

func (g *made) value(s map[string]any) any {
	if enum, ok := s["enum"].([]any); ok {
		return enum[g.r.IntN(len(enum))]
	}
	kinds, ok := s["type"].([]any)
	if !ok {
		kinds = []any{s["type"]}
	}
	switch kinds[g.r.IntN(len(kinds))] {
	case "null":
		return nil
	case "boolean":
		return g.r.IntN(2) == 0
	case "number":
		return float64(g.r.IntN(1_000_000)) / 100
	case "integer":
		return 1 + g.r.IntN(int(s["maximum"].(float64)))
	case "array":
		items := []any{}
		least, _ := s["minItems"].(float64)
		for range int(least) + g.r.IntN(3) {
			items = append(items, g.value(dig(s, "items")))
		}
		if s["uniqueItems"] == true {
			items = slices.CompactFunc(items, func(a, b any) bool { return a == b })
			items = items[:min(len(items), 2)]
			if len(items) == 2 && items[0] == items[1] {
				items = items[:1]
			}
		}
		return items
	case "object":
		return g.object(s)
	}
	g.n++
	_, day := s["anyOf"]
	switch {
	case s["format"] == "uuid":
		return uuid.NewString()
	case s["format"] == "date":
		return "2026-02-03"
	case s["format"] == "date-time":
		return "2026-02-03T04:05:06.789+03:00"
	case day:
		return []string{"2027-02-03", "2027-02-03T04:05:06Z"}[g.r.IntN(2)]
	}
	most := int(s["maxLength"].(float64))
	alphabet := []rune("аЯё\"\\/ z\u2028😀")
	text := []rune(fmt.Sprintf("r%d-", g.n))
	for len(text) < min(most, 8+g.r.IntN(most)) {
		text = append(text, alphabet[g.r.IntN(len(alphabet))])
	}
	text[len(text)-1] = 'x' // no space
	return string(text)
}

func (g *made) object(s map[string]any) map[string]any {
	o := make(map[string]any)
	required := names(s, "required")
	for _, name := range names(s, "properties") {
		if slices.Contains(required, name) || g.r.IntN(3) > 0 {
			o[name] = g.value(dig(s, "properties", name))
		}
	}
	if more, ok := s["additionalProperties"].(map[string]any); ok {
		for range g.r.IntN(4) {
			g.n++
			o[fmt.Sprintf("имя %d", g.n)] = g.value(more)
		}
	}
	return o
}

// part is a part that keeps the contract.
func (g *made) part(s map[string]any) map[string]any {
	p := g.object(s)
	p["parts"] = max(p["part"].(int), p["parts"].(int))
	for _, row := range p["rows"].([]any) {
		row := row.(map[string]any)
		if phones, _ := row["phones"].([]any); len(phones) == maxPhone {
			delete(row, "phone")
		}
	}
	return p
}

func TestWhatTheSchemaAllowsIsTakenAndComesBack(t *testing.T) {
	t.Parallel()
	validators, schema := compiled(t), schemaOf(t, TypePart)
	g := &made{r: rand.New(rand.NewPCG(8785, 1))}
	for range 300 {
		data := g.part(schema)
		b, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		value := structured(TypePart, string(b))
		if err := validateEvent(validators, value); err != nil {
			t.Fatalf("made %s: %v", b, err)
		}
		m, err := Parse(nil, value, testNow)
		if err != nil {
			t.Fatalf("%s: %+v", b, err)
		}
		again, err := json.Marshal(m.Part)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(nil, structured(TypePart, string(again)), testNow)
		if err != nil || fmt.Sprintf("%+v", back.Part.Rows) != fmt.Sprintf("%+v", m.Part.Rows) || !reflect.DeepEqual(back.Part.Header, m.Part.Header) {
			t.Fatalf("%s\ncame back as %s: %+v", b, again, err)
		}
		if err := validateEvent(validators, structured(TypePart, string(again))); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	}
}

func TestWhatTheSchemaForbidsIsRefused(t *testing.T) {
	t.Parallel()
	validators, schema := compiled(t), schemaOf(t, TypePart)
	g := &made{r: rand.New(rand.NewPCG(8785, 2))}
	// spoil changes one field of an object in a way that its schema forbids.
	spoil := func(o, s map[string]any) string {
		fields := names(s, "properties")
		name := fields[g.r.IntN(len(fields))]
		f := dig(s, "properties", name)
		switch g.r.IntN(4) {
		case 0:
			o["spoiled_"+name] = 1
		case 1:
			o[name] = []any{[]any{}} // no field is so
		case 2:
			if most, ok := f["maxLength"].(float64); ok {
				o[name] = strings.Repeat("й", int(most)+1)
				return name + " too long"
			}
			o[name] = true
			if name == "data" || name == "ext" {
				o[name] = "word"
			}
		case 3:
			if required := names(s, "required"); len(required) > 0 {
				name = required[g.r.IntN(len(required))]
				delete(o, name)
				return name + " left out"
			}
			o["x"] = nil
		}
		return name
	}
	for range 500 {
		data := g.part(schema)
		var what string
		if g.r.IntN(2) == 0 {
			what = spoil(data, schema)
		} else {
			rows := data["rows"].([]any)
			what = "row: " + spoil(rows[g.r.IntN(len(rows))].(map[string]any), dig(schema, "properties", "rows", "items"))
		}
		b, _ := json.Marshal(data)
		value := structured(TypePart, string(b))
		invalid := validateEvent(validators, value)
		_, err := Parse(nil, value, testNow)
		var p *Problem
		if invalid == nil || !errors.As(err, &p) {
			t.Errorf("%s: schema: %v, code: %v\n%s", what, invalid, err, b)
		}
	}
}

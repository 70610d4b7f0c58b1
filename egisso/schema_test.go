package egisso

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"ekc/catalog"
	"ekc/fixtures"
	"ekc/ingest"
)

// compiled are all schemas, with their formats asserted.
func compiled(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out := make(map[string]*jsonschema.Schema)
	for _, name := range SchemaNames() {
		b, ok := Schema(name)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if !ok || err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
		if out[name], err = c.Compile(name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return out
}

func schemaOf(t *testing.T, name string) map[string]any {
	t.Helper()
	b, ok := Schema(name)
	var v map[string]any
	if err := json.Unmarshal(b, &v); !ok || err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// dig follows names down a schema.
func dig(v any, path ...string) map[string]any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	m, _ := v.(map[string]any)
	return m
}

func names(v map[string]any, key string) []string {
	var out []string
	switch list := v[key].(type) {
	case []any:
		for _, n := range list {
			if name, ok := n.(string); ok { // null is a value, no name
				out = append(out, name)
			}
		}
	case map[string]any:
		out = slices.Collect(maps.Keys(list))
	}
	slices.Sort(out)
	return out
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// jsonNames are the names of a struct's fields in JSON, and of those that are always there.
func jsonNames(t reflect.Type) (all, required []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			a, r := jsonNames(f.Type)
			all, required = append(all, a...), append(required, r...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		all = append(all, name)
		if options == "" {
			required = append(required, name)
		}
	}
	return sorted(all), sorted(required)
}

// notOfTheFeed are the fields of a list's header that a part does not have: they belong to other doors.
var notOfTheFeed = []string{"on_uncertain", "source", "sender", "again", "mapping"}

func TestSchemaOfAPartHasTheFieldsOfTheCodeAndTheirLimits(t *testing.T) {
	t.Parallel()
	part := schemaOf(t, TypePart)
	row := dig(part, "properties", "rows", "items")
	basis := dig(part, "properties", "legal_basis")
	header, _ := jsonNames(reflect.TypeFor[ingest.Header]())
	header = slices.DeleteFunc(header, func(n string) bool { return slices.Contains(notOfTheFeed, n) })
	input, _ := jsonNames(reflect.TypeFor[ingest.InputRow]())
	basisAll, basisRequired := jsonNames(reflect.TypeFor[catalog.LegalBasis]())
	for what, pair := range map[string][2][]string{
		"part, code":     {names(part, "properties"), sorted(partNames)},
		"part, header":   {names(part, "properties"), sorted(append(header, "list_id", "part", "parts", "rows"))},
		"part, required": {names(part, "required"), {"list_id", "part", "parts", "rows"}},
		"row, code":      {names(row, "properties"), sorted(rowNames)},
		"row, ingest":    {names(row, "properties"), input},
		"row, required":  {names(row, "required"), {"external_id"}},
		"basis":          {names(basis, "properties"), basisAll},
		"basis, code":    {names(basis, "properties"), sorted(namesOf(basisStrings))},
		"basis required": {names(basis, "required"), basisRequired},
		"priority":       {names(dig(part, "properties", "priority"), "enum"), sorted(priorities)},
		"channels":       {names(dig(part, "properties", "channels", "items"), "enum"), sorted(channels)},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %v in the schema, %v in the code", what, pair[0], pair[1])
		}
	}
	limit := func(in map[string]any, path string, key string, want int) {
		t.Helper()
		v := dig(in, append([]string{"properties"}, strings.Split(path, "/")...)...)
		if got, _ := v[key].(float64); int(got) != want {
			t.Errorf("%s of %s: %v, want %d", key, path, v[key], want)
		}
	}
	for _, f := range headerStrings {
		limit(part, f.name, "maxLength", f.max)
	}
	for _, f := range basisStrings {
		limit(basis, f.name, "maxLength", f.max)
	}
	for _, f := range rowStrings {
		limit(row, f.name, "maxLength", f.max)
	}
	limit(part, "rows", "maxItems", MaxRows)
	limit(part, "part", "maximum", MaxParts)
	limit(part, "parts", "maximum", MaxParts)
	limit(row, "phones", "maxItems", maxPhone)
	limit(row, "data", "maxProperties", maxNames)
	limit(row, "data/propertyNames", "maxLength", maxWord)
	limit(row, "data/additionalProperties", "maxLength", maxText)
	if part["additionalProperties"] != false || row["additionalProperties"] != false || basis["additionalProperties"] != false {
		t.Error("the schema lets a misspelt field pass")
	}
	if MaxRows != 1000 || MaxMessage != 900<<10 {
		t.Error("not what the contract says")
	}
}

func TestSchemasOfCancelAndEnvelopeAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	cancel, event := schemaOf(t, TypeCancel), schemaOf(t, "cloudevent")
	for what, pair := range map[string][2][]string{
		"cancel":   {names(cancel, "properties"), sorted(cancelNames)},
		"reasons":  {names(dig(cancel, "properties", "reason"), "enum"), sorted(cancelReasons)},
		"required": {names(event, "required"), sorted(append(slices.Clone(requiredAttributes), "data"))},
		"envelope": {names(event, "properties"), sorted(append(slices.Clone(knownAttributes), "data"))},
		"types":    {names(dig(event, "properties", "type"), "enum"), sorted([]string{TypePart, TypeCancel})},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %v in the schema, %v in the code", what, pair[0], pair[1])
		}
	}
	if n := dig(cancel, "properties", "external_ids")["maxItems"].(float64); int(n) != MaxRecalled {
		t.Errorf("%v ids", n)
	}
}

// outgoing are the types that go out, each with one that has everything and one that has nothing that may be left out.
func outgoing() map[string][2]any {
	at := testNow
	id := uuid.MustParse(listID)
	return map[string][2]any{
		ingest.EventStatus: {ingest.Status{ListID: id, ExternalID: "A-1", NotificationID: "12-34", Part: 1, Row: 2, Sequence: 3, State: "delivered", Final: true, Informed: true,
			InTerm: "in_term", Reason: "busy", Code: "486", Channel: "sms", Attempt: 1, Segments: 2, OccurredAt: at, WaitingUntil: &at, PossibleDuplicate: true},
			ingest.Status{ListID: id, State: "cancelled", InTerm: "no_term", OccurredAt: at}},
		ingest.EventSummary: {ingest.Summary{ListID: id, State: "completed", Rows: 3, Accepted: 2, Rejected: 1, Counts: map[string]int{"delivered": 2}, Informed: 2, Reason: "too_late", OccurredAt: at}, ingest.Summary{ListID: id, State: "cancelled", Counts: map[string]int{}, OccurredAt: at}},
		ingest.EventReply:   {ingest.Reply{ListID: id, ExternalID: "A-1", Kind: "answer", Question: "visit", Value: "2", OccurredAt: at}, ingest.Reply{ListID: id, Kind: "opt_out", OccurredAt: at}},
		ingest.EventProtocol: {ingest.ProtocolPage{Page: 1, Pages: 2, Protocol: ingest.Protocol{PackageID: id, PackageType: "ekc.list", PackageStatus: 3, State: ingest.Rejected,
			StateReason: "x", ReceivingTime: at, FinishProcessTime: &at, RecordNum: 2, RecordNumSuccess: 1, RecordNumWarning: 1, RecordNumSkipped: 1, Segments: 2, Next: 7,
			Outline:      ingest.Outline{Columns: []ingest.Column{{No: 1, Title: "Телефон", Name: "phone", Mapped: true}}, Missing: []string{"snils"}, Notes: []ingest.Note{{Code: "x", Report: "y"}}},
			ErrorRecords: []ingest.RecordResult{{Row: 1, Part: 1, ExternalID: "A-1", Messages: []ingest.RecordMessage{{MessageType: 1, RuleCode: 101, Field: "phone", Report: "x"}}}}}},
			ingest.ProtocolPage{Page: 1, Pages: 1, Protocol: ingest.Protocol{PackageID: id, PackageType: "ekc.list", PackageStatus: 3, ErrorRecords: []ingest.RecordResult{}}}},
	}
}

func TestWhatGoesOutIsWhatItsSchemaSaysBothWays(t *testing.T) {
	t.Parallel()
	validators := compiled(t)
	for name, values := range outgoing() {
		schema := schemaOf(t, name)
		all, required := jsonNames(reflect.TypeOf(values[0]))
		if got := names(schema, "properties"); !slices.Equal(got, all) {
			t.Errorf("%s: %v in the schema, %v in the code", name, got, all)
		}
		if got := names(schema, "required"); !slices.Equal(got, required) {
			t.Errorf("%s: the schema requires %v, the code always has %v", name, got, required)
		}
		for i, v := range values {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err == nil {
				err = validators[name].Validate(doc)
			}
			if err != nil {
				t.Errorf("%s, %d: %v", name, i, err)
			}
			if i == 0 && len(doc.(map[string]any)) != len(all) {
				t.Errorf("%s: the sample does not have everything", name)
			}
			back := reflect.New(reflect.TypeOf(v))
			if err := json.Unmarshal(b, back.Interface()); err != nil || !reflect.DeepEqual(back.Elem().Interface(), v) {
				t.Errorf("%s does not come back: %+v, %v", name, back.Elem(), err)
			}
		}
	}
	nested := dig(schemaOf(t, ingest.EventProtocol), "properties", "error_records", "items")
	for _, c := range []struct {
		schema map[string]any
		of     reflect.Type
	}{{nested, reflect.TypeFor[ingest.RecordResult]()}, {dig(nested, "properties", "messages", "items"), reflect.TypeFor[ingest.RecordMessage]()}} {
		all, required := jsonNames(c.of)
		if !slices.Equal(names(c.schema, "properties"), all) || !slices.Equal(names(c.schema, "required"), required) {
			t.Errorf("%v: %v", c.of, c.schema)
		}
	}
}

func TestGoldenMessagesKeepTheSchemasAsTheManifestSays(t *testing.T) {
	t.Parallel()
	validators := compiled(t)
	// What a schema of one message cannot say.
	beyond := []string{CodePart, CodeIDPersonal, CodeDuplicateName, CodeNotEvent}
	eachGolden(t, func(t *testing.T, _ string, f *fixtures.FeedMessage, value []byte, _ *Message, _ error) {
		if f.EKCType != "" || f.Code == CodeNotJSON {
			return
		}
		err := validateEvent(validators, value)
		if good := f.Code == "" || slices.Contains(beyond, f.Code); good != (err == nil) {
			t.Errorf("%s: %v", f.File, err)
		}
	})
}

// validateEvent holds a structured message against the schema of its envelope and that of its data.
func validateEvent(validators map[string]*jsonschema.Schema, value []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return err
	}
	if err := validators["cloudevent"].Validate(doc); err != nil {
		return err
	}
	event := doc.(map[string]any)
	return validators[event["type"].(string)].Validate(event["data"])
}

func TestAsyncAPIDescribesTheTopicsOfTheContract(t *testing.T) {
	t.Parallel()
	b, err := AsyncAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("%v", doc["asyncapi"])
	}
	var addresses []string
	for _, c := range dig(doc, "channels") {
		addresses = append(addresses, c.(map[string]any)["address"].(string))
	}
	if want := []string{"egisso.messages.v1", "egisso.notification-events.v1", "egisso.notification-lists.v1", "ekc.list-protocols.v1", "ekc.notification-status.v1",
		"ekc.replies.v1", "{topic}.rejected"}; !slices.Equal(sorted(addresses), want) {
		t.Errorf("topics: %v", sorted(addresses))
	}
	var schemasNamed []string
	for _, m := range dig(doc, "components", "messages") {
		m := m.(map[string]any)
		if ref, ok := dig(m, "payload")["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/components/schemas/")
			schemasNamed = append(schemasNamed, name)
			if m["name"] != name {
				t.Errorf("message %v has the payload of %s", m["name"], name)
			}
		}
	}
	if want := sorted([]string{TypePart, TypeCancel, ingest.EventProtocol, ingest.EventStatus, ingest.EventSummary, ingest.EventReply}); !slices.Equal(sorted(schemasNamed), want) {
		t.Errorf("messages: %v", sorted(schemasNamed))
	}
	for _, name := range SchemaNames() {
		if dig(doc, "components", "schemas", name) == nil {
			t.Errorf("%s is not in the document", name)
		}
	}
	if len(dig(doc, "operations")) != len(addresses) {
		t.Error("a channel without an operation")
	}
	refs := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				if path, local := strings.CutPrefix(ref, "#/"); !local || dig(doc, strings.Split(path, "/")...) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, item := range v {
				walk(item)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(doc)
	if refs < 20 {
		t.Errorf("only %d references", refs)
	}
}

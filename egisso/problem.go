package egisso

import (
	"fmt"
	"strings"
)

// Problem is why a message cannot be taken. Code is stable and meant for programs; Detail says in Russian where, what is wrong and what to
// do. Neither repeats anything that was sent: not a value, and not a name that the contract does not have.
type Problem struct {
	Code   string     `json:"code"`
	Detail string     `json:"detail"`
	Field  string     `json:"field,omitempty"`  // as the contract names it: ce_source, legal_basis.date, rows.external_id
	Row    int        `json:"row,omitempty"`    // its place in the part, from 1; 0 = the fault is not in a row
	Others []*Problem `json:"others,omitempty"` // what else is wrong, as far as it could be told; at most maxProblems together
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return "egisso: " + p.Code
	}
	return "egisso: " + p.Code + " in " + p.Field
}

// maxProblems is how many faults of one message are told.
const maxProblems = 100

// Codes of problems; each stands in docs/feed.md.
const (
	CodeTooLarge      = "message_too_large"
	CodeUTF8          = "invalid_utf8"
	CodeNotJSON       = "not_json"
	CodeDepth         = "too_deep"
	CodeTooMany       = "too_many"
	CodeDuplicateName = "duplicate_name"
	CodeNumber        = "number_inexact"
	CodeContentType   = "content_type"
	CodeHeaderTwice   = "header_twice"
	CodeVersion       = "specversion"
	CodeType          = "type_unknown"
	CodeSource        = "source_invalid"
	CodeMissing       = "field_missing"
	CodeUnknown       = "field_unknown"
	CodeKind          = "field_type"
	CodeLong          = "field_too_long"
	CodeValue         = "field_value"
	CodeTime          = "time_invalid"
	CodePart          = "part_number"
	CodeNotEvent      = "not_an_event"
	CodeIDForm        = "external_id_form"
	CodeIDTwice       = "external_id_twice"
	CodeIDPersonal    = "external_id_personal"
	CodePersonal      = "field_personal"
	CodeCancel        = "cancel_scope"
	CodeXML           = "xml_malformed"
	CodeXMLDoctype    = "xml_doctype"
	CodeXMLType       = "xml_type_unknown"
	CodeStale         = "expired"
)

// problems collects what is wrong with one message.
type problems struct{ all []*Problem }

// add tells a fault; the sentence gets its place in front.
func (p *problems) add(code string, row int, field, sentence string, args ...any) {
	if len(p.all) == maxProblems {
		return
	}
	if len(args) > 0 {
		sentence = fmt.Sprintf(sentence, args...)
	}
	var where []string
	if row > 0 {
		where = append(where, fmt.Sprintf("строка %d", row))
	}
	if field != "" {
		where = append(where, "поле "+strings.TrimPrefix(field, "rows."))
	}
	if len(where) > 0 {
		place := strings.Join(where, ", ")
		first := []rune(place)
		sentence = strings.ToUpper(string(first[0])) + string(first[1:]) + ": " + sentence
	}
	p.all = append(p.all, &Problem{Code: code, Detail: sentence, Field: field, Row: row})
}

func (p *problems) any() bool { return len(p.all) > 0 }

// err is the first fault with the others behind it; nil for none.
func (p *problems) err() error {
	if len(p.all) == 0 {
		return nil
	}
	first := *p.all[0]
	first.Others = p.all[1:]
	if len(first.Others) == 0 {
		first.Others = nil
	}
	return &first
}

// problem is one fault alone.
func problem(code, field, sentence string, args ...any) *Problem {
	var p problems
	p.add(code, 0, field, sentence, args...)
	return p.all[0]
}

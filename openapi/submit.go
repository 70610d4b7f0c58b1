package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"ekc/catalog"
	"ekc/ingest"
	"ekc/journal"
)

const (
	// jsonTimes is how many times the ordinary body limit a list of JSON rows may have: it is held in memory.
	jsonTimes = 16
	// A form has few fields and they are short: a purpose, an order, a date.
	formFields     = 32
	formFieldBytes = 16 << 10
)

// RawRequest hands the handler the request itself, so that a body of any size is read as it comes. Nothing of an upload is
// ever in a temporary file.
type RawRequest struct {
	r *http.Request
	w http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (in *RawRequest) Resolve(ctx huma.Context) []error {
	in.r, in.w = humago.Unwrap(ctx)
	return nil
}

// listJSON is a list whose rows come in the request.
type listJSON struct {
	ListFields
	Rows []JSONRow `json:"rows" minItems:"1"`
}

// ListFields are the fields of a list, in a form or in JSON.
type ListFields struct {
	Name        string              `json:"name,omitempty" maxLength:"200"`
	LifeEvent   string              `json:"life_event,omitempty" doc:"Code or name; rows may have their own"`
	Template    string              `json:"template,omitempty" doc:"Code or title"`
	Channels    []string            `json:"channels,omitempty" doc:"In order: sms, voice; none: the source's"`
	Priority    string              `json:"priority,omitempty" enum:"urgent,normal,bulk"`
	OnUncertain string              `json:"on_uncertain,omitempty" enum:"resend,hold"`
	LegalBasis  *catalog.LegalBasis `json:"legal_basis,omitempty" doc:"Without it the list waits in ready and cannot be approved"`
	OrderedBy   string              `json:"ordered_by,omitempty" maxLength:"500" doc:"Order or letter"`
	ValidUntil  string              `json:"valid_until,omitempty" doc:"RFC 3339, or a day: its end in the recipient's zone"`
	NotBefore   string              `json:"not_before,omitempty" doc:"RFC 3339, or a day: its start in the recipient's zone"`
	InformBy    string              `json:"inform_by,omitempty" doc:"RFC 3339, or a day: its end in the recipient's zone"`
	Source      string              `json:"source,omitempty" doc:"Entry of the catalogue of sources; none: upload"`
	Sender      string              `json:"sender,omitempty" maxLength:"64"`
	Again       bool                `json:"again,omitempty" doc:"The same bytes came before and are meant to go once more"`
	Mapping     map[string]string   `json:"mapping,omitempty" doc:"Of a file: title of a column in it → ours (name or title), or an empty string for a column that is none of ours. Laid over the agency's remembered mapping, and remembered with it once the list is ready"`
}

// JSONRow is ingest.InputRow with what the document says of it.
type JSONRow struct {
	ExternalID string            `json:"external_id,omitempty" maxLength:"64" doc:"The row's name everywhere; never a phone or SNILS; none: its number"`
	Phone      string            `json:"phone,omitempty" doc:"+7…, 8… or 10 digits"`
	Phones     []string          `json:"phones,omitempty"`
	SNILS      string            `json:"snils,omitempty"`
	FamilyName string            `json:"family_name,omitempty"`
	FirstName  string            `json:"first_name,omitempty"`
	Patronymic string            `json:"patronymic,omitempty"`
	BirthDate  string            `json:"birth_date,omitempty"`
	OKTMO      string            `json:"oktmo,omitempty"`
	LifeEvent  string            `json:"life_event,omitempty"`
	EventDate  string            `json:"event_date,omitempty"`
	Measure    string            `json:"measure,omitempty"`
	Language   string            `json:"language,omitempty"`
	Text       string            `json:"text,omitempty"`
	Template   string            `json:"template,omitempty"`
	Channels   []string          `json:"channels,omitempty"`
	ValidUntil string            `json:"valid_until,omitempty"`
	NotBefore  string            `json:"not_before,omitempty"`
	InformBy   string            `json:"inform_by,omitempty"`
	Data       map[string]string `json:"data,omitempty" doc:"Values of the template's parameters by their names"`
	Ext        json.RawMessage   `json:"ext,omitempty" doc:"Kept and passed back"`
}

func (s *Server) registerSubmit() {
	register(s, operation{id: "submitList", method: http.MethodPost, path: "/v1/lists", tag: "lists", summary: "Bring a list: a file, or rows", status: http.StatusAccepted,
		description: "A form with the list's fields and, last, the part `file` (XLSX or CSV); or JSON with `rows`. It is stored, sealed, before the answer; the check follows.",
		stream:      true, errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *struct{ RawRequest }) (*answer[ListRef], error) {
			ref, err := s.submit(ctx, p, in.w, in.r)
			if err != nil {
				return nil, err
			}
			return refOf(ref), nil
		})
	register(s, operation{id: "checkList", method: http.MethodPost, path: "/v1/lists/check", tag: "lists", summary: "What a list would get: verdicts, segments, cost, finish; nothing is stored",
		description: "The same body as for a new list, up to 32 MiB. Repeats of earlier lists are warned of; refusals of people, and rows that a corrected list has taken, are found only when a list is brought. Of rows with a message the first 1,000 are listed.",
		stream:      true, read: true},
		func(ctx context.Context, p journal.Principal, in *struct{ RawRequest }) (*answer[DryRun], error) {
			d, err := s.check(ctx, p, in.w, in.r)
			if err != nil {
				return nil, err
			}
			out := DryRun{Protocol: d.Protocol}
			if d.Estimate != nil {
				out.Estimate = new(estimateOf(*d.Estimate, s.now()))
			}
			return &answer[DryRun]{out}, nil
		})
	register(s, operation{id: "correctList", method: http.MethodPost, path: "/v1/lists/{id}/corrections", tag: "lists", summary: "A mended file of a list that was approved already", status: http.StatusAccepted,
		description: "A form as for a new list; fields that are left out are as in the corrected one. It makes a list of its own that names that one in `corrects`. Rows that the corrected list or another correction of it has taken are skipped and told so: by external_id where both have it, else by person, event, measure and date.",
		stream:      true, errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			RawRequest
		}) (*answer[ListRef], error) {
			var ref ingest.Ref
			err := s.readForm(in.w, in.r, requestDigest(ctx), func(h ingest.Header, file io.Reader) (err error) {
				ref, err = s.doors.Lists.Correct(ctx, p, in.uuid(), h, file)
				return err
			})
			if err != nil {
				return nil, err
			}
			return refOf(ref), nil
		})
	register(s, operation{id: "replaceFile", method: http.MethodPut, path: "/v1/lists/{id}/file", tag: "lists", summary: "Another file in place of the one of a list that is not approved yet", status: http.StatusAccepted,
		description: "A form as for a new list; of its fields only legal basis, order and mapping are taken over.", stream: true, errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			RawRequest
		}) (*answer[ListRef], error) {
			var ref ingest.Ref
			err := s.readForm(in.w, in.r, io.Discard, func(h ingest.Header, file io.Reader) (err error) {
				ref, err = s.doors.Lists.Replace(ctx, p, in.uuid(), h, file)
				return err
			})
			if err != nil {
				return nil, err
			}
			return refOf(ref), nil
		})
	register(s, operation{id: "sendOne", method: http.MethodPost, path: "/v1/notifications", tag: "lists", summary: "One notification: a list of one, sent ahead of all lists", status: http.StatusAccepted, errors: []int{409},
		description: "From a source's key it is approved by the source's profile, else it waits for an approver."},
		func(ctx context.Context, p journal.Principal, in *struct{ Body oneJSON }) (*answer[ListRef], error) {
			header, err := ListFields{Name: in.Body.Name, Priority: in.Body.Priority, OnUncertain: in.Body.OnUncertain, LegalBasis: in.Body.LegalBasis,
				OrderedBy: in.Body.OrderedBy, Source: in.Body.Source, Sender: in.Body.Sender}.header()
			if err != nil {
				return nil, err
			}
			ref, err := s.doors.Lists.SubmitJSON(ctx, p, header, []ingest.InputRow{in.Body.row()})
			if err != nil {
				return nil, err
			}
			return refOf(ref), nil
		})
	s.describeUploads()
}

// oneJSON is a row with what a list would say of it.
type oneJSON struct {
	JSONRow
	Name        string              `json:"name,omitempty" maxLength:"200"`
	Priority    string              `json:"priority,omitempty" enum:"urgent,normal,bulk"`
	OnUncertain string              `json:"on_uncertain,omitempty" enum:"resend,hold"`
	LegalBasis  *catalog.LegalBasis `json:"legal_basis,omitempty"`
	OrderedBy   string              `json:"ordered_by,omitempty" maxLength:"500"`
	Source      string              `json:"source,omitempty" maxLength:"64"`
	Sender      string              `json:"sender,omitempty" maxLength:"64"`
}

func (r JSONRow) row() ingest.InputRow {
	return ingest.InputRow{ExternalID: r.ExternalID, Phone: r.Phone, Phones: r.Phones, SNILS: r.SNILS, FamilyName: r.FamilyName, FirstName: r.FirstName,
		Patronymic: r.Patronymic, BirthDate: r.BirthDate, OKTMO: r.OKTMO, LifeEvent: r.LifeEvent, EventDate: r.EventDate, Measure: r.Measure,
		Language: r.Language, Text: r.Text, Template: r.Template, Channels: r.Channels, ValidUntil: r.ValidUntil, NotBefore: r.NotBefore,
		InformBy: r.InformBy, Data: r.Data, Ext: r.Ext}
}

// describeUploads adds the bodies to the document afterwards: had huma known of them, it would read them.
func (s *Server) describeUploads() {
	registry := s.api.OpenAPI().Components.Schemas
	fields := registry.Schema(reflect.TypeFor[ListFields](), false, "Fields")
	form := &huma.Schema{Type: huma.TypeObject, Required: []string{"file"}, Properties: map[string]*huma.Schema{
		"file": {Type: huma.TypeString, Format: "binary", Description: "XLSX or CSV; the last part of the form"},
	}}
	for name, schema := range fields.Properties {
		form.Properties[name] = schema
	}
	multipartBody := map[string]*huma.MediaType{"multipart/form-data": {Schema: form}}
	for _, body := range []struct {
		path, method string
		content      map[string]*huma.MediaType
	}{
		{"/v1/lists", http.MethodPost, map[string]*huma.MediaType{
			"multipart/form-data": {Schema: form},
			"application/json":    {Schema: registry.Schema(reflect.TypeFor[listJSON](), true, "ListJSON")},
		}},
		{"/v1/lists/check", http.MethodPost, map[string]*huma.MediaType{
			"multipart/form-data": {Schema: form},
			"application/json":    {Schema: registry.Schema(reflect.TypeFor[listJSON](), true, "ListJSON")},
		}},
		{"/v1/lists/{id}/file", http.MethodPut, multipartBody},
		{"/v1/lists/{id}/corrections", http.MethodPost, multipartBody},
	} {
		item := s.api.OpenAPI().Paths[body.path]
		if item == nil {
			continue
		}
		op := item.Post
		if body.method == http.MethodPut {
			op = item.Put
		}
		op.RequestBody = &huma.RequestBody{Required: true, Content: body.content}
	}
}

// submit takes either form of a list.
func (s *Server) submit(ctx context.Context, p journal.Principal, w http.ResponseWriter, r *http.Request) (ref ingest.Ref, err error) {
	err = s.readList(w, r, requestDigest(ctx), func(h ingest.Header, file io.Reader) (err error) {
		ref, err = s.doors.Lists.Submit(ctx, p, h, file)
		return err
	}, func(h ingest.Header, rows []ingest.InputRow) (err error) {
		ref, err = s.doors.Lists.SubmitJSON(ctx, p, h, rows)
		return err
	})
	return ref, err
}

// check says of either form of a list what it would get.
func (s *Server) check(ctx context.Context, p journal.Principal, w http.ResponseWriter, r *http.Request) (d ingest.DryRun, err error) {
	err = s.readList(w, r, io.Discard, func(h ingest.Header, file io.Reader) (err error) {
		d, err = s.doors.Lists.Check(ctx, p, h, file)
		return err
	}, func(h ingest.Header, rows []ingest.InputRow) (err error) {
		d, err = s.doors.Lists.CheckJSON(ctx, p, h, rows)
		return err
	})
	return d, err
}

// readList reads a form with a file, or JSON with rows, and hands over whichever it is.
func (s *Server) readList(w http.ResponseWriter, r *http.Request, digest io.Writer, file func(ingest.Header, io.Reader) error,
	rows func(ingest.Header, []ingest.InputRow) error) error {
	if mediaType(r) != "application/json" {
		return s.readForm(w, r, digest, file)
	}
	body, err := io.ReadAll(s.newStream(w).reader(w, r.Body, jsonTimes*s.config.BodyLimit))
	if err != nil {
		return bodyError(err)
	}
	_, _ = digest.Write(body)
	var in struct {
		ListFields
		Rows []ingest.InputRow `json:"rows"`
	}
	if err := s.decodeStrictly(body, &in); err != nil {
		return err
	}
	header, err := in.header()
	if err != nil {
		return err
	}
	return rows(header, in.Rows)
}

func mediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// decodeStrictly reads JSON into v; its errors name our fields at most.
func (s *Server) decodeStrictly(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil && dec.More() {
		return problem(CodeMalformed)
	}
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return invalid(safeLocation("body."+wrongType.Field, s.known), "expected "+kindName(wrongType.Type))
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return invalid("body.*", "unexpected property")
	}
	return problem(CodeMalformed)
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	}
	return "number"
}

// header checks what can be checked by form alone; codes and rights are ingest's to check.
func (f ListFields) header() (ingest.Header, error) {
	h := ingest.Header{Name: f.Name, LifeEvent: f.LifeEvent, Template: f.Template, Channels: f.Channels, Priority: f.Priority, OnUncertain: f.OnUncertain,
		LegalBasis: f.LegalBasis, OrderedBy: f.OrderedBy, Source: f.Source, Sender: f.Sender, Again: f.Again, Mapping: f.Mapping}
	for _, m := range []struct {
		name, text string
		to         *ingest.Moment
	}{{"valid_until", f.ValidUntil, &h.ValidUntil}, {"not_before", f.NotBefore, &h.NotBefore}, {"inform_by", f.InformBy, &h.InformBy}} {
		if m.text == "" {
			continue
		}
		moment, err := ingest.ParseMoment(m.text)
		if err != nil {
			return ingest.Header{}, invalid("body."+m.name, "expected a day (31.12.2026) or a time (RFC 3339)").
				in("Поле " + m.name + ": нужен день (31.12.2026) или время (2026-12-31T18:00:00+03:00).")
		}
		*m.to = moment
	}
	return h, nil
}

// readForm reads the fields of a form, then hands over its file as it comes. All of it goes to the digest, part by part, since a
// repeat has other boundaries.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request, digest io.Writer, take func(ingest.Header, io.Reader) error) error {
	if mediaType(r) != "multipart/form-data" {
		return problem(CodeMediaType)
	}
	// Fields and boundaries come on top of the file itself.
	limited := s.newStream(w).reader(w, r.Body, s.config.UploadLimit+1<<20)
	r.Body = io.NopCloser(limited)
	parts, err := r.MultipartReader()
	if err != nil {
		return problem(CodeMalformed)
	}
	var fields ListFields
	for range formFields {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return problem(CodeNoFile)
		}
		if err != nil {
			return bodyError(err)
		}
		name := part.FormName()
		fmt.Fprintf(digest, "%q\n", name)
		if name == "file" {
			return s.takeFile(fields, parts, part, digest, take)
		}
		value, err := io.ReadAll(io.LimitReader(part, formFieldBytes+1))
		if err != nil {
			return bodyError(err)
		}
		if len(value) > formFieldBytes {
			return problem(CodeTooLarge)
		}
		fmt.Fprintf(digest, "%q\n", value)
		if err := fields.set(name, string(value)); err != nil {
			return err
		}
	}
	return problem(CodeInvalid)
}

func (s *Server) takeFile(fields ListFields, parts *multipart.Reader, part *multipart.Part, digest io.Writer, take func(ingest.Header, io.Reader) error) error {
	header, err := fields.header()
	if err != nil {
		return err
	}
	file := &uploadReader{r: io.TeeReader(part, digest), left: s.config.UploadLimit, end: func() error {
		// What follows the file could no longer be taken into account: nothing is made of such a request.
		if _, err := parts.NextPart(); err == nil {
			return problem(CodeFileLast)
		} else if !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}}
	err = take(header, file)
	switch {
	case file.err != nil: // whatever was made of it, the caller's side of it is what to tell
		return bodyError(file.err)
	case err != nil:
		_, _ = io.Copy(io.Discard, file) // a repeat is compared by its whole content
	}
	return err
}

var errBrokenOff = errors.New("the upload broke off")

// uploadReader remembers why the file could not be read, and that it was too large.
type uploadReader struct {
	r    io.Reader
	left int64
	end  func() error // asked at the end of the file, once
	err  error
}

func (u *uploadReader) Read(b []byte) (int, error) {
	if u.err != nil {
		return 0, errBrokenOff
	}
	n, err := u.r.Read(b)
	u.left -= int64(n)
	if u.left < 0 {
		err = &http.MaxBytesError{}
	}
	if errors.Is(err, io.EOF) && u.end != nil {
		if fault := u.end(); fault != nil {
			err = fault
		}
		u.end = nil
	}
	if err != nil && err != io.EOF {
		u.err = err
		// Not the error itself: io.ErrUnexpectedEOF is what io.ReadFull makes of a proper end, and a file cut short would pass for whole.
		return n, errBrokenOff
	}
	return n, err
}

// set takes one field of a form. legal_basis is JSON, or comes as legal_basis.code, .document and .date.
func (f *ListFields) set(name, value string) error {
	basis := func() *catalog.LegalBasis {
		if f.LegalBasis == nil {
			f.LegalBasis = &catalog.LegalBasis{}
		}
		return f.LegalBasis
	}
	if value == "" {
		return nil
	}
	switch name {
	case "name":
		f.Name = value
	case "life_event":
		f.LifeEvent = value
	case "template":
		f.Template = value
	case "channels":
		plan, ok := ingest.ParseChannels(value)
		if !ok {
			return invalid("body.channels", "expected sms, voice, or both in order").in("Канал не распознан. Пишите: СМС, звонок, «СМС, затем звонок» или «звонок, затем СМС».")
		}
		f.Channels = plan
	case "priority":
		if !slices.Contains([]string{ingest.PriorityUrgent, ingest.PriorityNormal, ingest.PriorityBulk}, value) {
			return invalid("body.priority", `expected value to be one of "urgent, normal, bulk"`).in("Срочность (priority): urgent, normal или bulk.")
		}
		f.Priority = value
	case "on_uncertain":
		f.OnUncertain = value
	case "legal_basis":
		if json.Unmarshal([]byte(value), basis()) != nil {
			return invalid("body.legal_basis", "expected object").in("Правовое основание (legal_basis): нужны код, документ и дата в виде JSON или три поля legal_basis.code, .document, .date.")
		}
	case "legal_basis.code":
		basis().Code = value
	case "legal_basis.document":
		basis().Document = value
	case "legal_basis.date":
		basis().Date = value
	case "ordered_by":
		f.OrderedBy = value
	case "valid_until":
		f.ValidUntil = value
	case "not_before":
		f.NotBefore = value
	case "inform_by":
		f.InformBy = value
	case "source":
		f.Source = value
	case "sender":
		f.Sender = value
	case "mapping":
		if json.Unmarshal([]byte(value), &f.Mapping) != nil {
			return invalid("body.mapping", "expected object").in(`Соответствие столбцов (mapping) пишется так: {"Контакт": "Телефон"}.`)
		}
	case "again":
		f.Again = value == "true" || value == "1" || value == "on"
	default:
		return invalid("body.*", "unexpected property")
	}
	return nil
}

// digestUpload reads a repeated upload for its digest only.
func (s *Server) digestUpload(w http.ResponseWriter, r *http.Request, digest io.Writer) error {
	if mediaType(r) == "application/json" {
		body, err := io.ReadAll(s.newStream(w).reader(w, r.Body, jsonTimes*s.config.BodyLimit))
		if err != nil {
			return bodyError(err)
		}
		_, _ = digest.Write(body)
		return nil
	}
	return s.readForm(w, r, digest, func(_ ingest.Header, file io.Reader) error {
		_, err := io.Copy(io.Discard, file)
		return err
	})
}

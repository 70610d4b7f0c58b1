package openapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"ekc/dispatch"
	"ekc/ingest"
	"ekc/postgres"
)

// Code names a fault. It is stable: programs branch on it, and it is the same in every language.
type Code string

// The codes this package gives out itself; those about lists and files are ingest's.
const (
	CodeUnauthorized Code = "unauthorized"
	CodeAdminKeyUsed Code = "admin_key_used"
	CodeForbidden    Code = "forbidden"
	CodeNotFound     Code = "not_found"
	CodeMethod       Code = "method_not_allowed"
	CodeMalformed    Code = "malformed_body"
	CodeInvalid      Code = "invalid_request"
	CodeTooLarge     Code = "too_large"
	CodeMediaType    Code = "unsupported_media_type"
	CodeTimeout      Code = "timeout"
	CodeStateChanged Code = "state_changed"
	CodeNotLoader    Code = "not_own_list"
	CodeFileLast     Code = "file_must_be_last"
	CodeNoFile       Code = "file_missing"
	CodeExists       Code = "already_exists"
	CodeSelfGrant    Code = "self_grant"
	CodeGrantBeyond  Code = "grant_beyond_own"
	CodeRoleScope    Code = "role_scope"
	CodeBlocked      Code = "account_blocked"
	CodePurpose      Code = "purpose_required"
	CodePerson       Code = "person_unclear"
	CodeCursor       Code = "bad_cursor"
	CodeFilter       Code = "filter_required"
	CodeKeyReused    Code = "idempotency_key_reused"
	CodeInProgress   Code = "request_in_progress"
	CodeShownOnce    Code = "shown_once"
	CodeInternal     Code = "internal"
	CodeUnavailable  Code = "unavailable"
	CodeNotHeld      Code = "not_held"
	CodeNotStopped   Code = "not_stopped"
	CodeTooLate      Code = "too_late"
	CodeBadStop      Code = "bad_stop"
	CodeNotHere      Code = "not_served_here"
)

type sentence struct {
	status int
	ru, en string
}

var sentences = map[Code]sentence{
	CodeUnauthorized: {401, "Ключ не указан, не подходит, отозван или просрочен.", "The key is missing, wrong, revoked or expired."},
	CodeAdminKeyUsed: {401, "Начальный ключ уже использован и больше не действует: войдите под учётной записью администратора безопасности.", "The first administrator's key has been used and is no longer accepted: use the security administrator's own key."},
	CodeForbidden:    {403, "У учётной записи нет роли, которая это разрешает.", "The account has no role that allows this."},
	CodeNotFound:     {404, "Не найдено.", "Not found."},
	CodeMethod:       {405, "По этому адресу так обращаться нельзя; разрешённые способы – в заголовке Allow.", "This address does not take this method; see the Allow header."},
	CodeMalformed:    {400, "Тело запроса не читается как JSON.", "The body cannot be read as JSON."},
	CodeInvalid:      {422, "Запрос не прошёл проверку, см. errors.", "The request did not pass the checks, see errors."},
	CodeTooLarge:     {413, "Запрос больше разрешённого размера.", "The request is larger than allowed."},
	CodeMediaType:    {415, "Такой вид содержимого здесь не принимается, см. описание операции.", "This content type is not taken here, see the operation."},
	CodeTimeout:      {408, "Запрос передаётся слишком медленно.", "The request arrives too slowly."},
	CodeStateChanged: {409, "Состояние уже изменилось, действие больше не подходит. Обновите данные и повторите.", "The state has changed and the action no longer fits. Read it again and retry."},
	CodeNotLoader:    {403, "Это можно сделать только со списком, который загрузили вы.", "This may be done only to a list of your own loading."},
	CodeFileLast:     {422, "Поля списка должны идти до файла: поставьте часть file последней.", "Fields must come before the file: put the part named file last."},
	CodeNoFile:       {422, "В запросе нет файла: нужна часть с именем file.", "There is no file: a part named file is needed."},
	CodeExists:       {409, "Такая запись уже есть; имена учётных записей не используются повторно.", "It exists already; account names are never reused."},
	CodeSelfGrant:    {403, "Изменить собственные роли и доступ нельзя: это делает другой администратор.", "Nobody changes roles or access of their own; another administrator does."},
	CodeGrantBeyond:  {403, "Ваша роль не даёт права выдавать эту роль или в этом ведомстве.", "Your role may not grant this role, or not in this agency."},
	CodeRoleScope:    {422, "Роль не подходит к виду учётной записи или к ведомству: роли ведомства требуют ведомства, роли оператора системы – его отсутствия, машинные роли – учётной записи системы.", "The role does not fit the account: an agency's role needs an agency, the system operator's role needs none, a machine's role needs an account of a system."},
	CodeBlocked:      {409, "Учётная запись заблокирована.", "The account is blocked."},
	CodePurpose:      {422, "Поиск по человеку требует цели: укажите purpose.code и purpose.reference.", "A search for a person needs a purpose: give purpose.code and purpose.reference."},
	CodePerson:       {422, "Укажите одно: телефон, СНИЛС или ФИО вместе с датой рождения.", "Give one of: phone, SNILS, or full name with birth date."},
	CodeCursor:       {422, "Указатель страницы не подходит; начните с первой страницы.", "The cursor does not fit; start from the first page."},
	CodeFilter:       {422, "Укажите, что искать: список, уведомление, исполнителя или промежуток времени.", "Say what to look for: a list, a notification, an actor or a span of time."},
	CodeKeyReused:    {409, "Этот Idempotency-Key уже использован с другим содержимым.", "This Idempotency-Key was used with another content."},
	CodeInProgress:   {409, "Первый запрос с этим Idempotency-Key ещё выполняется; повторите позже.", "The first request with this Idempotency-Key is still under way; retry later."},
	CodeShownOnce:    {409, "Ключ по этому запросу уже выдан и показан один раз. Если он утерян, отзовите его и создайте новый.", "The key was made and shown once. If it is lost, revoke it and make another."},
	CodeInternal:     {500, "Внутренняя ошибка. Сообщите дежурному номер запроса.", "Internal error. Tell the engineer on duty the request id."},
	CodeUnavailable:  {503, "Сейчас это невозможно, ничего не изменено. Повторите позже.", "Not possible right now, nothing was changed. Retry later."},
	CodeTooLate:      {409, "Уведомление уже ушло, отправляется или закончено: отозвать его нельзя.", "The notification has left, is leaving or has ended: it cannot be called back."},
	CodeNotStopped:   {409, "Источник не остановлен: его темы читаются.", "The source is not stopped: its topics are read."},
	CodeNotHeld:      {409, "Уведомление не ждёт решения человека.", "The notification does not wait for a person's decision."},
	CodeBadStop:      {422, "Такой остановки не бывает: цель не подходит к области.", "There is no such stop: the target does not fit the scope."},
	CodeNotHere:      {501, "В этой установке такая возможность не включена.", "This installation does not serve it."},
}

// Problem is the one form of an error answer, RFC 9457. Nothing of what was submitted is in it.
type Problem struct {
	Type      string       `json:"type" doc:"Always about:blank: the code says which problem it is" example:"about:blank"`
	Title     string       `json:"title" doc:"Phrase of the HTTP status" example:"Not Found"`
	Status    int          `json:"status" doc:"HTTP status" example:"404"`
	Code      Code         `json:"code" doc:"Stable name of the fault, the same in every language" example:"not_found"`
	Detail    string       `json:"detail" doc:"A sentence for people; Russian if Accept-Language asks for it, else English" example:"Not found."`
	RequestID string       `json:"request_id,omitempty" doc:"Number of the request in our log"`
	Errors    []FieldFault `json:"errors,omitempty" doc:"What is wrong, field by field; values are never repeated"`

	ru         string // the domain's own sentence, when it has one
	retryAfter string
	allow      string
}

// FieldFault says what is wrong with one field, never what stood in it.
type FieldFault struct {
	Location string `json:"location" doc:"Where; names that are not ours are shown as *" example:"body.rows[3].phone"`
	Detail   string `json:"detail" doc:"What is expected"`
}

func problem(c Code) *Problem {
	s := sentences[c]
	return &Problem{Type: "about:blank", Title: http.StatusText(s.status), Status: s.status, Code: c}
}

// invalid is a fault of one field that the schema cannot see.
func invalid(location, detail string) *Problem {
	p := problem(CodeInvalid)
	p.Errors = []FieldFault{{Location: location, Detail: detail}}
	return p
}

// in is the fault with a sentence for people of its own, where a person fills the field in.
func (p *Problem) in(russian string) *Problem {
	p.ru = russian
	return p
}

func (p *Problem) Error() string  { return string(p.Code) }
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma answer with the media type of RFC 9457 §3.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders makes huma send what belongs to the fault beside its body.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="ekc"`)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	return h
}

// problemOf turns any error into what the caller may see. ok is false when the error has to be logged in full, because the
// caller is told no more than "internal".
func problemOf(err error) (p *Problem, ok bool) {
	var fault *ingest.Fault
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &fault):
		return ofFault(fault), true
	case errors.Is(err, dispatch.ErrTooLate):
		return problem(CodeTooLate), true
	case errors.Is(err, dispatch.ErrNotHeld):
		return problem(CodeNotHeld), true
	case errors.Is(err, dispatch.ErrStop):
		return problem(CodeBadStop), true
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, dispatch.ErrNotThere):
		return problem(CodeNotFound), true
	case postgres.IsUnavailable(err), errors.Is(err, context.DeadlineExceeded):
		p = problem(CodeUnavailable)
		p.retryAfter = "5"
		return p, false
	case errors.Is(err, context.Canceled): // the caller has gone; nobody reads the answer
		return problem(CodeUnavailable), true
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(CodeTooLarge), true
	}
	// character_not_in_repertoire: NUL and broken UTF-8 pass JSON and addresses, and no table takes them.
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "22021" {
		return problem(CodeInvalid), true
	}
	return problem(CodeInternal), false
}

// ofFault keeps ingest's code and sentence; only the status is ours to say.
func ofFault(f *ingest.Fault) *Problem {
	status := http.StatusUnprocessableEntity
	switch f.Kind {
	case ingest.FaultTooLarge:
		status = http.StatusRequestEntityTooLarge
	case ingest.FaultForbidden:
		status = http.StatusForbidden
	case ingest.FaultNotFound:
		status = http.StatusNotFound
	case ingest.FaultConflict:
		status = http.StatusConflict
	}
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: Code(f.Code), ru: f.Detail}
}

// speak fills in what depends on who asks. It works on a copy, since a stored answer may be given again.
func (p *Problem) speak(acceptLanguage, requestID string) *Problem {
	out := *p
	s := sentences[p.Code]
	out.Detail = s.en
	if wantsRussian(acceptLanguage) {
		out.Detail = s.ru
		if p.ru != "" {
			out.Detail = p.ru
		}
	}
	if out.Detail == "" { // a code of ingest, whose own sentence is Russian
		out.Detail = englishOf(p.Status)
	}
	out.RequestID = requestID
	return &out
}

// englishOf says as much as the status does; the code says the rest.
func englishOf(status int) string {
	switch status {
	case http.StatusForbidden:
		return "This account may not do this here; the code says why."
	case http.StatusNotFound:
		return "Not found."
	case http.StatusConflict:
		return "It is not in a state for this, or not what was expected; the code says which."
	case http.StatusRequestEntityTooLarge:
		return "It is larger than allowed."
	}
	return "What was sent cannot be taken; the code says why."
}

// fromHuma maps the validator's findings. Its messages are kept only where they are made of our own schema; all others may
// quote the value and are replaced (huma puts decoding errors there, which do).
func fromHuma(m *huma.ErrorModel, known map[string]bool) *Problem {
	p := problem(codeOfStatus(m.Status))
	if p.Code == CodeInternal || p.Code == CodeTooLarge || p.Code == CodeTimeout {
		return p
	}
	for _, d := range m.Errors {
		if d == nil {
			continue
		}
		p.Errors = append(p.Errors, FieldFault{Location: safeLocation(d.Location, known), Detail: safeMessage(d.Message)})
	}
	return p
}

func codeOfStatus(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return CodeMalformed
	case http.StatusUnauthorized:
		return CodeUnauthorized
	case http.StatusForbidden:
		return CodeForbidden
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusRequestTimeout:
		return CodeTimeout
	case http.StatusRequestEntityTooLarge:
		return CodeTooLarge
	case http.StatusUnsupportedMediaType, http.StatusNotAcceptable:
		return CodeMediaType
	case http.StatusUnprocessableEntity:
		return CodeInvalid
	}
	return CodeInternal
}

// safeMessage lets through the validator's sentences whose variable part comes from the schema. "expected string to be …: %v"
// carry the parser's error, which quotes: they end at the colon.
func safeMessage(m string) string {
	switch {
	case strings.HasPrefix(m, "expected "):
		head, _, quoted := strings.Cut(m, ": ")
		if quoted && !strings.Contains(head, `"`) {
			return head
		}
		return m
	case m == "unexpected property", m == "unknown query parameter":
		return m
	case strings.HasPrefix(m, "required ") && strings.HasSuffix(m, " parameter is missing"):
		return m
	case strings.HasPrefix(m, "invalid integer"), strings.HasPrefix(m, "invalid boolean"), strings.HasPrefix(m, "invalid float"), strings.HasPrefix(m, "invalid number"):
		head, _, _ := strings.Cut(m, ":")
		return head
	}
	return "the value does not fit"
}

// safeLocation keeps the names our document knows and indexes; a name the caller made up may itself be a value.
func safeLocation(location string, known map[string]bool) string {
	if location == "" {
		return ""
	}
	segments := strings.Split(location, ".")
	for i, segment := range segments {
		name, index, _ := strings.Cut(segment, "[")
		if !known[name] || strings.Trim(index, "0123456789[]") != "" {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, ".")
}

// wantsRussian reads Accept-Language (RFC 9110 §12.5.4) only as far as needed: Russian is asked for and no other language we
// speak is asked for more.
func wantsRussian(header string) bool {
	ru, en := -1.0, -1.0
	for _, item := range strings.Split(header, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		q := quality(params)
		primary, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		switch primary {
		case "ru":
			ru = max(ru, q)
		case "en":
			en = max(en, q)
		}
	}
	return ru > 0 && ru >= en
}

func quality(params string) float64 {
	for _, param := range strings.Split(params, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(param), "q="); ok {
			q, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}

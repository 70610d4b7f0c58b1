package smpptest

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"ekc/smpp"
)

// Code is the behaviour a destination asks for: its last two digits when the seven digits of the subscriber's number are 00000NN
// (+7 9xx 000 00 NN). No operator gives such numbers out in a row, so an ordinary phone does not meet a behaviour by chance.
type Code uint8

// The codes, in groups of ten: the answer to submit_sm, the receipt, the way a receipt arrives, the link, the citizen's reply.
const (
	OK Code = 0

	ThrottledOnce      Code = 1
	QueueFullOnce      Code = 2
	SystemErrorOnce    Code = 3
	Throttled          Code = 4
	QueueFull          Code = 5
	SystemError        Code = 6
	InvalidDestination Code = 7
	InvalidSource      Code = 8
	SubmitFailed       Code = 9

	Undelivered          Code = 10
	Expired              Code = 11
	Rejected             Code = 12
	Deleted              Code = 13
	Unknown              Code = 14
	NoReceipt            Code = 15
	EnrouteDelivered     Code = 16
	AcceptedDelivered    Code = 17
	UndeliveredDelivered Code = 18
	DeliveredUndelivered Code = 19

	ReceiptFirst       Code = 20
	ReceiptTwice       Code = 21
	ReceiptOtherBase   Code = 22
	ReceiptLate        Code = 23
	ReceiptForeign     Code = 24
	LastSegmentLate    Code = 25
	SegmentUndelivered Code = 26
	SIMReplaced        Code = 27
	NoSuchNumber       Code = 28

	DropAfterSubmit   Code = 30
	DropWithoutTrace  Code = 31
	DropBeforeAccept  Code = 32
	NoResponse        Code = 33
	NoResponseNoTrace Code = 34
	SlowResponse      Code = 35
	Nack              Code = 36
	UnbindAfter       Code = 37
	SameSequence      Code = 38

	ReplyStop     Code = 40
	ReplyStopWord Code = 41
	ReplyYes      Code = 42
	ReplyLong     Code = 43
	ReplyLong16   Code = 44
	ReplyLongSAR  Code = 45
	ReplyEmpty    Code = 46
)

// Behaviour is one row of the table: what the SMS centre does with a message to such a number.
type Behaviour struct {
	Code    Code
	Name    string // slug, in Summary and in names of tests
	English string
	Russian string

	refuse smpp.Status // answer to submit_sm instead of ESME_ROK
	once   bool        // the misbehaviour is met by the first copy of a segment only; the next copy is treated as OK
	answer answer
	steps  []step // receipts, in the order they are scheduled
	reply  *reply
}

type answer uint8

const (
	answerNow          answer = iota
	answerAfterReceipt        // the receipt is offered at once, the response one slow step later
	answerSlow                // after Config.SlowResponse
	answerNever               // the link stays, the response does not come
	answerDrop                // accepted, then the connection closes instead of a response
	answerDropUnseen          // the connection closes and nothing was accepted
	answerNack                // generic_nack, nothing was accepted
	answerUnbind              // answered, then unbind from our side
)

type timing uint8

const (
	usual         timing = iota // Config.ReceiptDelay + jitter
	late                        // Config.LateReceipt
	lastLate                    // late for the last segment of a message, usual for the others
	afterPrevious               // usual, counted from the previous step's time
)

// step is one receipt of one segment.
type step struct {
	state     State
	err       uint16 // the err: field of the text and network_error_code
	when      timing
	otherBase bool  // message_id in the other numeral base than submit_sm_resp gave it
	foreign   bool  // message_id nobody was given
	same      bool  // deliver_sm takes the sequence_number of the submit_sm it answers
	only      State // when set: the state of the second segment (of the only one when there is one), the others get state
}

// reply is what the citizen writes back.
type reply struct {
	text   string
	concat Concat
}

// State is message_state, SMPP 3.4 §5.2.28.
type State uint8

// States a receipt can carry.
const (
	StateEnroute       State = 1
	StateDelivered     State = 2
	StateExpired       State = 3
	StateDeleted       State = 4
	StateUndeliverable State = 5
	StateAccepted      State = 6
	StateUnknown       State = 7
	StateRejected      State = 8
)

var stateWords = [...]string{"", "ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"}

// String is the word of the receipt's stat: field, SMPP 3.4 appendix B.
func (s State) String() string {
	if int(s) < len(stateWords) {
		return stateWords[s]
	}
	return fmt.Sprintf("STATE%d", uint8(s))
}

var delivered = []step{{state: StateDelivered}}

const longReply = "Здравствуйте, я получила ваше сообщение, но не понимаю, куда мне нужно прийти и какие документы взять с собой. " +
	"Живу одна, на третьем этаже, ходить тяжело. Перезвоните мне, пожалуйста, после обеда или напишите ещё раз подробнее. Спасибо вам большое!"

// behaviours is the one table; documentation and `ekc simulate smsc --help` print it.
var behaviours = []Behaviour{
	{Code: OK, Name: "ok", English: "accepted, receipt DELIVRD", Russian: "принято, квитанция DELIVRD", steps: delivered},

	{Code: ThrottledOnce, Name: "throttled_once", English: "ESME_RTHROTTLED once, then OK", Russian: "один раз ESME_RTHROTTLED, потом принято", refuse: smpp.StatusThrottled, once: true},
	{Code: QueueFullOnce, Name: "queue_full_once", English: "ESME_RMSGQFUL once, then OK", Russian: "один раз ESME_RMSGQFUL, потом принято", refuse: smpp.StatusMsgQFul, once: true},
	{Code: SystemErrorOnce, Name: "system_error_once", English: "ESME_RSYSERR once, then OK", Russian: "один раз ESME_RSYSERR, потом принято", refuse: smpp.StatusSysErr, once: true},
	{Code: Throttled, Name: "throttled", English: "ESME_RTHROTTLED every time", Russian: "всегда ESME_RTHROTTLED", refuse: smpp.StatusThrottled},
	{Code: QueueFull, Name: "queue_full", English: "ESME_RMSGQFUL every time", Russian: "всегда ESME_RMSGQFUL", refuse: smpp.StatusMsgQFul},
	{Code: SystemError, Name: "system_error", English: "ESME_RSYSERR every time", Russian: "всегда ESME_RSYSERR", refuse: smpp.StatusSysErr},
	{Code: InvalidDestination, Name: "invalid_destination", English: "ESME_RINVDSTADR", Russian: "отказ: неверный номер получателя (ESME_RINVDSTADR)", refuse: smpp.StatusInvDstAdr},
	{Code: InvalidSource, Name: "invalid_source", English: "ESME_RINVSRCADR", Russian: "отказ: неверный отправитель (ESME_RINVSRCADR)", refuse: smpp.StatusInvSrcAdr},
	{Code: SubmitFailed, Name: "submit_failed", English: "ESME_RSUBMITFAIL", Russian: "отказ: ESME_RSUBMITFAIL", refuse: smpp.StatusSubmitFail},

	{Code: Undelivered, Name: "undelivered", English: "receipt UNDELIV, err 006 (phone off)", Russian: "квитанция UNDELIV, err 006 (телефон выключен)", steps: []step{{state: StateUndeliverable, err: 6}}},
	{Code: Expired, Name: "expired", English: "receipt EXPIRED", Russian: "квитанция EXPIRED", steps: []step{{state: StateExpired}}},
	{Code: Rejected, Name: "rejected", English: "receipt REJECTD", Russian: "квитанция REJECTD", steps: []step{{state: StateRejected, err: 11}}},
	{Code: Deleted, Name: "deleted", English: "receipt DELETED", Russian: "квитанция DELETED", steps: []step{{state: StateDeleted}}},
	{Code: Unknown, Name: "unknown", English: "receipt UNKNOWN and nothing after it", Russian: "квитанция UNKNOWN, и больше ничего", steps: []step{{state: StateUnknown}}},
	{Code: NoReceipt, Name: "no_receipt", English: "accepted, no receipt ever", Russian: "принято, квитанции не будет"},
	{Code: EnrouteDelivered, Name: "enroute_delivered", English: "receipt ENROUTE, then DELIVRD", Russian: "квитанция ENROUTE, потом DELIVRD", steps: []step{{state: StateEnroute}, {state: StateDelivered, when: afterPrevious}}},
	{Code: AcceptedDelivered, Name: "accepted_delivered", English: "receipt ACCEPTD, then DELIVRD", Russian: "квитанция ACCEPTD, потом DELIVRD", steps: []step{{state: StateAccepted}, {state: StateDelivered, when: afterPrevious}}},
	{Code: UndeliveredDelivered, Name: "undelivered_delivered", English: "receipt UNDELIV, then DELIVRD: the end is raised", Russian: "квитанция UNDELIV, потом DELIVRD: итог повышается", steps: []step{{state: StateUndeliverable, err: 6}, {state: StateDelivered, when: afterPrevious}}},
	{Code: DeliveredUndelivered, Name: "delivered_undelivered", English: "receipt DELIVRD, then UNDELIV: the end is not lowered", Russian: "квитанция DELIVRD, потом UNDELIV: итог не понижается", steps: []step{{state: StateDelivered}, {state: StateUndeliverable, err: 6, when: afterPrevious}}},

	{Code: ReceiptFirst, Name: "receipt_first", English: "the receipt comes before submit_sm_resp", Russian: "квитанция раньше ответа submit_sm_resp", answer: answerAfterReceipt, steps: delivered},
	{Code: ReceiptTwice, Name: "receipt_twice", English: "the same receipt twice", Russian: "одна и та же квитанция дважды", steps: []step{{state: StateDelivered}, {state: StateDelivered, when: afterPrevious}}},
	{Code: ReceiptOtherBase, Name: "receipt_other_base", English: "message_id hexadecimal in the response and decimal in the receipt (or the reverse)", Russian: "message_id в ответе шестнадцатеричный, в квитанции десятичный (или наоборот)", steps: []step{{state: StateDelivered, otherBase: true}}},
	{Code: ReceiptLate, Name: "receipt_late", English: "the receipt is late", Russian: "квитанция опаздывает", steps: []step{{state: StateDelivered, when: late}}},
	{Code: ReceiptForeign, Name: "receipt_foreign", English: "a receipt with an id nobody was given, then the true one", Russian: "квитанция с чужим message_id, потом настоящая", steps: []step{{state: StateUndeliverable, foreign: true}, {state: StateDelivered, when: afterPrevious}}},
	{Code: LastSegmentLate, Name: "last_segment_late", English: "the receipt of the last segment is late", Russian: "квитанция последнего сегмента опаздывает", steps: []step{{state: StateDelivered, when: lastLate}}},
	{Code: SegmentUndelivered, Name: "segment_undelivered", English: "the second segment UNDELIV, the others DELIVRD", Russian: "второй сегмент UNDELIV, остальные DELIVRD", steps: []step{{state: StateDelivered, only: StateUndeliverable, err: 6}}},
	{Code: SIMReplaced, Name: "sim_replaced", English: "receipt UNDELIV, err 219 (SIM replaced, 24 h block)", Russian: "квитанция UNDELIV, err 219 (замена SIM, запрет на сутки)", steps: []step{{state: StateUndeliverable, err: 219}}},
	{Code: NoSuchNumber, Name: "no_such_number", English: "receipt UNDELIV, err 001 (no such number)", Russian: "квитанция UNDELIV, err 001 (номер не существует)", steps: []step{{state: StateUndeliverable, err: 1}}},

	{Code: DropAfterSubmit, Name: "drop_after_submit", English: "accepted, the link closes instead of a response (once); the receipt comes at the next bind", Russian: "принято, но вместо ответа связь рвётся (один раз); квитанция придёт после нового bind", answer: answerDrop, once: true, steps: delivered},
	{Code: DropWithoutTrace, Name: "drop_without_trace", English: "accepted, the link closes instead of a response (once), no receipt for this copy", Russian: "принято, но вместо ответа связь рвётся (один раз), квитанции на этот экземпляр нет", answer: answerDrop, once: true},
	{Code: DropBeforeAccept, Name: "drop_before_accept", English: "not accepted, the link closes instead of a response (once)", Russian: "не принято, вместо ответа связь рвётся (один раз)", answer: answerDropUnseen, once: true},
	{Code: NoResponse, Name: "no_response", English: "accepted, no submit_sm_resp, the receipt comes", Russian: "принято, ответа нет, квитанция приходит", answer: answerNever, steps: delivered},
	{Code: NoResponseNoTrace, Name: "no_response_no_trace", English: "accepted, no submit_sm_resp and no receipt (once)", Russian: "принято, нет ни ответа, ни квитанции (один раз)", answer: answerNever, once: true},
	{Code: SlowResponse, Name: "slow_response", English: "the response is slow", Russian: "ответ приходит с задержкой", answer: answerSlow, steps: delivered},
	{Code: Nack, Name: "nack", English: "generic_nack", Russian: "generic_nack", answer: answerNack},
	{Code: UnbindAfter, Name: "unbind_after", English: "accepted, then unbind from the SMS centre; the receipt comes at the next bind", Russian: "принято, затем SMSC присылает unbind; квитанция после нового bind", answer: answerUnbind, steps: delivered},
	{Code: SameSequence, Name: "same_sequence", English: "the receipt comes before the response and under the same sequence_number", Russian: "квитанция раньше ответа и с тем же sequence_number", answer: answerAfterReceipt, steps: []step{{state: StateDelivered, same: true}}},

	{Code: ReplyStop, Name: "reply_stop", English: "delivered, the citizen writes СТОП", Russian: "доставлено, гражданин отвечает СТОП", steps: delivered, reply: &reply{text: "СТОП"}},
	{Code: ReplyStopWord, Name: "reply_stop_word", English: "delivered, the citizen writes « stop. » in Latin letters", Russian: "доставлено, гражданин отвечает « stop. » латиницей", steps: delivered, reply: &reply{text: " stop. "}},
	{Code: ReplyYes, Name: "reply_yes", English: "delivered, the citizen writes Да", Russian: "доставлено, гражданин отвечает Да", steps: delivered, reply: &reply{text: "Да"}},
	{Code: ReplyLong, Name: "reply_long", English: "delivered, a long reply, segments out of order, UDH with 8-bit reference", Russian: "доставлено, длинный ответ сегментами не по порядку, UDH с 8-битной ссылкой", steps: delivered, reply: &reply{text: longReply, concat: UDH8}},
	{Code: ReplyLong16, Name: "reply_long_16", English: "the same, UDH with 16-bit reference", Russian: "то же, UDH с 16-битной ссылкой", steps: delivered, reply: &reply{text: longReply, concat: UDH16}},
	{Code: ReplyLongSAR, Name: "reply_long_sar", English: "the same, sar_* parameters", Russian: "то же, параметры sar_*", steps: delivered, reply: &reply{text: longReply, concat: SAR}},
	{Code: ReplyEmpty, Name: "reply_empty", English: "delivered, the citizen sends an empty SMS", Russian: "доставлено, гражданин присылает пустое SMS", steps: delivered, reply: &reply{}},
}

// BindRefusal is a system_id that is never let in.
type BindRefusal struct {
	SystemID string
	English  string
	Russian  string

	status smpp.Status
	silent bool // the bind is not answered at all
	drop   bool // the connection closes instead of an answer
}

var bindRefusals = []BindRefusal{
	{SystemID: "refuse-passwd", English: "ESME_RINVPASWD", Russian: "неверный пароль (ESME_RINVPASWD)", status: smpp.StatusInvPaswd},
	{SystemID: "refuse-sysid", English: "ESME_RINVSYSID", Russian: "неизвестный system_id (ESME_RINVSYSID)", status: smpp.StatusInvSysID},
	{SystemID: "refuse-alybnd", English: "ESME_RALYBND", Russian: "уже привязан (ESME_RALYBND)", status: smpp.StatusAlyBnd},
	{SystemID: "refuse-bindfail", English: "ESME_RBINDFAIL", Russian: "bind не удался (ESME_RBINDFAIL)", status: smpp.StatusBindFail},
	{SystemID: "refuse-syserr", English: "ESME_RSYSERR", Russian: "системная ошибка (ESME_RSYSERR)", status: smpp.StatusSysErr},
	{SystemID: "refuse-throttled", English: "ESME_RTHROTTLED", Russian: "слишком частые bind (ESME_RTHROTTLED)", status: smpp.StatusThrottled},
	{SystemID: "refuse-silent", English: "no answer", Russian: "bind остаётся без ответа", silent: true},
	{SystemID: "refuse-drop", English: "the connection closes", Russian: "соединение закрывается", drop: true},
}

// Behaviours is the table, in order of codes.
func Behaviours() []Behaviour { return append([]Behaviour(nil), behaviours...) }

// BindRefusals are the system_ids that are refused, each in its way.
func BindRefusals() []BindRefusal { return append([]BindRefusal(nil), bindRefusals...) }

// CodeOf reads the behaviour out of a destination in any usual spelling (+79001230000, 79…, 89…, 9…); OK when it asks for none.
func CodeOf(destination string) Code {
	n, ok := packDigits([]byte(strings.TrimPrefix(destination, "+")))
	if !ok {
		return OK
	}
	return codeOf(n)
}

func codeOf(n uint64) Code {
	code := n % 10_000_000 // the seven digits after the operator's three
	if code >= 100 || int(code) >= len(byCode) || byCode[code] == nil {
		return OK
	}
	head := n / 10_000_000 // packDigits puts a 1 before the first digit
	switch {
	case head >= 17_900 && head <= 17_999, head >= 18_900 && head <= 18_999, head >= 1_900 && head <= 1_999:
		return Code(code)
	}
	return OK
}

// Number is a destination that asks for the code; operator is the three digits 900 to 999, so that each code has a hundred numbers.
func Number(operator int, code Code) string {
	return fmt.Sprintf("7%03d00000%02d", 900+operator%100, code)
}

var byCode = func() (t [50]*Behaviour) {
	for i := range behaviours {
		t[behaviours[i].Code] = &behaviours[i]
	}
	return t
}()

func behaviourOf(n uint64) *Behaviour { return byCode[codeOf(n)] }

func refusalOf(systemID string) *BindRefusal {
	for i := range bindRefusals {
		if bindRefusals[i].SystemID == systemID {
			return &bindRefusals[i]
		}
	}
	return nil
}

// WriteTable prints both tables for people, in Russian, or in English when english is set.
func WriteTable(w io.Writer, english bool) error {
	number, system, pick := "Номер", "system_id", func(e, r string) string { return r }
	what := "Что делает SMSC"
	if english {
		number, what, pick = "Number", "What the SMS centre does", func(e, r string) string { return e }
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s\n", number, what)
	for _, b := range behaviours {
		fmt.Fprintf(t, "+7 9xx 000 00 %02d\t%s\n", b.Code, pick(b.English, b.Russian))
	}
	fmt.Fprintf(t, "\n%s\t\n", system)
	for _, r := range bindRefusals {
		fmt.Fprintf(t, "%s\t%s\n", r.SystemID, pick(r.English, r.Russian))
	}
	return t.Flush()
}

// packDigits keeps up to 18 digits, leading zeros included, in one number: 1 followed by them.
func packDigits(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := uint64(1)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// appendDigits writes back what packDigits packed.
func appendDigits(b []byte, n uint64) []byte {
	var d [20]byte
	i := len(d)
	for n > 1 {
		i--
		d[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, d[i:]...)
}

package smpp

import (
	"fmt"
	"strconv"
	"strings"
)

// Status is command_status (SMPP 3.4 §5.1.3).
type Status uint32

const (
	StatusOK            Status = 0x00000000
	StatusInvMsgLen     Status = 0x00000001
	StatusInvCmdLen     Status = 0x00000002
	StatusInvCmdID      Status = 0x00000003
	StatusInvBndSts     Status = 0x00000004
	StatusAlyBnd        Status = 0x00000005
	StatusInvPrtFlg     Status = 0x00000006
	StatusInvRegDlvFlg  Status = 0x00000007
	StatusSysErr        Status = 0x00000008
	StatusInvSrcAdr     Status = 0x0000000A
	StatusInvDstAdr     Status = 0x0000000B
	StatusInvMsgID      Status = 0x0000000C
	StatusBindFail      Status = 0x0000000D
	StatusInvPaswd      Status = 0x0000000E
	StatusInvSysID      Status = 0x0000000F
	StatusCancelFail    Status = 0x00000011
	StatusReplaceFail   Status = 0x00000013
	StatusMsgQFul       Status = 0x00000014
	StatusInvSerTyp     Status = 0x00000015
	StatusInvNumDests   Status = 0x00000033
	StatusInvDLName     Status = 0x00000034
	StatusInvDestFlag   Status = 0x00000040
	StatusInvSubRep     Status = 0x00000042
	StatusInvESMClass   Status = 0x00000043
	StatusCntSubDL      Status = 0x00000044
	StatusSubmitFail    Status = 0x00000045
	StatusInvSrcTON     Status = 0x00000048
	StatusInvSrcNPI     Status = 0x00000049
	StatusInvDstTON     Status = 0x00000050
	StatusInvDstNPI     Status = 0x00000051
	StatusInvSysTyp     Status = 0x00000053
	StatusInvRepFlag    Status = 0x00000054
	StatusInvNumMsgs    Status = 0x00000055
	StatusThrottled     Status = 0x00000058
	StatusInvSched      Status = 0x00000061
	StatusInvExpiry     Status = 0x00000062
	StatusInvDftMsgID   Status = 0x00000063
	StatusTempAppErr    Status = 0x00000064 // ESME_RX_T_APPN
	StatusPermAppErr    Status = 0x00000065 // ESME_RX_P_APPN
	StatusRejectAppErr  Status = 0x00000066 // ESME_RX_R_APPN
	StatusQueryFail     Status = 0x00000067
	StatusInvOptParStrm Status = 0x000000C0
	StatusOptParNotAllw Status = 0x000000C1
	StatusInvParLen     Status = 0x000000C2
	StatusMissingOptPar Status = 0x000000C3
	StatusInvOptParVal  Status = 0x000000C4
	StatusDeliveryFail  Status = 0x000000FE
	StatusUnknownErr    Status = 0x000000FF
)

// Verdict says what became of a segment, and so what its sender may do.
type Verdict string

const (
	// Accepted: the SMSC took it and named it.
	Accepted Verdict = "accepted"
	// Temporary: not taken, may be sent again later.
	Temporary Verdict = "temporary"
	// TemporaryTail: not taken because a queue is full there; may be sent again behind all others, and a few times only.
	TemporaryTail Verdict = "temporary_tail"
	// Throttle: the link is to slow down. Never reported: the link pauses and sends the segment again, and after MaxThrottled
	// refusals reports it Temporary.
	Throttle Verdict = "throttle"
	// Permanent: refused for what this message is.
	Permanent Verdict = "permanent"
	// Misconfigured: refused for what the account or its settings are; every message of the kind will be, until a person mends it.
	Misconfigured Verdict = "misconfigured"
	// Uncertain: written, and nobody can say whether it was taken.
	Uncertain Verdict = "uncertain"
	// NotSent: never written, through no fault of its own; may go anywhere at once.
	NotSent Verdict = "not_sent"
	// Withheld: never written because Before said no, or because its validity had passed.
	Withheld Verdict = "withheld"
)

// Reason says why, in one word from the list below.
type Reason string

const (
	ReasonNone           Reason = ""
	ReasonInvalidNumber  Reason = "invalid_number"
	ReasonInvalidSender  Reason = "invalid_sender"
	ReasonInvalidMessage Reason = "invalid_message"
	ReasonInvalidExpiry  Reason = "invalid_validity"
	ReasonMessageTooLong Reason = "message_too_long"
	ReasonQueueFull      Reason = "queue_full"
	ReasonThrottled      Reason = "throttled"
	ReasonSystemError    Reason = "smsc_system_error"
	ReasonSubmitFailed   Reason = "submit_failed"
	ReasonTemporaryError Reason = "smsc_temporary_error"
	ReasonPermanentError Reason = "smsc_permanent_error"
	ReasonRejected       Reason = "rejected"
	ReasonAccount        Reason = "account_refused"
	ReasonNotBound       Reason = "not_bound"
	ReasonUnknownStatus  Reason = "unknown_status"
	ReasonProtocol       Reason = "protocol_error"

	ReasonNoResponse Reason = "no_response"
	ReasonLinkLost   Reason = "link_lost"
	ReasonNoRoom     Reason = "no_room"
	ReasonDraining   Reason = "draining"
	ReasonFenced     Reason = "fenced"
	ReasonHeldBack   Reason = "held_back"
	ReasonOutOfTime  Reason = "out_of_time"

	ReasonUndelivered      Reason = "undelivered"
	ReasonExpired          Reason = "expired"
	ReasonDeleted          Reason = "deleted"
	ReasonAbsentSubscriber Reason = "absent_subscriber"
	ReasonUnknownNumber    Reason = "unknown_number"
	ReasonBarred           Reason = "barred"
	ReasonPhoneError       Reason = "phone_error"
	ReasonSIMReplaced      Reason = "sim_replaced"
	ReasonNoService        Reason = "no_service"
	ReasonOptedOut         Reason = "opted_out"
)

// Reasons is the closed list, in the order above, without ReasonNone.
func Reasons() []Reason {
	return []Reason{
		ReasonInvalidNumber, ReasonInvalidSender, ReasonInvalidMessage, ReasonInvalidExpiry, ReasonMessageTooLong, ReasonQueueFull,
		ReasonThrottled, ReasonSystemError, ReasonSubmitFailed, ReasonTemporaryError, ReasonPermanentError, ReasonRejected,
		ReasonAccount, ReasonNotBound, ReasonUnknownStatus, ReasonProtocol, ReasonNoResponse, ReasonLinkLost, ReasonNoRoom,
		ReasonDraining, ReasonFenced, ReasonHeldBack, ReasonOutOfTime, ReasonUndelivered, ReasonExpired, ReasonDeleted,
		ReasonAbsentSubscriber, ReasonUnknownNumber, ReasonBarred, ReasonPhoneError, ReasonSIMReplaced, ReasonNoService,
		ReasonOptedOut,
	}
}

// meaning is one row of the table of statuses.
type meaning struct {
	status  Status
	name    string
	verdict Verdict
	reason  Reason
}

// meanings is what each command_status says about a submit_sm. ESME_RSUBMITFAIL and ESME_RSYSERR name no cause, so they are
// worth another try, which their sender caps.
var meanings = [...]meaning{
	{StatusOK, "ESME_ROK", Accepted, ReasonNone},
	{StatusInvMsgLen, "ESME_RINVMSGLEN", Permanent, ReasonMessageTooLong},
	{StatusInvCmdLen, "ESME_RINVCMDLEN", Permanent, ReasonProtocol},
	{StatusInvCmdID, "ESME_RINVCMDID", Misconfigured, ReasonProtocol},
	{StatusInvBndSts, "ESME_RINVBNDSTS", Temporary, ReasonNotBound},
	{StatusAlyBnd, "ESME_RALYBND", Temporary, ReasonAccount},
	{StatusInvPrtFlg, "ESME_RINVPRTFLG", Misconfigured, ReasonProtocol},
	{StatusInvRegDlvFlg, "ESME_RINVREGDLVFLG", Misconfigured, ReasonProtocol},
	{StatusSysErr, "ESME_RSYSERR", Temporary, ReasonSystemError},
	{StatusInvSrcAdr, "ESME_RINVSRCADR", Misconfigured, ReasonInvalidSender},
	{StatusInvDstAdr, "ESME_RINVDSTADR", Permanent, ReasonInvalidNumber},
	{StatusInvMsgID, "ESME_RINVMSGID", Permanent, ReasonProtocol},
	{StatusBindFail, "ESME_RBINDFAIL", Temporary, ReasonAccount},
	{StatusInvPaswd, "ESME_RINVPASWD", Misconfigured, ReasonAccount},
	{StatusInvSysID, "ESME_RINVSYSID", Misconfigured, ReasonAccount},
	{StatusCancelFail, "ESME_RCANCELFAIL", Permanent, ReasonProtocol},
	{StatusReplaceFail, "ESME_RREPLACEFAIL", Permanent, ReasonProtocol},
	{StatusMsgQFul, "ESME_RMSGQFUL", TemporaryTail, ReasonQueueFull},
	{StatusInvSerTyp, "ESME_RINVSERTYP", Misconfigured, ReasonAccount},
	{StatusInvNumDests, "ESME_RINVNUMDESTS", Permanent, ReasonProtocol},
	{StatusInvDLName, "ESME_RINVDLNAME", Permanent, ReasonProtocol},
	{StatusInvDestFlag, "ESME_RINVDESTFLAG", Permanent, ReasonProtocol},
	{StatusInvSubRep, "ESME_RINVSUBREP", Permanent, ReasonProtocol},
	{StatusInvESMClass, "ESME_RINVESMCLASS", Misconfigured, ReasonInvalidMessage},
	{StatusCntSubDL, "ESME_RCNTSUBDL", Permanent, ReasonProtocol},
	{StatusSubmitFail, "ESME_RSUBMITFAIL", Temporary, ReasonSubmitFailed},
	{StatusInvSrcTON, "ESME_RINVSRCTON", Misconfigured, ReasonInvalidSender},
	{StatusInvSrcNPI, "ESME_RINVSRCNPI", Misconfigured, ReasonInvalidSender},
	{StatusInvDstTON, "ESME_RINVDSTTON", Misconfigured, ReasonInvalidNumber},
	{StatusInvDstNPI, "ESME_RINVDSTNPI", Misconfigured, ReasonInvalidNumber},
	{StatusInvSysTyp, "ESME_RINVSYSTYP", Misconfigured, ReasonAccount},
	{StatusInvRepFlag, "ESME_RINVREPFLAG", Misconfigured, ReasonProtocol},
	{StatusInvNumMsgs, "ESME_RINVNUMMSGS", Permanent, ReasonProtocol},
	{StatusThrottled, "ESME_RTHROTTLED", Throttle, ReasonThrottled},
	{StatusInvSched, "ESME_RINVSCHED", Permanent, ReasonInvalidExpiry},
	{StatusInvExpiry, "ESME_RINVEXPIRY", Permanent, ReasonInvalidExpiry},
	{StatusInvDftMsgID, "ESME_RINVDFTMSGID", Misconfigured, ReasonProtocol},
	{StatusTempAppErr, "ESME_RX_T_APPN", Temporary, ReasonTemporaryError},
	{StatusPermAppErr, "ESME_RX_P_APPN", Permanent, ReasonPermanentError},
	{StatusRejectAppErr, "ESME_RX_R_APPN", Permanent, ReasonRejected},
	{StatusQueryFail, "ESME_RQUERYFAIL", Permanent, ReasonProtocol},
	{StatusInvOptParStrm, "ESME_RINVOPTPARSTREAM", Misconfigured, ReasonProtocol},
	{StatusOptParNotAllw, "ESME_ROPTPARNOTALLWD", Misconfigured, ReasonProtocol},
	{StatusInvParLen, "ESME_RINVPARLEN", Permanent, ReasonInvalidMessage},
	{StatusMissingOptPar, "ESME_RMISSINGOPTPARAM", Misconfigured, ReasonProtocol},
	{StatusInvOptParVal, "ESME_RINVOPTPARAMVAL", Misconfigured, ReasonProtocol},
	{StatusDeliveryFail, "ESME_RDELIVERYFAILURE", Permanent, ReasonUndelivered},
	{StatusUnknownErr, "ESME_RUNKNOWNERR", Temporary, ReasonSystemError},
}

func lookup(s Status) (meaning, bool) {
	for i := range meanings {
		if meanings[i].status == s {
			return meanings[i], true
		}
	}
	return meaning{}, false
}

// String is the name of the standard ("ESME_RTHROTTLED"), or the number in hexadecimal for an operator's own status.
func (s Status) String() string {
	if m, ok := lookup(s); ok {
		return m.name
	}
	return fmt.Sprintf("0x%08X", uint32(s))
}

// Verdict is what the status says about a submit_sm by the standard. A status the standard does not have (operators keep 0x400 to
// 0x4FF for theirs) is temporary: it is worth another try, and its sender caps the tries.
func (s Status) Verdict() (Verdict, Reason) {
	if m, ok := lookup(s); ok {
		return m.verdict, m.reason
	}
	return Temporary, ReasonUnknownStatus
}

// ErrorMap is one account's own reading of codes, over the standard's.
type ErrorMap struct {
	statuses map[Status]meaning
	receipts map[string]Reason
}

// ParseErrorMap reads the setting error_map. A key is a command_status ("ESME_RSUBMITFAIL", "0x45", "1025") with a value
// "verdict" or "verdict reason" ("permanent invalid_number"), or a receipt's error code ("err 219") with a value "reason"
// ("sim_replaced"). It reports all faults at once, as one error.
func ParseErrorMap(settings map[string]string) (ErrorMap, error) {
	m := ErrorMap{statuses: map[Status]meaning{}, receipts: map[string]Reason{}}
	var faults []string
	for key, value := range settings {
		if err := m.add(key, value); err != nil {
			faults = append(faults, fmt.Sprintf("%q: %v", key, err))
		}
	}
	if len(faults) > 0 {
		return ErrorMap{}, fmt.Errorf("error_map: %s", strings.Join(faults, "; "))
	}
	return m, nil
}

func (m *ErrorMap) add(key, value string) error {
	if code, ok := strings.CutPrefix(key, "err "); ok {
		reason, err := parseReason(value)
		if err != nil {
			return err
		}
		m.receipts[trimCode(code)] = reason
		return nil
	}
	status, err := ParseStatus(key)
	if err != nil {
		return err
	}
	word, slug, _ := strings.Cut(value, " ")
	verdict := Verdict(word)
	switch verdict {
	case Temporary, TemporaryTail, Throttle, Permanent, Misconfigured:
	default:
		return fmt.Errorf("verdict %q is not temporary, temporary_tail, throttle, permanent or misconfigured", word)
	}
	_, reason := status.Verdict()
	if slug != "" {
		if reason, err = parseReason(slug); err != nil {
			return err
		}
	}
	m.statuses[status] = meaning{status: status, verdict: verdict, reason: reason}
	return nil
}

// ParseStatus reads a status by its name or number, "0x58" or decimal.
func ParseStatus(s string) (Status, error) {
	s = strings.TrimSpace(s)
	for i := range meanings {
		if meanings[i].name == s {
			return meanings[i].status, nil
		}
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a command_status", s)
	}
	return Status(n), nil
}

func parseReason(s string) (Reason, error) {
	for _, r := range Reasons() {
		if string(r) == strings.TrimSpace(s) {
			return r, nil
		}
	}
	return "", fmt.Errorf("reason %q is not one of %v", s, Reasons())
}

// Verdict is what the account's status says about a submit_sm. ESME_ROK cannot be read otherwise.
func (m ErrorMap) Verdict(s Status) (Verdict, Reason) {
	if s == StatusOK {
		return Accepted, ReasonNone
	}
	if own, ok := m.statuses[s]; ok {
		return own.verdict, own.reason
	}
	return s.Verdict()
}

// receiptReason is the account's word for a receipt's error code.
func (m ErrorMap) receiptReason(code string) (Reason, bool) {
	r, ok := m.receipts[trimCode(code)]
	return r, ok
}

// trimCode makes "021" and "21" one code.
func trimCode(code string) string {
	code = strings.TrimSpace(code)
	if t := strings.TrimLeft(code, "0"); t != "" || code == "" {
		return t
	}
	return "0"
}

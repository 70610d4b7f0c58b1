package smpp

import (
	"strings"
	"testing"
)

// TestEveryStatusHasARow names each status of SMPP 3.4 §5.1.3 with what it does to a message.
func TestEveryStatusHasARow(t *testing.T) {
	t.Parallel()
	rows := []struct {
		status  Status
		name    string
		verdict Verdict
		reason  Reason
	}{
		{0x00, "ESME_ROK", Accepted, ""},
		{0x01, "ESME_RINVMSGLEN", Permanent, "message_too_long"},
		{0x02, "ESME_RINVCMDLEN", Permanent, "protocol_error"},
		{0x03, "ESME_RINVCMDID", Misconfigured, "protocol_error"},
		{0x04, "ESME_RINVBNDSTS", Temporary, "not_bound"},
		{0x05, "ESME_RALYBND", Temporary, "account_refused"},
		{0x06, "ESME_RINVPRTFLG", Misconfigured, "protocol_error"},
		{0x07, "ESME_RINVREGDLVFLG", Misconfigured, "protocol_error"},
		{0x08, "ESME_RSYSERR", Temporary, "smsc_system_error"},
		{0x0A, "ESME_RINVSRCADR", Misconfigured, "invalid_sender"},
		{0x0B, "ESME_RINVDSTADR", Permanent, "invalid_number"},
		{0x0C, "ESME_RINVMSGID", Permanent, "protocol_error"},
		{0x0D, "ESME_RBINDFAIL", Temporary, "account_refused"},
		{0x0E, "ESME_RINVPASWD", Misconfigured, "account_refused"},
		{0x0F, "ESME_RINVSYSID", Misconfigured, "account_refused"},
		{0x11, "ESME_RCANCELFAIL", Permanent, "protocol_error"},
		{0x13, "ESME_RREPLACEFAIL", Permanent, "protocol_error"},
		{0x14, "ESME_RMSGQFUL", TemporaryTail, "queue_full"},
		{0x15, "ESME_RINVSERTYP", Misconfigured, "account_refused"},
		{0x33, "ESME_RINVNUMDESTS", Permanent, "protocol_error"},
		{0x34, "ESME_RINVDLNAME", Permanent, "protocol_error"},
		{0x40, "ESME_RINVDESTFLAG", Permanent, "protocol_error"},
		{0x42, "ESME_RINVSUBREP", Permanent, "protocol_error"},
		{0x43, "ESME_RINVESMCLASS", Misconfigured, "invalid_message"},
		{0x44, "ESME_RCNTSUBDL", Permanent, "protocol_error"},
		{0x45, "ESME_RSUBMITFAIL", Temporary, "submit_failed"},
		{0x48, "ESME_RINVSRCTON", Misconfigured, "invalid_sender"},
		{0x49, "ESME_RINVSRCNPI", Misconfigured, "invalid_sender"},
		{0x50, "ESME_RINVDSTTON", Misconfigured, "invalid_number"},
		{0x51, "ESME_RINVDSTNPI", Misconfigured, "invalid_number"},
		{0x53, "ESME_RINVSYSTYP", Misconfigured, "account_refused"},
		{0x54, "ESME_RINVREPFLAG", Misconfigured, "protocol_error"},
		{0x55, "ESME_RINVNUMMSGS", Permanent, "protocol_error"},
		{0x58, "ESME_RTHROTTLED", Throttle, "throttled"},
		{0x61, "ESME_RINVSCHED", Permanent, "invalid_validity"},
		{0x62, "ESME_RINVEXPIRY", Permanent, "invalid_validity"},
		{0x63, "ESME_RINVDFTMSGID", Misconfigured, "protocol_error"},
		{0x64, "ESME_RX_T_APPN", Temporary, "smsc_temporary_error"},
		{0x65, "ESME_RX_P_APPN", Permanent, "smsc_permanent_error"},
		{0x66, "ESME_RX_R_APPN", Permanent, "rejected"},
		{0x67, "ESME_RQUERYFAIL", Permanent, "protocol_error"},
		{0xC0, "ESME_RINVOPTPARSTREAM", Misconfigured, "protocol_error"},
		{0xC1, "ESME_ROPTPARNOTALLWD", Misconfigured, "protocol_error"},
		{0xC2, "ESME_RINVPARLEN", Permanent, "invalid_message"},
		{0xC3, "ESME_RMISSINGOPTPARAM", Misconfigured, "protocol_error"},
		{0xC4, "ESME_RINVOPTPARAMVAL", Misconfigured, "protocol_error"},
		{0xFE, "ESME_RDELIVERYFAILURE", Permanent, "undelivered"},
		{0xFF, "ESME_RUNKNOWNERR", Temporary, "smsc_system_error"},
	}
	known := map[Status]bool{}
	for _, r := range rows {
		known[r.status] = true
		verdict, reason := r.status.Verdict()
		if r.status.String() != r.name || verdict != r.verdict || reason != r.reason {
			t.Errorf("0x%02X: %s %s %s, not %s %s %s", uint32(r.status), r.status, verdict, reason, r.name, r.verdict, r.reason)
		}
		if back, err := ParseStatus(r.name); err != nil || back != r.status {
			t.Errorf("%s is read as %v, %v", r.name, back, err)
		}
	}
	for i := range meanings {
		if !known[meanings[i].status] {
			t.Errorf("%s has no row in this test", meanings[i].name)
		}
	}
	if v, r := Status(0x401).Verdict(); v != Temporary || r != ReasonUnknownStatus || Status(0x401).String() != "0x00000401" {
		t.Errorf("an operator's own status: %s %s", v, r)
	}
}

func TestReasonsAreClosed(t *testing.T) {
	t.Parallel()
	listed := map[Reason]bool{ReasonNone: true}
	for _, r := range Reasons() {
		if listed[r] {
			t.Errorf("%s twice", r)
		}
		listed[r] = true
	}
	for i := range meanings {
		if !listed[meanings[i].reason] {
			t.Errorf("%s is not in the list", meanings[i].reason)
		}
	}
}

func TestErrorMap(t *testing.T) {
	t.Parallel()
	m, err := ParseErrorMap(map[string]string{
		"0x45": "permanent barred", "ESME_RSYSERR": "temporary_tail", "1025": "throttle", "0": "permanent", "err 13": "barred",
	})
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[Status][2]string{
		0x45: {"permanent", "barred"}, 0x08: {"temporary_tail", "smsc_system_error"}, 0x401: {"throttle", "unknown_status"},
		0x0B: {"permanent", "invalid_number"}, 0: {"accepted", ""},
	} {
		if v, r := m.Verdict(status); string(v) != want[0] || string(r) != want[1] {
			t.Errorf("%v: %s %s", status, v, r)
		}
	}
	if r, ok := m.receiptReason("013"); !ok || r != ReasonBarred {
		t.Errorf("err 013: %q", r)
	}
	_, err = ParseErrorMap(map[string]string{"ESME_NONSENSE": "permanent", "0x45": "maybe", "err 1": "because", "0x08": "permanent because"})
	if err == nil {
		t.Fatal("faults were taken")
	}
	for _, want := range []string{"ESME_NONSENSE", "maybe", "because", "0x08"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in %v", want, err)
		}
	}
}

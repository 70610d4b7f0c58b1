package dispatch

// AttemptState is how far one attempt got. The order is the meaning: the highest seen stands, so the order in which receipts
// arrive does not matter. The numbers are stored; they never change.
type AttemptState int16

const (
	AttemptClaimed     AttemptState = 1
	AttemptUncertain   AttemptState = 2 // the link or the process died before the far side answered
	AttemptRefused     AttemptState = 3 // submit_sm_resp with an error; for a call: no far side that could answer
	AttemptAccepted    AttemptState = 4 // for a call: answered
	AttemptExpired     AttemptState = 5
	AttemptUndelivered AttemptState = 6 // for a call: busy, no answer, declined
	AttemptDelivered   AttemptState = 7 // for a call: the essential part was heard
)

var attemptStates = [...]string{1: "claimed", "uncertain", "refused", "accepted", "expired", "undelivered", "delivered"}

func (s AttemptState) String() string {
	if s > 0 && int(s) < len(attemptStates) {
		return attemptStates[s]
	}
	return "unknown"
}

// State is what is known of a notification. From Suppressed on it is an end; a later receipt raises an end, nothing lowers it.
// The numbers are stored (outcomes.state, list_counters.state); they never change.
type State int16

const (
	Pending     State = 0
	Accepted    State = 1 // on its way: accepted by the far side, no receipt yet
	Uncertain   State = 2 // may have left; waits for a late receipt or for its policy
	Suppressed  State = 3
	Cancelled   State = 4
	OutOfTime   State = 5
	Refused     State = 6
	Unconfirmed State = 7 // accepted, and no receipt came by the give-up time
	Expired     State = 8
	Undelivered State = 9
	Delivered   State = 10
)

var states = [...]string{"pending", "accepted", "uncertain", "suppressed", "cancelled", "out_of_time", "refused", "unconfirmed",
	"expired", "undelivered", "delivered"}

// States lists every state in stored order.
func States() []State {
	all := make([]State, len(states))
	for i := range all {
		all[i] = State(i)
	}
	return all
}

func (s State) String() string {
	if s >= 0 && int(s) < len(states) {
		return states[s]
	}
	return "unknown"
}

// MarshalText writes the contract's word for the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseState reads the contract's word for a state.
func ParseState(word string) (State, bool) {
	for i, w := range states {
		if w == word {
			return State(i), true
		}
	}
	return 0, false
}

// Final says that nothing more is to be done for the notification.
func (s State) Final() bool { return s >= Suppressed }

// endOf is the end a notification comes to when its last attempt ended so.
func endOf(a AttemptState) State {
	switch a {
	case AttemptDelivered:
		return Delivered
	case AttemptUndelivered:
		return Undelivered
	case AttemptExpired:
		return Expired
	case AttemptAccepted:
		return Unconfirmed
	default:
		return Refused
	}
}

// Verdict is what a result means for the row that waits in the outbox.
type Verdict uint8

const (
	VerdictAccepted  Verdict = iota + 1 // the far side took it; receipts follow
	VerdictDelivered                    // the far side took it and that is the end of it (a call that was heard)
	VerdictTemporary                    // try again later, by the rule for its reason
	VerdictPermanent                    // this channel will not do: the next one of the plan, or the end
	VerdictUncertain                    // it may have left
	VerdictWithheld                     // not written: the row stays as it was
)

func (v Verdict) String() string {
	words := [...]string{"", "accepted", "delivered", "temporary", "permanent", "uncertain", "withheld"}
	if int(v) < len(words) {
		return words[v]
	}
	return "unknown"
}

// Reason is a slug from a closed list, the same in history, metrics and logs: the ones below, and those of each channel's wire
// (smpp.Reasons). The catalogue has a Russian title for every one.
type Reason string

const (
	ReasonNone        Reason = ""
	ReasonOptOut      Reason = "opt_out"
	ReasonDuplicate   Reason = "duplicate" // an earlier notification tells the same
	ReasonCap         Reason = "cap"
	ReasonWindow      Reason = "window" // of a wait, never of an end
	ReasonGap         Reason = "gap"    // of a wait, never of an end
	ReasonPilot       Reason = "pilot"  // not on the pilot\'s allow list
	ReasonValidUntil  Reason = "valid_until"
	ReasonCancelled   Reason = "cancelled"
	ReasonLandline    Reason = "landline"
	ReasonUnreadable  Reason = "unreadable"   // the sealed content could not be opened
	ReasonNoReceipt   Reason = "no_receipt"   // accepted, never confirmed
	ReasonProcessDied Reason = "process_died" // claimed by a process that is gone
	ReasonHeld        Reason = "held"         // uncertain, and the list's policy leaves it to a person
	ReasonRestored    Reason = "restored"     // the database was restored from an older state
	ReasonNoSender    Reason = "no_sender"    // no sender of this agency on any link of the pool
	ReasonPartial     Reason = "partial"      // some segments were taken, others refused for good
	ReasonUndelivered Reason = "undelivered"  // receipt UNDELIV, DELETED, REJECTD
	ReasonExpired     Reason = "expired"      // receipt EXPIRED
)

// Reasons lists dispatch's own reasons.
func Reasons() []Reason {
	return []Reason{ReasonOptOut, ReasonDuplicate, ReasonCap, ReasonWindow, ReasonGap, ReasonPilot, ReasonValidUntil, ReasonCancelled, ReasonLandline, ReasonUnreadable,
		ReasonNoReceipt, ReasonProcessDied, ReasonHeld, ReasonRestored, ReasonNoSender, ReasonPartial, ReasonUndelivered, ReasonExpired}
}

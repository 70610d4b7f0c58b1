package dispatch

import (
	"context"
	"time"

	"ekc/citizen"
)

// Channel puts attempts on a wire. One is opened each time this process takes its pool and closed when the pool is lost, so it
// never outlives the right to write.
type Channel interface {
	// Run keeps the links up until ctx is cancelled; then it leaves politely and returns.
	Run(ctx context.Context) error
	// Room is how many attempts can be on the wire within one second, beyond what was started already. dispatch never starts more.
	Room() int
	// Start takes attempts and never blocks. Each comes back exactly once through Desk.Settle.
	Start([]*Attempt)
}

// Desk is what a Channel reports to, and asks directly before it writes.
type Desk interface {
	// MayWrite says that the pool is still this process's. Asked before every write to a socket; false means close it.
	MayWrite() bool
	// Allowed says that nothing has come between since the claim: a pause, a stop, an opt-out, the end of the window. Asked
	// directly before the first byte of an attempt; false means Settle it with VerdictWithheld.
	Allowed(*Attempt) bool
	// Stopped says that a stop holds this link of the pool back: nothing is to be started on it.
	Stopped(link string) bool
	// Settle takes results, in any order and at any size; it blocks only while too much is unrecorded.
	Settle([]Result)
	// Receipts takes what the far side says later. done is called once it is stored (nil), or could not be.
	Receipts(receipts []Receipt, done func(error))
	// Report says how a link is, for the links page of every process.
	Report(LinkState)
}

// LinkState is how a link is, as its holder last said.
type LinkState struct {
	Link       string         `json:"link"`
	Binds      []BindState    `json:"binds,omitempty"`
	Rate       int            `json:"rate"` // in use now, segments a second; 0 = no limit
	Queued     int            `json:"queued"`
	InFlight   int            `json:"in_flight"`
	Submitted  uint64         `json:"submitted"`
	Codes      map[string]int `json:"codes,omitempty"`    // responses by the far side's own word
	Receipts   map[string]int `json:"receipts,omitempty"` // by state
	Throttled  uint64         `json:"throttled"`
	Uncertain  uint64         `json:"uncertain"`
	ResponseMS [2]int64       `json:"response_ms"` // p50, p99
}

// BindState is one bind or registration of a link.
type BindState struct {
	Name  string    `json:"name"`
	State string    `json:"state"` // connecting, bound, refused, lost, unbound
	Code  string    `json:"code,omitempty"`
	Alarm bool      `json:"alarm,omitempty"` // a person must see to it
	Since time.Time `json:"since"`
	Retry time.Time `json:"retry_at,omitzero"`
}

// Attempt is one try at one notification by one channel.
type Attempt struct {
	ID       NotificationID
	No       int16  // 1 for the first
	Agency   string // whose sender it is
	Sender   string // a sender by name, "" = the agency's
	To       citizen.Phone
	Text     string
	Until    time.Time // the earlier of the end of the window and valid_until: the far side must not deliver later; zero = no bound
	Possible bool      // may be a second copy of what an uncertain attempt sent
	Single   bool      // lane 0: overtakes what waits in the channel

	run        *run
	row        *claimed
	digest     citizen.Digest
	older      []citizen.Digest // under index keys that are being retired
	commitment [32]byte
	judged     time.Time
	batch      *batch
}

func (a *Attempt) digests() []citizen.Digest {
	return append([]citizen.Digest{a.digest}, a.older...)
}

// Part is one segment of an accepted attempt; a call has one.
type Part struct {
	MessageID string
	State     AttemptState // accepted, or refused when another segment was taken
	Code      string       // the far side's own word
}

// Result is how one attempt ended. Code is the far side's own word ("0x00000058").
type Result struct {
	Attempt *Attempt
	Verdict Verdict
	Reason  Reason
	Code    string
	Link    string    // which link of the pool carried it
	At      time.Time // stamp taken directly before the write; zero if nothing was written
	Parts   []Part    // of an accepted attempt: one per segment
	Late    bool      // of an attempt that was uncertain: the response came after all. Only VerdictAccepted
}

// Receipt is what the far side says of a message it accepted earlier.
type Receipt struct {
	Link        string
	MessageID   string
	Alternate   string       // the same id read in the other base, where the link is not sure yet; believed only if the phone agrees
	State       AttemptState // accepted when the receipt only says that it is under way
	Reason      Reason       // why it was not delivered
	Code        string
	To          citizen.Phone // of whom the receipt speaks: matches what was lost with a process
	SubmittedAt time.Time     // as the far side says; zero if it does not
}

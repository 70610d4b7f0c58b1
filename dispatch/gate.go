package dispatch

import (
	"slices"
	"time"

	"ekc/citizen"
)

// Gate is what a notification that has not ended waits at: a slug from a closed list. The catalogue has a Russian title for every one.
type Gate string

// The gates, in the order in which they are looked at: the first that is shut is the one a notification waits at.
const (
	GateSending    Gate = "sending"    // claimed since Since: on its way to the wire, or on it
	GateReceipt    Gate = "receipt"    // accepted by the far side at Since; given up as unconfirmed at Until
	GateApproval   Gate = "approval"   // its list is not approved
	GatePaused     Gate = "paused"     // its list is
	GateCancelling Gate = "cancelling" // its list is: the next claim ends it
	GateStart      Gate = "start"      // its list begins at Until
	GateStop       Gate = "stop"       // Stop
	GateHeld       Gate = "held"       // it may have left, and a person is to say what now
	GateUncertain  Gate = "uncertain"  // it may have left: a late receipt is waited for until Until, and then there is Then
	GateEnding     Gate = "ending"     // it will not be sent by this channel, for Reason: the next one, or its end, when it is looked at, not before Until
	GateWindow     Gate = "window"     // of Zones; opens at Until, or has no hour that suits them all
	GateCap        Gate = "cap"        // of its phone
	GateGap        Gate = "gap"        // since the last contact with its phone
	GateRetry      Gate = "retry"      // the far side refused it for the time being: Reason, Code
	GateNotBefore  Gate = "not_before" // its own time
	GatePool       Gate = "pool"       // no process holds Pool
	GateLink       Gate = "link"       // no link of Pool is up: Link, Code, tried next at Until
	GateQueue      Gate = "queue"      // nothing holds it: its turn
)

// Gates lists them.
func Gates() []Gate {
	return []Gate{GateSending, GateReceipt, GateApproval, GatePaused, GateCancelling, GateStart, GateStop, GateHeld, GateUncertain, GateEnding,
		GateWindow, GateCap, GateGap, GateRetry, GateNotBefore, GatePool, GateLink, GateQueue}
}

// Waiting is where a notification waits. Nothing personal is in it. The zero value is of one that has ended.
type Waiting struct {
	Gate     Gate
	Until    time.Time // zero: nobody can tell
	Since    time.Time
	Stop     int64  // its id
	Reason   Reason // of the last attempt, or of GateEnding
	Code     string // the far side's own word
	Then     Then
	Zones    citizen.Zones
	Pool     string
	Link     string
	Ahead    int       // of GateQueue: rows of its run that come first, at most AheadMost are counted
	Earliest time.Time // it does not leave before; zero: it may at once, or nobody can tell
}

// AheadMost is how many rows of a queue are counted.
const AheadMost = 10000

// Then is what becomes of an uncertain notification no receipt comes for.
type Then string

const (
	ThenResend Then = "resend" // sent again, marked as a possible duplicate
	ThenHold   Then = "hold"   // a person decides
)

// at is a Waiting at a gate that opens by itself.
func (w Waiting) at(g Gate, until time.Time) Waiting {
	w.Gate, w.Until = g, until
	if until.After(w.Earliest) && slices.Contains(timed, g) {
		w.Earliest = until
	}
	return w
}

// timed are the gates that a notification passes when their time has come.
var timed = []Gate{GateStart, GateUncertain, GateWindow, GateCap, GateGap, GateRetry, GateNotBefore}

// Package dispatch decides when a notification leaves, by which channel, and what became of it. What is still to do is in the
// outbox, what happened is in the journal, and both change in one transaction: a kill at any point leaves a notification
// untouched, or explained.
//
// A pool of links is held by one process at a time (pool.go); the holder claims what is due (claim.go), checks it again directly
// before the wire (control.go), hands it to a Channel (channel.go), and records results and receipts in batches (record.go).
// What may have left without an answer is uncertain and never re-sent blindly (recover.go). How a message travels is left to
// the channels (dispatch/sms); what may be said, and to whom, to catalog and citizen.
package dispatch

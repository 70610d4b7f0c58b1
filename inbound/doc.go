// Package inbound makes an incoming contact something that can be answered: it gives every message a number, also an empty or
// unreadable one, before the far side is told that it has arrived.
//
// Register takes what citizens write by SMS. A message is acknowledged only after the transaction that holds it has committed; one that
// is offered again is the same message; parts wait in the database, so that a restart loses none; an opt-out word stops the
// sending in the same transaction. What is written and by whom is sealed, and the journal tells numbers only.
//
// What a message means and who answers it is for the router; who may be sent to is decided by dispatch, which reads the opt-outs.
package inbound

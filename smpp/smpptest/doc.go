// Package smpptest is an SMS centre for tests, the demo and benchmarks: it speaks SMPP 3.4 over real sockets and misbehaves on request.
//
// The last digits of a destination choose the behaviour (the table is Behaviours, in behaviour.go); every other number is accepted and
// reported DELIVRD. What was accepted is on record before its response is written, and a receipt or a citizen's SMS is offered again until
// its deliver_sm_resp says ESME_ROK, on any link of the same system_id, as long as the server lives: what a client lost shows here.
//
// It keeps no state across restarts and knows nothing of lists, rates agreed with an operator or the hub under test; judging the record
// is left to the test.
package smpptest

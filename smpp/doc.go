// Package smpp speaks SMPP 3.4 as an ESME: one Link is one account at an SMS centre, kept bound, sending no faster than agreed.
//
// It promises that the account's rate, smoothness and window are never exceeded, that every message given to Start comes back with
// the fate of each of its segments (answered, uncertain, or not sent), and that a deliver_sm is acknowledged only after the caller
// says it is stored. It leaves to its caller what to send and when, what to do with an uncertain one, and all storage: it knows of
// addresses and texts, nothing of lists, people or databases.
package smpp

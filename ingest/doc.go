// Package ingest turns a list from any source into notifications: the file is kept sealed, read as a stream, every row gets a
// verdict, and what is accepted is rendered and admitted slice by slice.
//
// It promises that a list that was acknowledged is checked whatever dies meanwhile, by whichever process is there: each slice goes
// in behind its gate (list_parts) in one transaction, so that no row is admitted twice and none is lost; that one bad row never
// stops a good one; that nothing of a row is kept in the clear or repeated in a verdict; and that a list leaves only after a
// second person, or its source's profile, has approved exactly what was previewed.
//
// When an admitted row leaves is for dispatch, what may be said for catalog, how a phone or a SNILS is read for citizen.
package ingest

// Package openapi is the HTTP door: the operations of CONTRACTS 3 with their OpenAPI 3.1 document, the accounts and keys that
// may call them, and health, readiness and metrics beside them. It promises that nobody gets through without a role the one
// table of access names, that another agency's things look as if they were not there, that a refused value is never repeated
// and no personal data reaches a log line, a metric or an address, and that every change of an account or a key is in the
// journal. What a list, a stop or an entry is, is decided below: by ingest, dispatch, catalog and journal.
package openapi

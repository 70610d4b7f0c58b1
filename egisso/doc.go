// Package egisso is the feed: lists come in by Kafka from ЕГИССО and from agencies' systems, and what became of every row goes back.
//
// It owns the contract of the topics (CloudEvents, JSON Schema 2020-12, AsyncAPI 3), the consumers, which commit an offset only after
// the part is in PostgreSQL, and the publisher, which follows the journal by its position. What a row is worth is for ingest.
package egisso

// Package journal is the one record of what happened. A transaction that changes anything appends its entries in the same
// breath, so that what happened and what is still to do never disagree; a sequencer then gives every committed entry its
// position, and the positions carry Merkle roots (RFC 6962): to alter, remove or reorder an entry shows, also to somebody who
// kept nothing but an old checkpoint. It also defines Principal, on whose behalf everything is done and asked.
//
// What an entry means is its writer's business (ingest, dispatch, openapi); which agencies a person may ask about is decided
// here, what a role may do is decided by openapi. No personal data is ever kept here, and no digest of any.
package journal

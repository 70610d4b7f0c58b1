package journal

import "slices"

// Kind says what an entry tells. The list is closed for writers; a reader keeps kinds it does not know, since a newer version
// may be writing beside it.
type Kind string

const (
	ListCreated   Kind = "list.created"
	ListFile      Kind = "list.file"
	ListChecked   Kind = "list.checked"
	ListRejected  Kind = "list.rejected"
	ListApproved  Kind = "list.approved"
	ListRefused   Kind = "list.refused"
	ListStarted   Kind = "list.started"
	ListPaused    Kind = "list.paused"
	ListResumed   Kind = "list.resumed"
	ListCancelled Kind = "list.cancelled"
	ListCompleted Kind = "list.completed"
	ListTestSent  Kind = "list.test_sent"
	PartReceived  Kind = "part.received" // one per part of the feed: stored, not checked yet
	PartAdmitted  Kind = "part.admitted" // one per part or slice
	PartRejected  Kind = "part.rejected"
	PartsMissing  Kind = "parts.missing" // of a list of the feed: waited for too long

	BatchClaimed          Kind = "batch.claimed" // one per claim
	Attempt               Kind = "attempt"       // a state of an attempt, raised: From says which stood before
	Outcome               Kind = "outcome"       // the end of a notification, or its raise by a late receipt
	NotificationCancelled Kind = "notification.cancelled"
	RecallTooLate         Kind = "recall.too_late" // taken back by its source after it had left or ended
	RecallReceived        Kind = "recall.received"
	NotificationSettled   Kind = "notification.settled" // what was uncertain, decided by a person
	PoolTaken             Kind = "pool.taken"
	LeaseRecovered        Kind = "lease.recovered"
	StopSet               Kind = "stop.set"
	StopLifted            Kind = "stop.lifted"

	OptOut            Kind = "opt_out"
	OptIn             Kind = "opt_in"
	InboundRegistered Kind = "inbound.registered"

	AccountCreated   Kind = "account.created"
	AccountChanged   Kind = "account.changed"
	AccountBlocked   Kind = "account.blocked"
	KeyCreated       Kind = "key.created"
	KeyRevoked       Kind = "key.revoked"
	SessionOpened    Kind = "session.opened"
	SessionClosed    Kind = "session.closed"
	AccessDenied     Kind = "access.denied"
	HistoryRead      Kind = "history.read"
	PersonSearched   Kind = "person.searched"
	PersonalViewed   Kind = "personal.viewed" // rows, texts or files with personal data were shown or downloaded
	DeathsReceived   Kind = "deaths.received"
	ProfileChanged   Kind = "profile.changed" // of a citizen
	CatalogChanged   Kind = "catalog.changed"
	SourceChanged    Kind = "source.changed"
	DataKeyDestroyed Kind = "data_key.destroyed"
	JournalVerified  Kind = "journal.verified"
	Recovered        Kind = "recovered" // a database that was behind its state file was put to work again
)

var kinds = [...]Kind{
	ListCreated, ListFile, ListChecked, ListRejected, ListApproved, ListRefused, ListStarted, ListPaused, ListResumed,
	ListCancelled, ListCompleted, ListTestSent, PartReceived, PartAdmitted, PartRejected, PartsMissing,
	BatchClaimed, Attempt, Outcome, NotificationCancelled, RecallReceived, RecallTooLate, NotificationSettled, PoolTaken, LeaseRecovered, StopSet, StopLifted,
	OptOut, OptIn, InboundRegistered,
	AccountCreated, AccountChanged, AccountBlocked, KeyCreated, KeyRevoked, SessionOpened, SessionClosed, AccessDenied,
	HistoryRead, PersonSearched, PersonalViewed, DeathsReceived, ProfileChanged, CatalogChanged, SourceChanged, DataKeyDestroyed, JournalVerified, Recovered,
}

// Kinds lists every kind this version writes.
func Kinds() []Kind { return slices.Clone(kinds[:]) }

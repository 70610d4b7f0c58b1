package dispatch

import (
	"time"

	"ekc/citizen"
)

// Rules are the regulation's numbers that dispatch obeys; they are catalogue data, read anew for every batch.
type Rules struct {
	// Window is when a channel may contact people, by the local time of each; wide is for urgent lists.
	Window func(channel string, wide bool) *citizen.Window
	// PerDay is how many contacts a phone may get by a channel within 24 hours; 0 = no cap.
	PerDay map[string]int
	// Gap is the least time between two contacts to one phone.
	Gap time.Duration
	// GiveUp is how long a receipt is waited for after acceptance; then the notification ends as unconfirmed.
	GiveUp time.Duration
	// UncertainWait is how long a late receipt is waited for before an uncertain attempt is decided by policy.
	UncertainWait time.Duration
	// Retry is the pause before the next attempt after a temporary result, and false when the tries are used up.
	Retry func(reason Reason, tries int) (time.Duration, bool)
	// Permitted is the pilot's allow list; nil lets everybody through. It is not asked in a pool of simulators.
	Permitted func(citizen.Phone) bool
}

package dispatch

import (
	"fmt"
	"strconv"
	"strings"
)

// ordinalBits leaves a list room for 16,777,215 rows: more than the 10,000 parts of 1,000 rows of the contract.
const ordinalBits = 24

// NotificationID names a notification everywhere: its list's number and its ordinal in the list, so that an id alone finds the
// list and the partition. It prints as "12-34".
type NotificationID int64

// MakeID joins a list's number and a row's ordinal (from 1).
func MakeID(listNo int64, ordinal int32) NotificationID {
	return NotificationID(listNo<<ordinalBits | int64(ordinal))
}

// List is the number of the list the notification belongs to.
func (id NotificationID) List() int64 { return int64(id) >> ordinalBits }

// Ordinal is the notification's place in its list, from 1.
func (id NotificationID) Ordinal() int32 { return int32(int64(id) & (1<<ordinalBits - 1)) }

func (id NotificationID) String() string { return fmt.Sprintf("%d-%d", id.List(), id.Ordinal()) }

// MarshalText writes the printed form.
func (id NotificationID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseNotificationID reads the printed form.
func ParseNotificationID(s string) (NotificationID, error) {
	list, ordinal, ok := strings.Cut(s, "-")
	if ok {
		no, err1 := strconv.ParseInt(list, 10, 64)
		row, err2 := strconv.ParseInt(ordinal, 10, 64)
		if err1 == nil && err2 == nil && no > 0 && no < 1<<39 && row > 0 && row < 1<<ordinalBits {
			return MakeID(no, int32(row)), nil
		}
	}
	return 0, fmt.Errorf("not a notification id: want LIST-ROW, such as 12-34")
}

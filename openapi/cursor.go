package openapi

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// Page is a part of a longer list. Next is empty on the last one.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"Give it as after to get what follows"`
}

// Paging are the parameters of every paged list.
type Paging struct {
	After string `query:"after" maxLength:"200" doc:"next of the page before"`
	Limit int    `query:"limit" default:"50" minimum:"1" maximum:"500" doc:"Items of a page"`
}

// pageOf cuts one item more than asked, which says that there is a next page, and names it by the key of the last one kept.
func pageOf[T any](operation string, items []T, limit int, key func(T) string) *Page[T] {
	if items == nil {
		items = []T{}
	}
	page := &Page[T]{Items: items}
	if len(items) > limit {
		page.Items = items[:limit]
		page.Next = cursor(operation, key(page.Items[limit-1]))
	}
	return page
}

// cursor hides a key set position; it says which list it is of, so that it cannot be given to another.
func cursor(operation, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(operation + "\x00" + key))
}

func fromCursor(operation, after string) (string, error) {
	if after == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(after)
	owner, key, ok := strings.Cut(string(b), "\x00")
	if err != nil || !ok || owner != operation {
		return "", problem(CodeCursor)
	}
	return key, nil
}

func numberFromCursor(operation, after string) (int64, error) {
	key, err := fromCursor(operation, after)
	if err != nil || key == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(key, 10, 64)
	if err != nil || n < 0 {
		return 0, problem(CodeCursor)
	}
	return n, nil
}

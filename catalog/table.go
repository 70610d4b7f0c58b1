package catalog

import (
	"cmp"
	"slices"
	"time"
)

// table holds all versions of the items of one kind.
type table[T Item] struct {
	versions map[string][]T      // by code, oldest first
	names    map[string][]string // folded code or label of any version → codes
	codes    []string
	broken   map[string][]Head // versions this release cannot read
}

// anyTable is what is done alike for all kinds.
type anyTable interface {
	put(Item)
	withhold(Head)
	ready()
	history(code string) (versions []Item, whole bool)
	next(code string) int
	since(at time.Time) []Item
	copy(anyTable)
}

func (t *table[T]) put(item Item) {
	if t.versions == nil {
		t.versions = map[string][]T{}
	}
	code := item.Header().Code
	t.versions[code] = append(t.versions[code], item.(T))
}

// withhold keeps an older version from standing in for one that cannot be read.
func (t *table[T]) withhold(h Head) {
	if t.broken == nil {
		t.broken = map[string][]Head{}
	}
	t.broken[h.Code] = append(t.broken[h.Code], h)
}

// history is every version of a code, oldest first; not whole when one of them cannot be read.
func (t *table[T]) history(code string) ([]Item, bool) {
	return itemsOf(t.versions[code]), len(t.broken[code]) == 0
}

// next is the number of the version that would follow.
func (t *table[T]) next(code string) int {
	last := 0
	for _, v := range t.versions[code] {
		last = max(last, v.Header().Version)
	}
	for _, h := range t.broken[code] {
		last = max(last, h.Version)
	}
	return last + 1
}

// since is what is in force at an instant, or was the last to be, and what comes after it; by code. A code with a version that cannot
// be read is left out.
func (t *table[T]) since(at time.Time) []Item {
	var out []Item
	for _, code := range t.codes {
		versions := t.versions[code]
		first := len(versions) - 1
		for first > 0 && at.Before(versions[first].Header().From) {
			first--
		}
		if len(t.broken[code]) == 0 {
			out = append(out, itemsOf(versions[first:])...)
		}
	}
	return out
}

// copy takes over the versions of another table of the same kind.
func (t *table[T]) copy(from anyTable) {
	t.versions, t.broken = map[string][]T{}, from.(*table[T]).broken
	for code, versions := range from.(*table[T]).versions {
		t.versions[code] = slices.Clone(versions)
	}
}

func itemsOf[T Item](items []T) []Item {
	out := make([]Item, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

func (t *table[T]) ready() {
	t.names = map[string][]string{}
	for code, versions := range t.versions {
		t.codes = append(t.codes, code)
		slices.SortFunc(versions, func(a, b T) int { return cmp.Compare(a.Header().Version, b.Header().Version) })
		for _, v := range versions {
			if t, ok := Item(v).(*Template); ok && t.VariantOf != "" {
				continue
			}
			for _, key := range []string{Fold(code), Fold(v.Label())} {
				if !slices.Contains(t.names[key], code) {
					t.names[key] = append(t.names[key], code)
				}
			}
		}
	}
	slices.Sort(t.codes)
}

func (t *table[T]) at(code string, at time.Time) (T, bool) {
	var none T
	versions := t.versions[code]
	for i := len(versions) - 1; i >= 0; i-- {
		h := versions[i].Header()
		if at.Before(h.From) {
			continue
		}
		for _, b := range t.broken[code] {
			if b.Version > h.Version && !at.Before(b.From) {
				return none, false
			}
		}
		if !h.To.IsZero() && !at.Before(h.To) {
			return none, false
		}
		return versions[i], true
	}
	return none, false
}

func (t *table[T]) find(codeOrLabel string, at time.Time) (T, bool) {
	var found, none T
	key, n := Fold(codeOrLabel), 0
	for _, code := range t.names[key] {
		v, ok := t.at(code, at)
		switch {
		case !ok:
		case Fold(code) == key:
			return v, true
		case Fold(v.Label()) == key:
			found = v
			n++
		}
	}
	if n != 1 {
		return none, false
	}
	return found, true
}

func (t *table[T]) list(at time.Time) []T {
	out := make([]T, 0, len(t.codes))
	for _, code := range t.codes {
		if v, ok := t.at(code, at); ok {
			out = append(out, v)
		}
	}
	return out
}

package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"gopkg.in/yaml.v3"

	"ekc/journal"
)

// A document is a catalogue as one YAML file that people keep and mend: the kinds, and under each its items, with code, agency,
// effective_from and effective_to (days in Moscow, or instants) among their own fields. Versions of one code follow each other, the
// oldest first; their numbers and authors are the database's and are not in it.

// MaxDocument is how many bytes a document may have.
const MaxDocument = 16 << 20

var moscow = time.FixedZone("MSK", 3*60*60)

// entry is one item as it stands in a document.
type entry = map[string]any

// ParseDocument reads a document, or a bare list, whose items are templates. All faults are told at once; an item that is read but is
// not valid is an *InvalidError among them.
func ParseDocument(data []byte) ([]Item, error) {
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("document of the catalogue: %d bytes, and %d may be read", len(data), MaxDocument)
	}
	var node yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&node); err != nil {
		return nil, fmt.Errorf("document of the catalogue: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("document of the catalogue: more than one document in the file")
	}
	if line := aliasIn(&node); line > 0 {
		return nil, fmt.Errorf("document of the catalogue: line %d: an alias; write the value itself", line)
	}
	byKind := map[Kind][]entry{}
	var err error
	if len(node.Content) == 1 && node.Content[0].Kind == yaml.SequenceNode {
		var list []entry
		err = node.Decode(&list)
		byKind[KindTemplate] = list
	} else {
		err = node.Decode(&byKind)
	}
	if err != nil {
		return nil, fmt.Errorf("document of the catalogue: %w", err)
	}
	var items []Item
	var faults []error
	for _, kind := range kinds {
		more, err := parseEntries(kind, byKind[kind])
		items, faults = append(items, more...), append(faults, err)
		delete(byKind, kind)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		faults = append(faults, fmt.Errorf("document of the catalogue: %q: %w", kind, errUnknownKind))
	}
	return items, errors.Join(faults...)
}

// aliasIn is the line of the first alias, 0 = none: by aliases a few lines become gigabytes.
func aliasIn(n *yaml.Node) int {
	if n.Kind == yaml.AliasNode {
		return n.Line
	}
	for _, child := range n.Content {
		if line := aliasIn(child); line > 0 {
			return line
		}
	}
	return 0
}

// parseKind reads a list of items of one kind, each code once.
func parseKind(kind Kind, data []byte) ([]Item, error) {
	var entries []entry
	if err := yaml.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", kind, err)
	}
	items, err := parseEntries(kind, entries)
	for _, item := range items {
		if item.Header().Version > 1 {
			err = errors.Join(err, fmt.Errorf("catalogue %s %q: дважды", kind, item.Header().Code))
		}
	}
	return items, err
}

func parseEntries(kind Kind, entries []entry) ([]Item, error) {
	var items []Item
	var faults []error
	versions := map[string]int{}
	for i, e := range entries {
		fault := func(field string, err error) {
			faults = append(faults, fmt.Errorf("catalogue %s, entry %d: %s: %w", kind, i+1, field, err))
		}
		text := func(field string) string {
			v, there := e[field]
			delete(e, field)
			s, ok := v.(string)
			if there && !ok {
				fault(field, fmt.Errorf("%s must be a string, in quotes", field))
			}
			return s
		}
		instant := func(field string) time.Time {
			s := text(field)
			if s == "" {
				return time.Time{}
			}
			t, err := time.ParseInLocation(time.DateOnly, s, moscow)
			if err != nil {
				if t, err = time.Parse(time.RFC3339Nano, s); err != nil {
					fault(field, errors.New("want a day, 2027-01-31, or an instant of RFC 3339"))
				}
			}
			return t
		}
		head := Head{Code: text("code"), Agency: text("agency"), From: instant("effective_from"), To: instant("effective_to")}
		versions[head.Code]++
		head.Version = versions[head.Code]
		body, err := json.Marshal(e)
		if err != nil {
			fault(head.Code, err)
			continue
		}
		item, err := Decode(kind, head, body)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		items = append(items, item)
	}
	return items, errors.Join(faults...)
}

// FormatDocument writes items by kind and code, those of one code in their order. The same items give the same bytes.
func FormatDocument(items []Item) ([]byte, error) {
	items = slices.SortedStableFunc(slices.Values(items), func(a, b Item) int { return strings.Compare(a.Header().Code, b.Header().Code) })
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, kind := range kinds {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range items {
			if item.Kind() != kind {
				continue
			}
			node, err := nodeOf(item)
			if err != nil {
				return nil, fmt.Errorf("write catalogue %s %q: %w", kind, item.Header().Code, err)
			}
			list.Content = append(list.Content, node)
		}
		if len(list.Content) > 0 {
			root.Content = append(root.Content, textNode(string(kind)), list)
		}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("write catalogue: %w", err)
	}
	return out.Bytes(), nil
}

// nodeOf takes the fields in the order in which JSON, a part of YAML, has them.
func nodeOf(item Item) (*yaml.Node, error) {
	body, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	node, h := document.Content[0], item.Header()
	plainStyle(node)
	var head []*yaml.Node
	for _, field := range [...][2]string{{"code", h.Code}, {"agency", h.Agency}, {"effective_from", dayOf(h.From)}, {"effective_to", dayOf(h.To)}} {
		if field[1] != "" {
			head = append(head, textNode(field[0]), textNode(field[1]))
		}
	}
	node.Content = append(head, node.Content...)
	return node, nil
}

// plainStyle takes JSON's quotes and brackets away where YAML needs none.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plainStyle(child)
	}
}

func textNode(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func dayOf(t time.Time) string {
	switch day := t.In(moscow); {
	case t.IsZero():
		return ""
	case day.Equal(time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, moscow)):
		return day.Format(time.DateOnly)
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Export is what a document is made of: for every code the version in force, or the last that was, and those to come.
func (c *Catalog) Export(at time.Time) []Item {
	var items []Item
	for _, kind := range kinds {
		items = append(items, c.table(kind).since(at)...)
	}
	return items
}

// With is the catalogue as it would be with more items, each the next version of its code.
func (c *Catalog) With(items []Item) *Catalog {
	next := &Catalog{faults: c.faults}
	for _, kind := range kinds {
		next.table(kind).copy(c.table(kind))
	}
	for _, item := range items {
		t := next.table(item.Kind())
		item.Header().Version = t.next(item.Header().Code)
		t.put(item)
	}
	for _, kind := range kinds {
		next.table(kind).ready()
	}
	return next
}

// Changes are those of items, in their order, that must become new versions so that the catalogue says what they say. What the
// catalogue ends with already is no change; a code that items do not name stays as it is.
func (c *Catalog) Changes(items []Item) []Item {
	type key struct {
		kind Kind
		code string
	}
	byCode := map[key][]Item{}
	var order []key
	for _, item := range items {
		k := key{item.Kind(), item.Header().Code}
		if byCode[k] == nil {
			order = append(order, k)
		}
		byCode[k] = append(byCode[k], item)
	}
	var changes []Item
	for _, k := range order {
		wanted := byCode[k]
		have, whole := c.table(k.kind).history(k.code)
		n := 0 // the newest n versions are the first n that are wanted
		if whole {
			n = min(len(have), len(wanted))
		}
		for n > 0 && !slices.EqualFunc(have[len(have)-n:], wanted[:n], sameItem) {
			n--
		}
		changes = append(changes, wanted[n:]...)
	}
	return changes
}

func sameItem(a, b Item) bool {
	one, errOne := json.Marshal(a)
	other, errOther := json.Marshal(b)
	x, y := a.Header(), b.Header()
	return errOne == nil && errOther == nil && bytes.Equal(one, other) && x.Agency == y.Agency && x.From.Equal(y.From) && x.To.Equal(y.To)
}

// Import writes what Changes finds, and returns it with its version numbers. allow is shown the catalogue as it would be; when it
// refuses, nothing is written. The journal entries belong into the same transaction and are the caller's.
func Import(ctx context.Context, tx pgx.Tx, p journal.Principal, items []Item, allow func(before, after *Catalog, changes []Item) error) ([]Item, error) {
	if _, err := tx.Exec(ctx, lockCatalog); err != nil {
		return nil, fmt.Errorf("lock catalogue: %w", err)
	}
	c, err := Load(ctx, tx)
	if err != nil {
		return nil, err
	}
	changes := c.Changes(items)
	if err := allow(c, c.With(changes), changes); err != nil {
		return nil, err
	}
	for _, item := range changes {
		if err := Put(ctx, tx, p, item); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

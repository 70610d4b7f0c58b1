// Package catalog knows what may be said: life events, measures, agencies, sources, templates, the numbers of the regulations and
// the Russian names of states. Everything has versions with effective dates, and a version once written never changes, so what was
// decided by it can be read again years later. A snapshot is immutable; readers never wait for the database. Who may change an
// item, and the journal entry of the change, are left to the caller; counting SMS segments is left to smpp.
package catalog

import (
	"fmt"
	"strings"
	"time"
)

// Catalog is one snapshot of all items. What its lookups return is shared and must not be changed. A lookup at an instant finds the
// newest version that has come into force by then, unless that version has ended: so the last word ends an item as well as
// replacing it.
type Catalog struct {
	events    table[*LifeEvent]
	measures  table[*Measure]
	agencies  table[*Agency]
	offices   table[*Office]
	sources   table[*Source]
	templates table[*Template] // variants are not found by name
	rules     table[*Rule]
	states    table[*State]
	mappings  table[*Mapping]
	prices    table[*LinkPrice]
	faults    []error
}

// New makes a snapshot of items, each already validated.
func New(items []Item) *Catalog {
	c := &Catalog{}
	for _, item := range items {
		c.table(item.Kind()).put(item)
	}
	for _, kind := range kinds {
		c.table(kind).ready()
	}
	return c
}

// table is the one for a kind of this release.
func (c *Catalog) table(kind Kind) anyTable {
	switch kind {
	case KindLifeEvent:
		return &c.events
	case KindMeasure:
		return &c.measures
	case KindAgency:
		return &c.agencies
	case KindOffice:
		return &c.offices
	case KindSource:
		return &c.sources
	case KindTemplate:
		return &c.templates
	case KindRule:
		return &c.rules
	case KindMapping:
		return &c.mappings
	case KindLinkPrice:
		return &c.prices
	}
	return &c.states
}

// LifeEvent finds the version in force at an instant.
func (c *Catalog) LifeEvent(code string, at time.Time) (*LifeEvent, bool) {
	return c.events.at(code, at)
}

// FindLifeEvent finds by code or by name, both compared by Fold. A name two events have finds neither.
func (c *Catalog) FindLifeEvent(codeOrName string, at time.Time) (*LifeEvent, bool) {
	return c.events.find(codeOrName, at)
}

// LifeEvents lists those in force, by code.
func (c *Catalog) LifeEvents(at time.Time) []*LifeEvent { return c.events.list(at) }

// Measure finds the version in force at an instant.
func (c *Catalog) Measure(code string, at time.Time) (*Measure, bool) { return c.measures.at(code, at) }

// FindMeasure finds by code or by name, both compared by Fold.
func (c *Catalog) FindMeasure(codeOrName string, at time.Time) (*Measure, bool) {
	return c.measures.find(codeOrName, at)
}

// Measures lists those in force, by code.
func (c *Catalog) Measures(at time.Time) []*Measure { return c.measures.list(at) }

// Agency finds the version in force at an instant.
func (c *Catalog) Agency(code string, at time.Time) (*Agency, bool) { return c.agencies.at(code, at) }

// Agencies lists those in force, by code.
func (c *Catalog) Agencies(at time.Time) []*Agency { return c.agencies.list(at) }

// Offices lists those in force, by code.
func (c *Catalog) Offices(at time.Time) []*Office { return c.offices.list(at) }

// Source finds the version in force at an instant.
func (c *Catalog) Source(code string, at time.Time) (*Source, bool) { return c.sources.at(code, at) }

// Sources lists those in force, by code.
func (c *Catalog) Sources(at time.Time) []*Source { return c.sources.list(at) }

// Template finds one version, in force or not: lists pin it.
func (c *Catalog) Template(code string, version int) (*Template, bool) {
	for _, t := range c.templates.versions[code] {
		if t.Version == version {
			return t, true
		}
	}
	return nil, false
}

// TemplateAt finds the version in force at an instant.
func (c *Catalog) TemplateAt(code string, at time.Time) (*Template, bool) {
	return c.templates.at(code, at)
}

// FindTemplate finds by code or by title, both compared by Fold, what a list may name: no variant.
func (c *Catalog) FindTemplate(codeOrTitle string, at time.Time) (*Template, bool) {
	return c.templates.find(codeOrTitle, at)
}

// Variant finds what is said on another channel in the place of t, which may be a version no longer in force: of the variants in
// force the one that tells the same facts.
func (c *Catalog) Variant(t *Template, channel string, at time.Time) (*Template, bool) {
	for _, v := range c.templates.list(at) {
		if v.VariantOf == t.Code && v.Channel == channel && v.Digest() == t.Digest() {
			return v, true
		}
	}
	return nil, false
}

// Templates lists those in force, by code.
func (c *Catalog) Templates(at time.Time) []*Template { return c.templates.list(at) }

// Rules gathers the numbers in force at an instant. The error names those that are missing.
func (c *Catalog) Rules(at time.Time) (*Rules, error) { return newRules(c.rules.list(at)) }

// RuleItems lists the rules in force with their titles, by code.
func (c *Catalog) RuleItems(at time.Time) []*Rule { return c.rules.list(at) }

// State finds how a state or reason is shown, e.g. "notification", "delivered".
func (c *Catalog) State(scope, slug string, at time.Time) (*State, bool) {
	return c.states.at(scope+"."+slug, at)
}

// States lists those in force, by code.
func (c *Catalog) States(at time.Time) []*State { return c.states.list(at) }

// Faults are the rows that this release could not read. Their codes are not found while the unreadable version would be in force.
func (c *Catalog) Faults() []error { return c.faults }

// Check finds what items in force say of each other that is not so: *InvalidError, one for each fault, and what Rules lacks.
func (c *Catalog) Check(at time.Time) []error {
	k := &crossCheck{Catalog: c, at: at}
	for _, e := range c.LifeEvents(at) {
		k.agency(e, "agency", e.Agency)
		for _, code := range e.Measures {
			_, ok := c.Measure(code, at)
			k.unless(ok, e, "measures", code)
		}
	}
	for _, m := range c.Measures(at) {
		for _, code := range m.Agencies {
			k.agency(m, "agencies", code)
		}
	}
	for _, a := range c.Agencies(at) {
		k.agency(a, "successor", a.Successor)
		k.agency(a, "parent", a.Parent)
		if !c.rooted(a, at) {
			k.add(a, "parent", "Вышестоящие ведомства идут по кругу: исправьте parent.")
		}
	}
	for _, o := range c.Offices(at) {
		k.agency(o, "participant", o.Participant)
	}
	k.sources()
	for _, t := range c.Templates(at) {
		k.template(t)
	}
	for _, r := range c.RuleItems(at) {
		if event, ok := strings.CutPrefix(r.Code, termPrefix); ok {
			_, ok = c.LifeEvent(event, at)
			k.unless(ok, r, "code", event)
		}
	}
	if _, err := c.Rules(at); err != nil {
		k.faults = append(k.faults, err)
	}
	return k.faults
}

type crossCheck struct {
	*Catalog
	at     time.Time
	faults []error
}

func (k *crossCheck) add(item Item, field, sentence string) {
	k.faults = append(k.faults, &InvalidError{Kind: item.Kind(), Code: item.Header().Code, Faults: []FieldFault{{field, sentence}}})
}

func (k *crossCheck) unless(ok bool, item Item, field, code string) {
	if !ok {
		k.add(item, field, fmt.Sprintf("«%s» нет в справочнике или не действует: заведите или исправьте код.", code))
	}
}

func (k *crossCheck) agency(item Item, field, code string) {
	if _, ok := k.Agency(code, k.at); ok || code == "" {
		return
	}
	if now, ok := k.Competent(code, k.at); ok {
		k.add(item, field, fmt.Sprintf("Ведомства «%s» больше нет: укажите преемника, «%s».", code, now.Code))
		return
	}
	k.unless(false, item, field, code)
}

func (k *crossCheck) sources() {
	topics := map[string]bool{}
	for _, s := range k.Sources(k.at) {
		for _, code := range s.Agencies {
			k.agency(s, "agencies", code)
		}
		for _, topic := range s.Topics {
			if topics[topic] {
				k.add(s, "topics", fmt.Sprintf("Тему «%s» читает другой источник: оставьте её одному.", topic))
			}
			topics[topic] = true
		}
		for event, template := range s.Templates {
			_, ok := k.LifeEvent(event, k.at)
			k.unless(ok, s, "templates", event)
			_, ok = k.FindTemplate(template, k.at)
			k.unless(ok, s, "templates", template)
		}
	}
	for _, s := range k.Sources(k.at) {
		for _, topic := range []string{s.ProtocolTopic, s.StatusTopic, s.ReplyTopic} {
			if topics[topic] {
				k.add(s, "topics", fmt.Sprintf("Тема «%s» указана для ответов, а из неё читаются списки: возьмите другую.", topic))
			}
		}
	}
}

func (k *crossCheck) template(t *Template) {
	k.agency(t, "agency", t.Agency)
	if t.LifeEvent != "" {
		_, ok := k.LifeEvent(t.LifeEvent, k.at)
		k.unless(ok, t, "life_event", t.LifeEvent)
	}
	if t.VariantOf != "" {
		base, ok := k.TemplateAt(t.VariantOf, k.at)
		k.unless(ok, t, "variant_of", t.VariantOf)
		if ok && base.Digest() != t.Digest() {
			k.add(t, "variant_of", "СМС и звонок говорят о разном: "+difference(base, t)+". Приведите тексты к одному содержанию.")
		}
	}
	if t.Neutral != "" {
		twin, ok := k.TemplateAt(t.Neutral, k.at)
		k.unless(ok, t, "neutral", t.Neutral)
		if ok && (twin.Sensitive || twin.Channel != t.Channel || len(twin.text.slots) > 0) {
			k.add(t, "neutral", fmt.Sprintf("Нейтральный двойник «%s» чувствителен, с параметрами или для другого канала: возьмите другой.", t.Neutral))
		}
	}
}

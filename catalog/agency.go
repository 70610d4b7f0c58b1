package catalog

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Agency is a participant: whoever's lists we send. Agencies form a tree, and one that has ended names who took over its duties.
type Agency struct {
	Head             // Code is the participant code, e.g. 0001.000001
	Title     string `json:"title"`
	Short     string `json:"short"`               // as it opens an SMS: "СФР"
	Type      string `json:"type,omitempty"`      // one of agencyTypes
	Parent    string `json:"parent,omitempty"`    // code of the agency it belongs to
	Region    string `json:"region,omitempty"`    // subject code, e.g. "22"; "" = the whole country
	OKTMO     string `json:"oktmo,omitempty"`     // its territory
	Successor string `json:"successor,omitempty"` // code of the agency that took over its duties
}

// agencyTypes are the participants of 442н, п. 1: the social fund, institutions of МСЭ, state and local bodies that assign measures,
// organisations that provide them, Роструд.
var agencyTypes = []string{"fund", "mse", "authority", "provider", "employment"}

// Office is a presence point: where a participant receives people.
type Office struct {
	Head
	Title       string `json:"title"`
	Participant string `json:"participant"` // code of the agency it belongs to
	Address     string `json:"address"`
	OKTMO       string `json:"oktmo"`
	Phone       string `json:"phone,omitempty"` // as people write it
	Hours       string `json:"hours,omitempty"` // in words
	Rules       string `json:"rules,omitempty"` // by appointment, with which papers
}

func (*Agency) Kind() Kind { return KindAgency }
func (*Office) Kind() Kind { return KindOffice }

// Label is the title.
func (a *Agency) Label() string { return a.Title }

// Label is the title.
func (o *Office) Label() string { return o.Title }

func (a *Agency) validate() error {
	var c checker
	c.require(participantPattern.MatchString(a.Code), "code", "Код участника: как 0001.000001 или A101.000004.")
	n := utf8.RuneCountInString(a.Short)
	c.require(n >= 2 && n <= 20 && strings.TrimSpace(a.Short) == a.Short, "short", "Краткое имя в начале СМС: от 2 до 20 знаков.")
	c.require(a.Type == "" || slices.Contains(agencyTypes, a.Type), "type", "Вид участника: "+strings.Join(agencyTypes, ", ")+".")
	c.require(a.Parent == "" || participantPattern.MatchString(a.Parent) && a.Parent != a.Code, "parent", "Вышестоящее ведомство: код другого участника.")
	c.require(a.Region == "" || regionPattern.MatchString(a.Region), "region", "Регион: две цифры.")
	c.require(a.OKTMO == "" || oktmoPattern.MatchString(a.OKTMO), "oktmo", "ОКТМО: 8 или 11 цифр.")
	c.require(a.Successor == "" || participantPattern.MatchString(a.Successor) && a.Successor != a.Code, "successor", "Преемник: код другого участника.")
	return c.err()
}

func (o *Office) validate() error {
	var c checker
	c.require(participantPattern.MatchString(o.Participant), "participant", "Чьё отделение: код участника, как 0001.000001.")
	n := utf8.RuneCountInString(strings.TrimSpace(o.Address))
	c.require(n >= 5 && n <= 500, "address", "Адрес: от 5 до 500 знаков.")
	c.require(oktmoPattern.MatchString(o.OKTMO), "oktmo", "ОКТМО: 8 или 11 цифр.")
	c.require(utf8.RuneCountInString(o.Phone) <= 100 && utf8.RuneCountInString(o.Hours) <= 300 && utf8.RuneCountInString(o.Rules) <= 1000, "hours",
		"Телефон до 100 знаков, часы до 300, правила приёма до 1000.")
	return c.err()
}

// chain bounds how far a tree or a succession is followed.
const chain = 16

// Competent is the agency that answers at an instant for what one agency once did: itself, or the last of its successors.
func (c *Catalog) Competent(code string, at time.Time) (*Agency, bool) {
	for range chain {
		if a, ok := c.Agency(code, at); ok {
			return a, true
		}
		versions := c.agencies.versions[code]
		if len(versions) == 0 || versions[len(versions)-1].Successor == "" {
			return nil, false
		}
		code = versions[len(versions)-1].Successor
	}
	return nil, false
}

// rooted says that an agency's parents end somewhere.
func (c *Catalog) rooted(a *Agency, at time.Time) bool {
	for range chain {
		parent, ok := c.Agency(a.Parent, at)
		if !ok {
			return true
		}
		a = parent
	}
	return false
}

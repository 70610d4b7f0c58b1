package catalog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// LinkPrice is what a link, or any link of a pool, takes for an SMS segment or a minute of a call. One with an owner is that agency's
// own contract and stands above what is common to all.
type LinkPrice struct {
	Head
	Title    string `json:"title"`
	Pool     string `json:"pool,omitempty"` // one of Pool and Link, by name
	Link     string `json:"link,omitempty"`
	Currency string `json:"currency"`          // ISO 4217, e.g. RUB
	Segment  *Price `json:"segment,omitempty"` // of an SMS segment; nil = none is sent
	Minute   *Price `json:"minute,omitempty"`  // of a call; nil = none is made
}

// Price is in ten-thousandths of the currency, written "2.35".
type Price int64

// priceUnit is one of the currency.
const priceUnit = 10_000

func (p Price) String() string {
	s := fmt.Sprintf("%d.%04d", p/priceUnit, p%priceUnit)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalText writes 2.35.
func (p Price) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

var pricePattern = regexp.MustCompile(`^\d{1,6}(\.\d{1,4})?$`)

// UnmarshalText reads 2.35.
func (p *Price) UnmarshalText(b []byte) error {
	if !pricePattern.Match(b) {
		return fmt.Errorf(`price %q: want a string like "2.35"`, b)
	}
	whole, part, _ := strings.Cut(string(b), ".")
	n, err := strconv.ParseInt(whole+(part + "0000")[:4], 10, 64)
	*p = Price(n)
	return err
}

// Float is for those who multiply and show it.
func (p Price) Float() float64 { return float64(p) / priceUnit }

func (*LinkPrice) Kind() Kind { return KindLinkPrice }

// Label is the title.
func (p *LinkPrice) Label() string { return p.Title }

var currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)

func (p *LinkPrice) validate() error {
	var c checker
	c.require((p.Pool == "") != (p.Link == "") && len(p.Pool+p.Link) <= 64, "pool", "Чья цена: имя группы линий (pool) или одной линии (link), не обе.")
	c.require(currencyPattern.MatchString(p.Currency), "currency", "Валюта: три латинские буквы, например RUB.")
	c.require(p.Segment != nil || p.Minute != nil, "segment", "Цена: за часть СМС (segment), за минуту звонка (minute) или обе.")
	return c.err()
}

// SegmentPrice is what an SMS segment of an agency costs by a pool: the agency's own price of the pool, or the dearest of its links; else
// the common one, by the same rule. ok is false when there is none, when some link has none, or when currencies differ.
func (c *Catalog) SegmentPrice(agency, pool string, links []string, at time.Time) (price Price, currency string, ok bool) {
	all := c.prices.list(at)
	of := func(owner, pool, link string) *LinkPrice {
		for _, p := range all {
			if p.Agency == owner && p.Segment != nil && p.Pool == pool && p.Link == link {
				return p
			}
		}
		return nil
	}
	owners := []string{agency, ""}
	if agency == "" {
		owners = owners[1:]
	}
	for _, owner := range owners {
		if p := of(owner, pool, ""); p != nil {
			return *p.Segment, p.Currency, true
		}
		ok = len(links) > 0
		price, currency = 0, ""
		for _, link := range links {
			p := of(owner, "", link)
			if p == nil || currency != "" && p.Currency != currency {
				ok = false
				break
			}
			price, currency = max(price, *p.Segment), p.Currency
		}
		if ok {
			return price, currency, true
		}
	}
	return 0, "", false
}

// LinkPrices lists those in force, by code.
func (c *Catalog) LinkPrices(at time.Time) []*LinkPrice { return c.prices.list(at) }

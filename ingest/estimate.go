package ingest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/journal"
)

// Estimate is when a list will be through, should nothing change: what goes already in its pools and lanes goes first, everybody is told
// in the window of his own zones, and each link keeps its rate. Retries and pauses are not in it.
type Estimate struct {
	Rows          int64 // that still wait
	Segments      int64
	ListsAhead    int
	SegmentsAhead int64
	Cost          *float64  // of what still waits, in Currency; nil = some pool has no price in the catalogue, or it is not SMS
	Currency      string    // ISO 4217; "" without Cost
	PerSecond     int       // segments a second of the links it goes by; 0 = not known, and only windows are counted
	StartsAt      time.Time // of its first message; zero when it cannot be told within the horizon
	FinishesAt    time.Time // of its last; zero likewise
}

const (
	estimateStep    = 15 * time.Minute
	estimateHorizon = 60 * 24 * time.Hour
)

// wave is what waits for one set of zones in one pool.
type wave struct {
	dispatch.Demand
	segments float64
	own      bool
}

// Estimate says when what still waits of a list will be through, as if it were approved now.
func (s *Service) Estimate(ctx context.Context, p journal.Principal, id uuid.UUID) (Estimate, error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return Estimate{}, err
	}
	switch l.State {
	case Receiving, Checking, Rejected:
		return Estimate{}, s.wrongState(l)
	}
	now := s.cfg.Now()
	demand, err := dispatch.DemandOf(ctx, s.cfg.DB, l.No, now)
	if err != nil {
		return Estimate{}, err
	}
	each := perRow(l)
	own := make([]wave, len(demand))
	for i, d := range demand {
		if l.StartAt.After(d.From) {
			d.From = l.StartAt
		}
		own[i] = wave{Demand: d, segments: each * float64(d.Rows), own: true}
	}
	return s.estimate(ctx, l.Agency, l.No, laneOf(l), own)
}

// perRow is the segments of an average row of a list.
func perRow(l *List) float64 {
	sent := l.Accepted - l.Suppressed
	if sent <= 0 || l.Segments == 0 {
		return 1
	}
	return float64(l.Segments) / float64(sent)
}

func (s *Service) estimate(ctx context.Context, agency string, list int64, lane int16, own []wave) (Estimate, error) {
	var e Estimate
	pools := make(map[string]bool)
	total := 0.0
	for _, w := range own {
		pools[w.Pool] = true
		e.Rows += w.Rows
		total += w.segments
	}
	e.Segments = int64(math.Round(total))
	if len(own) == 0 {
		return e, nil
	}
	now := s.cfg.Now()
	rules, err := s.cfg.Catalog().Rules(now)
	if err != nil {
		return e, err
	}
	names := slices.Sorted(maps.Keys(pools))
	demand, err := dispatch.DemandAhead(ctx, s.cfg.DB, names, lane, list, now)
	if err != nil {
		return e, err
	}
	var nos []int64
	for _, d := range demand {
		if !slices.Contains(nos, d.ListNo) {
			nos = append(nos, d.ListNo)
		}
	}
	e.ListsAhead = len(nos)
	each, err := s.perRows(ctx, nos)
	if err != nil {
		return e, err
	}
	var waves []wave
	ahead := 0.0
	for _, d := range demand {
		w := wave{Demand: d, segments: each[d.ListNo] * float64(d.Rows)}
		ahead += w.segments
		waves = append(waves, w)
	}
	e.SegmentsAhead = int64(math.Round(ahead))
	waves = append(waves, own...)
	states, err := (&dispatch.Office{DB: s.cfg.DB}).Pools(ctx)
	if err != nil {
		return e, err
	}
	rates := ratesOf(states)
	e.Cost, e.Currency = s.cost(agency, own, states, now)
	e.PerSecond, e.StartsAt, e.FinishesAt = forecast(waves, names, rates, rules, now)
	return e, nil
}

// perRows is perRow of other lists, which need not be of the asker's agency: only how much there is of them is told.
func (s *Service) perRows(ctx context.Context, nos []int64) (map[int64]float64, error) {
	each := make(map[int64]float64, len(nos))
	if len(nos) == 0 {
		return each, nil
	}
	lists, err := ByNumber(ctx, s.cfg.DB, journal.System("ingest"), nos)
	if err != nil {
		return nil, err
	}
	for _, no := range nos {
		if each[no] = 1; lists[no] != nil { // an answer belongs to no list
			each[no] = perRow(lists[no])
		}
	}
	return each, nil
}

// cost is what rows that wait will be charged at most, as long as each is told by the first channel of its plan.
func (s *Service) cost(agency string, own []wave, pools []dispatch.PoolState, at time.Time) (cost *float64, currency string) {
	sum := 0.0
	for _, w := range own {
		var links []string
		for _, p := range pools {
			if p.Name == w.Pool {
				for _, l := range p.Links {
					links = append(links, l.Name)
				}
			}
		}
		price, in, ok := s.cfg.Catalog().SegmentPrice(agency, w.Pool, links, at)
		if !ok || w.Channel != "sms" || currency != "" && in != currency {
			return nil, ""
		}
		currency = in
		sum += w.segments * price.Float()
	}
	sum = math.Round(sum*100) / 100
	return &sum, currency
}

// ratesOf are the segments a second of each pool; a pool with a link of no stated rate is not in it.
func ratesOf(states []dispatch.PoolState) map[string]int {
	rates := make(map[string]int)
	for _, pool := range states {
		sum, known := 0, len(pool.Links) > 0
		for _, link := range pool.Links {
			if sum += link.State.Rate; link.State.Rate == 0 {
				known = false
			}
		}
		if known {
			rates[pool.Name] = sum
		}
	}
	return rates
}

// forecast plays the queues of pools in steps: in each a pool sends what its rate allows, the first in its queue whose people's window is
// open before the next. The times are zero when not all would be through within the horizon.
func forecast(waves []wave, pools []string, rates map[string]int, rules *catalog.Rules, now time.Time) (perSecond int, starts, finishes time.Time) {
	known := true
	for _, pool := range pools {
		rate, limited := rates[pool]
		if perSecond += rate; !limited {
			known = false
		}
		var queue []wave
		left := 0.0
		for _, w := range waves {
			if w.Pool != pool {
				continue
			}
			if queue = append(queue, w); w.own {
				left += w.segments
			}
		}
		at := now
		for left > 0 {
			if at.Sub(now) > estimateHorizon {
				return 0, time.Time{}, time.Time{}
			}
			next := at.Truncate(estimateStep).Add(estimateStep)
			room := math.Inf(1)
			if limited {
				room = float64(rate) * next.Sub(at).Seconds()
			}
			sent := 0.0
			for i := range queue {
				w := &queue[i]
				if w.segments == 0 || sent >= room || w.From.After(at) || !windowOpen(w, rules, at) {
					continue
				}
				n := min(w.segments, room-sent)
				moment := func(n float64) time.Time {
					if !limited {
						return at
					}
					return at.Add(time.Duration(n / float64(rate) * float64(time.Second)))
				}
				if w.own && (starts.IsZero() || moment(sent).Before(starts)) {
					starts = moment(sent)
				}
				sent += n
				w.segments -= n
				if w.own {
					left -= n
					if end := moment(sent); end.After(finishes) {
						finishes = end
					}
				}
				if w.segments < 1e-6 {
					w.segments = 0
				}
			}
			if left < 1e-6 {
				left = 0
			}
			at = next
		}
	}
	if !known {
		perSecond = 0
	}
	return perSecond, starts, finishes
}

// windowOpen says whether people of all the zones may be contacted at a moment.
func windowOpen(w *wave, rules *catalog.Rules, at time.Time) bool {
	window := &rules.SMS
	switch {
	case w.Channel == "voice":
		window = &rules.Voice
	case w.Wide:
		window = &rules.SMSUrgent
	}
	locations := w.Zones.Locations()
	for _, l := range locations {
		local := at.In(l)
		from, to, open := window.On(local, rules.Holidays)
		if !open || local.Before(from) || !local.Before(to) {
			return false
		}
	}
	return len(locations) > 0
}

// Sentence tells the estimate in a line.
func (e *Estimate) Sentence() string {
	if e.Rows == 0 {
		return "Отправлять больше нечего."
	}
	var s string
	if e.ListsAhead > 0 {
		s = fmt.Sprintf("Перед вами %d %s (%d СМС). ", e.ListsAhead, plural(e.ListsAhead, "список", "списка", "списков"), e.SegmentsAhead)
	}
	if e.FinishesAt.IsZero() {
		return s + "Окончание предсказать нельзя: не открывается окно или очередь длиннее 60 дней."
	}
	s += "Закончим примерно " + e.FinishesAt.In(moscow()).Format("02.01.2006 в 15:04") + " (МСК)."
	if e.PerSecond == 0 {
		s += " Скорость линии неизвестна: учтены только часы отправки."
	}
	return s
}

// plural chooses the form that goes with a number: 1 список, 2 списка, 5 списков.
func plural(n int, one, few, many string) string {
	switch {
	case n%100 >= 11 && n%100 <= 14:
		return many
	case n%10 == 1:
		return one
	case n%10 >= 2 && n%10 <= 4:
		return few
	}
	return many
}

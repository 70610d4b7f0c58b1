package catalog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rule is one number of the regulations. Its code says what it is and so which one of the values it carries.
type Rule struct {
	Head
	Title    string    `json:"title"`
	Window   *Window   `json:"window,omitempty"`   // window.sms, window.sms.urgent, window.voice
	Days     []string  `json:"days,omitempty"`     // holidays: 01-02 every year, 2027-01-02 once
	Count    *int      `json:"count,omitempty"`    // caps.…
	Percent  *int      `json:"percent,omitempty"`  // bad_share
	Duration *Duration `json:"duration,omitempty"` // gap, duplicate_period, receipt.give_up, uncertain.wait
	Backoff  *Backoff  `json:"backoff,omitempty"`  // retry.<reason>, retry.default
	Term     *Term     `json:"term,omitempty"`     // term.<life event>
	Codes    []string  `json:"codes,omitzero"`     // sensitive.bases
	Policy   string    `json:"policy,omitempty"`   // duplicates, duplicates.<agency>: warn, suppress
}

// The codes of the rules that every installation must have in force.
const (
	RuleWindowSMS       = "window.sms"
	RuleWindowSMSUrgent = "window.sms.urgent"
	RuleWindowVoice     = "window.voice"
	RuleHolidays        = "holidays"
	RuleSMSPerDay       = "caps.sms_per_day"
	RuleCallsPerDay     = "caps.calls_per_day"
	RuleGap             = "gap"
	RuleDuplicatePeriod = "duplicate_period"
	RuleBadShare        = "bad_share"
	RuleGiveUp          = "receipt.give_up"
	RuleUncertainWait   = "uncertain.wait"
	RuleRetryDefault    = "retry.default"
)

const (
	// Without them a row of a list cannot be sent to its loader's own handset; everything else goes on.
	RuleTestsPerList = "caps.tests_per_list"
	RuleTestsPerDay  = "caps.tests_per_day"

	// The legal bases under which a text may disclose health and the like. Without it none does.
	RuleSensitiveBases = "sensitive.bases"

	// What becomes of a row whose person is told the same by an earlier one: of all agencies, and with an agency's code behind it of one.
	// Without it the row is warned of, and told.
	RuleDuplicates   = "duplicates"
	duplicatesPrefix = RuleDuplicates + "."

	retryPrefix = "retry."
	termPrefix  = "term."
)

// The policies for duplicates.
const (
	DuplicatesWarn     = "warn"
	DuplicatesSuppress = "suppress"
)

// Outside these hours nobody is contacted, whatever the rules say.
const (
	earliest Clock = 8 * 60
	latest   Clock = 22 * 60
)

func (r *Rule) validate() error {
	var c checker
	values := 0
	for _, set := range []bool{r.Window != nil, r.Days != nil, r.Count != nil, r.Percent != nil, r.Duration != nil, r.Backoff != nil, r.Term != nil, r.Codes != nil, r.Policy != ""} {
		if set {
			values++
		}
	}
	var right bool
	switch {
	case r.Code == RuleWindowSMS, r.Code == RuleWindowSMSUrgent, r.Code == RuleWindowVoice:
		if right = r.Window != nil; right {
			r.Window.check(&c)
		}
	case r.Code == RuleHolidays:
		right = r.Days != nil
		_, err := parseHolidays(r.Days)
		c.require(err == nil, "days", "Праздничные дни: 01-02 для каждого года или 2027-01-02, без повторов.")
	case r.Code == RuleSMSPerDay, r.Code == RuleCallsPerDay, r.Code == RuleTestsPerList, r.Code == RuleTestsPerDay:
		right = r.Count != nil
		c.require(!right || *r.Count >= 1 && *r.Count <= 100, "count", "Число: от 1 до 100.")
	case r.Code == RuleBadShare:
		right = r.Percent != nil
		c.require(!right || *r.Percent >= 1 && *r.Percent <= 100, "percent", "Доля: от 1 до 100 процентов.")
	case r.Code == RuleGap, r.Code == RuleDuplicatePeriod, r.Code == RuleGiveUp, r.Code == RuleUncertainWait:
		right = r.Duration != nil
		c.require(!right || *r.Duration > 0 && r.Duration.Std() <= 366*24*time.Hour, "duration", "Длительность: больше нуля и не больше 366 дней.")
	case r.Code == RuleSensitiveBases:
		right = r.Codes != nil
		for _, code := range r.Codes {
			c.require(code != "" && len(code) <= 64 && strings.TrimSpace(code) == code, "codes", "Коды правовых оснований: до 64 знаков, без пробелов по краям.")
		}
	case r.Code == RuleDuplicates, strings.HasPrefix(r.Code, duplicatesPrefix):
		right = r.Policy != ""
		agency, one := strings.CutPrefix(r.Code, duplicatesPrefix)
		c.require(!one || participantPattern.MatchString(agency), "code", "Код правила: duplicates или duplicates.<код участника>, как duplicates.0001.000001.")
		c.require(!right || r.Policy == DuplicatesWarn || r.Policy == DuplicatesSuppress, "policy", "Что делать с повтором: warn (предупредить) или suppress (не отправлять).")
	case strings.HasPrefix(r.Code, retryPrefix):
		if right = r.Backoff != nil; right {
			r.Backoff.check(&c)
		}
	case strings.HasPrefix(r.Code, termPrefix):
		if right = r.Term != nil; right {
			r.Term.check(&c)
		}
	default:
		c.add("code", "Такого правила нет.")
		return c.err()
	}
	c.require(right && values == 1, "value", "У правила должно быть одно значение того вида, который назван его кодом.")
	return c.err()
}

// Rules are the regulations' numbers in force at one instant.
type Rules struct {
	SMS, SMSUrgent, Voice  Window
	Holidays               Holidays
	SMSPerDay, CallsPerDay int           // per phone and day of its zone
	TestsPerList           int           // test sendings of one list; zero = none may be made
	TestsPerDay            int           // test sendings by one account in 24 hours; zero = none may be made
	Gap                    time.Duration // between two messages to one phone
	DuplicatePeriod        time.Duration
	BadShare               int           // percent of bad rows that rejects a whole file
	GiveUp                 time.Duration // an accepted SMS without a receipt is unconfirmed after this
	UncertainWait          time.Duration // for a late receipt, before the list's policy is applied
	SensitiveBases         []string      // codes of legal bases under which a text may disclose health and the like
	retry                  map[string]Backoff
	terms                  map[string]Term
	duplicates             map[string]string // policy by agency; "" = of all others
}

// SuppressesDuplicates says of an agency's lists that a row whose person is told the same by an earlier one is not told again.
func (r *Rules) SuppressesDuplicates(agency string) bool {
	policy, own := r.duplicates[agency]
	if !own {
		policy = r.duplicates[""]
	}
	return policy == DuplicatesSuppress
}

// Retry is the back-off for a temporary result with this reason; retry.default where the reason has none of its own.
func (r *Rules) Retry(reason string) Backoff {
	if b, ok := r.retry[reason]; ok {
		return b
	}
	return r.retry[strings.TrimPrefix(RuleRetryDefault, retryPrefix)]
}

// Term is the term within which people must be told of a life event; false = none is set, and nothing is in or out of term.
func (r *Rules) Term(event string) (Term, bool) {
	t, ok := r.terms[event]
	return t, ok
}

// newRules gathers the rules in force. A missing number is an error: nothing may be sent by a guess.
func newRules(inForce []*Rule) (*Rules, error) {
	r := &Rules{retry: map[string]Backoff{}, terms: map[string]Term{}, duplicates: map[string]string{}}
	missing := map[string]bool{
		RuleWindowSMS: true, RuleWindowSMSUrgent: true, RuleWindowVoice: true, RuleHolidays: true, RuleSMSPerDay: true, RuleCallsPerDay: true,
		RuleGap: true, RuleDuplicatePeriod: true, RuleBadShare: true, RuleGiveUp: true, RuleUncertainWait: true, RuleRetryDefault: true,
	}
	for _, rule := range inForce {
		delete(missing, rule.Code)
		switch code := rule.Code; {
		case code == RuleWindowSMS:
			r.SMS = *rule.Window
		case code == RuleWindowSMSUrgent:
			r.SMSUrgent = *rule.Window
		case code == RuleWindowVoice:
			r.Voice = *rule.Window
		case code == RuleHolidays:
			r.Holidays, _ = parseHolidays(rule.Days)
		case code == RuleSMSPerDay:
			r.SMSPerDay = *rule.Count
		case code == RuleCallsPerDay:
			r.CallsPerDay = *rule.Count
		case code == RuleTestsPerList:
			r.TestsPerList = *rule.Count
		case code == RuleTestsPerDay:
			r.TestsPerDay = *rule.Count
		case code == RuleGap:
			r.Gap = rule.Duration.Std()
		case code == RuleDuplicatePeriod:
			r.DuplicatePeriod = rule.Duration.Std()
		case code == RuleBadShare:
			r.BadShare = *rule.Percent
		case code == RuleGiveUp:
			r.GiveUp = rule.Duration.Std()
		case code == RuleUncertainWait:
			r.UncertainWait = rule.Duration.Std()
		case code == RuleSensitiveBases:
			r.SensitiveBases = rule.Codes
		case code == RuleDuplicates, strings.HasPrefix(code, duplicatesPrefix):
			r.duplicates[strings.TrimPrefix(strings.TrimPrefix(code, RuleDuplicates), ".")] = rule.Policy
		case strings.HasPrefix(code, retryPrefix):
			r.retry[strings.TrimPrefix(code, retryPrefix)] = *rule.Backoff
		case strings.HasPrefix(code, termPrefix):
			r.terms[strings.TrimPrefix(code, termPrefix)] = *rule.Term
		}
	}
	if len(missing) > 0 {
		codes := make([]string, 0, len(missing))
		for code := range missing {
			codes = append(codes, code)
		}
		slices.Sort(codes)
		return nil, fmt.Errorf("catalogue: no rule in force for %s", strings.Join(codes, ", "))
	}
	return r, nil
}

// Clock is a time of day in minutes after midnight, written 09:00.
type Clock int

func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", int(c)/60, int(c)%60) }

// MarshalText writes 09:00.
func (c Clock) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads 09:00.
func (c *Clock) UnmarshalText(b []byte) error {
	t, err := time.Parse("15:04", string(b))
	if err != nil || len(b) != 5 {
		return fmt.Errorf("time of day %q: want 09:00", b)
	}
	*c = Clock(t.Hour()*60 + t.Minute())
	return nil
}

// On is this time of the day of t, in t's location.
func (c Clock) On(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), int(c)/60, int(c)%60, 0, 0, t.Location())
}

// Weekday is written mon … sun.
type Weekday time.Weekday

var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// MarshalText writes mon … sun.
func (d Weekday) MarshalText() ([]byte, error) { return []byte(weekdays[d]), nil }

// UnmarshalText reads mon … sun.
func (d *Weekday) UnmarshalText(b []byte) error {
	i := slices.Index(weekdays[:], string(b))
	if i < 0 {
		return fmt.Errorf("weekday %q: want mon … sun", b)
	}
	*d = Weekday(i)
	return nil
}

// Window is when people may be contacted, in their own time.
type Window struct {
	Spans            []Span `json:"spans"`
	ClosedOnHolidays bool   `json:"closed_on_holidays,omitempty"`
}

// Span is the window of some days of the week; From is inside it, To is not.
type Span struct {
	Days []Weekday `json:"days"`
	From Clock     `json:"from"`
	To   Clock     `json:"to"`
}

// On is the window of the day of t, in t's location; false = closed all day.
func (w *Window) On(t time.Time, holidays Holidays) (from, to time.Time, open bool) {
	if w.ClosedOnHolidays && holidays.Has(t) {
		return time.Time{}, time.Time{}, false
	}
	for _, s := range w.Spans {
		if slices.Contains(s.Days, Weekday(t.Weekday())) {
			return s.From.On(t), s.To.On(t), true
		}
	}
	return time.Time{}, time.Time{}, false
}

func (w *Window) check(c *checker) {
	seen := map[Weekday]bool{}
	for _, s := range w.Spans {
		c.require(s.From < s.To && s.From >= earliest && s.To <= latest, "window", "Окно: начало раньше конца, не раньше 08:00 и не позже 22:00.")
		for _, d := range s.Days {
			c.require(!seen[d], "window", "День недели назван в окне дважды.")
			seen[d] = true
		}
	}
	c.require(len(seen) > 0, "window", "В окне нет ни одного дня.")
}

// Holidays are the public holidays.
type Holidays struct {
	yearly map[[2]int]bool // month, day
	once   map[[3]int]bool // year, month, day
}

// Has says whether the day of t, in t's location, is a holiday.
func (h Holidays) Has(t time.Time) bool {
	y, m, d := t.Date()
	return h.yearly[[2]int{int(m), d}] || h.once[[3]int{y, int(m), d}]
}

func parseHolidays(days []string) (Holidays, error) {
	h := Holidays{yearly: map[[2]int]bool{}, once: map[[3]int]bool{}}
	if !distinct(days) {
		return h, fmt.Errorf("a holiday is named twice")
	}
	for _, day := range days {
		if t, err := time.Parse("01-02", day); err == nil {
			h.yearly[[2]int{int(t.Month()), t.Day()}] = true
			continue
		}
		t, err := time.Parse(time.DateOnly, day)
		if err != nil {
			return h, fmt.Errorf("holiday: %w", err)
		}
		h.once[[3]int{t.Year(), int(t.Month()), t.Day()}] = true
	}
	return h, nil
}

// Duration is written 30d, 72h, 10m, 30s.
type Duration time.Duration

// Std is the duration as package time has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalText writes whole days as 30d.
func (d Duration) MarshalText() ([]byte, error) {
	if day := 24 * time.Hour; d.Std() >= day && d.Std()%day == 0 {
		return fmt.Appendf(nil, "%dd", d.Std()/day), nil
	}
	return []byte(d.Std().String()), nil
}

// UnmarshalText reads 30d and whatever time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("duration in days: %w", err)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	std, err := time.ParseDuration(string(b))
	*d = Duration(std)
	return err
}

// Backoff is when a temporary result is tried again.
type Backoff struct {
	Delays []Duration `json:"delays"`          // before the second attempt, the third, …; the last one repeats
	Tries  int        `json:"tries,omitempty"` // attempts in all; 0 = until valid_until
}

// Next is the pause after so many attempts; false = no further one.
func (b Backoff) Next(tries int) (time.Duration, bool) {
	if len(b.Delays) == 0 || b.Tries > 0 && tries >= b.Tries {
		return 0, false
	}
	return b.Delays[min(max(tries-1, 0), len(b.Delays)-1)].Std(), true
}

func (b *Backoff) check(c *checker) {
	c.require(b.Tries >= 0 && b.Tries <= 100, "backoff", "Попыток: от 1 до 100, или 0 до конца срока.")
	c.require(b.Tries == 1 || len(b.Delays) > 0, "backoff", "Укажите паузы между попытками.")
	for _, d := range b.Delays {
		c.require(d.Std() >= time.Second && d.Std() <= 7*24*time.Hour, "backoff", "Пауза: от 1 секунды до 7 дней.")
	}
}

// Term says by when people must be told of an event.
type Term struct {
	From    string `json:"from"` // event_date, received
	Days    int    `json:"days"` // after it; before it when negative
	Working bool   `json:"working,omitempty"`
}

// The days a term may be counted from.
const (
	FromEventDate = "event_date"
	FromReceived  = "received"
)

func (t *Term) check(c *checker) {
	c.require(t.From == FromEventDate || t.From == FromReceived, "term", "Срок считается от event_date или received.")
	c.require(t.Days >= -366 && t.Days <= 366 && (t.From == FromEventDate || t.Days >= 0), "term",
		"Дней: от -366 до 366; от поступления списка только вперёд.")
}

// By is the instant at which the term is over: the end of its last day in the location of received. A term counted from the event
// needs its date; false = the row has none, and so no term.
func (t Term) By(event, received time.Time, holidays Holidays) (time.Time, bool) {
	y, m, d := received.Date()
	if t.From == FromEventDate {
		if event.IsZero() {
			return time.Time{}, false
		}
		y, m, d = event.Date()
	}
	day := time.Date(y, m, d, 0, 0, 0, 0, received.Location())
	step := 1
	if t.Days < 0 {
		step = -1
	}
	for left := t.Days * step; left > 0; {
		day = day.AddDate(0, 0, step)
		if !t.Working || !(day.Weekday() == time.Saturday || day.Weekday() == time.Sunday || holidays.Has(day)) {
			left--
		}
	}
	return day.AddDate(0, 0, 1), true
}

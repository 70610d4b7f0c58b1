package catalog

import (
	"bytes"
	"time"
)

// monthsOf are the months as they stand behind a day.
var monthsOf = [...]string{"января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября", "декабря"}

func (f *filter) date(dst []byte, start int) ([]byte, TemplateFault) {
	y, m, d, ok := parseDate(bytes.TrimSpace(dst[start:]))
	if !ok {
		return dst, FaultDate
	}
	dst = dst[:start]
	switch f.kind {
	case filterDateLong: // 5 марта 2027 года
		dst = append(append(append(appendInt(dst, d), ' '), monthsOf[m-1]...), ' ')
		return append(appendInt(dst, y), " года"...), ""
	case filterDateWords: // пятого марта две тысячи двадцать седьмого года
		dst = append(append(append(appendOrdinalOf(dst, d), ' '), monthsOf[m-1]...), ' ')
		return append(appendOrdinalOf(dst, y), " года"...), ""
	}
	return append(dst, byte('0'+d/10), byte('0'+d%10), '.', byte('0'+m/10), byte('0'+m%10), '.',
		byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10)), ""
}

func (f *filter) time(dst []byte, start int) ([]byte, TemplateFault) {
	h, m, ok := parseTime(bytes.TrimSpace(dst[start:]))
	if !ok {
		return dst, FaultTime
	}
	dst = dst[:start]
	if f.kind == filterTime { // 9:05
		return append(appendInt(dst, h), ':', byte('0'+m/10), byte('0'+m%10)), ""
	}
	dst = appendCardinal(dst, int64(h), masculine)
	dst = append(append(dst, ' '), formOf(int64(h), &[3]string{"час", "часа", "часов"})...)
	if m > 0 {
		dst = appendCardinal(append(dst, ' '), int64(m), feminine)
		dst = append(append(dst, ' '), formOf(int64(m), &[3]string{"минута", "минуты", "минут"})...)
	}
	return dst, ""
}

// parseTime reads 9:05, 09:05:00, 10.30 and 10-30, a time behind a date, and the part of a day by which spreadsheets number times.
// 0.25 might be both and is refused.
func parseTime(b []byte) (hour, minute int, ok bool) {
	if i := bytes.IndexAny(b, " T"); i >= 0 {
		if _, _, _, ok := parseDate(b[:i]); !ok {
			return 0, 0, false
		}
		b = bytes.TrimSpace(b[i+1:])
	}
	h, n := digits(b, 2)
	if n == 0 || n == len(b) {
		return 0, 0, false
	}
	mark, rest := b[n], b[n+1:]
	m, mn := digits(rest, 2)
	if fraction, fn := digits(rest, 9); mark == '.' && n == 1 && h == 0 && fn != 2 {
		if fn == 0 || len(rest) > 20 || len(bytes.Trim(rest, "0123456789")) > 0 {
			return 0, 0, false
		}
		scale := 1
		for range fn {
			scale *= 10
		}
		minutes := (fraction*24*60 + scale/2) / scale // to the nearest minute, as a person sees it
		return minutes / 60, minutes % 60, minutes < 24*60
	}
	rest = rest[mn:]
	switch {
	case mn != 2 || h > 23 || m > 59, mark != ':' && mark != '.' && mark != '-', mark == '.' && n == 1 && h == 0:
		return 0, 0, false
	case mark == ':' && len(rest) > 0 && rest[0] == ':': // seconds are dropped, and a fraction or zone behind them
		if _, sn := digits(rest[1:], 2); sn != 2 {
			return 0, 0, false
		}
		return h, m, len(rest) <= 25 && len(bytes.Trim(rest, "0123456789:.+-Z")) == 0
	}
	return h, m, len(rest) == 0
}

// parseDate reads 2027-03-15 and 15.03.2027, with or without a time of day behind them, and the five digits by which spreadsheets
// number the days 18.05.1927 to 13.10.2173. Any other number is refused: a year is not a day, and a wrong date is worse than none.
func parseDate(b []byte) (year, month, day int, ok bool) {
	if len(b) == 5 || len(b) > 5 && b[5] == '.' {
		if serial, n := digits(b, 5); n == 5 && serial >= 10000 && len(b) <= 25 {
			if rest := b[5:]; len(rest) > 0 {
				if _, n := digits(rest[1:], len(rest)); n == 0 || n != len(rest)-1 {
					return 0, 0, 0, false
				}
			}
			t := time.Date(1899, 12, 30+serial, 0, 0, 0, 0, time.UTC)
			return t.Year(), int(t.Month()), t.Day(), true
		}
	}
	first, n := digits(b, 4)
	switch {
	case n == 4 && len(b) >= 10 && b[4] == '-' && b[7] == '-':
		m, mn := digits(b[5:], 2)
		d, dn := digits(b[8:], 2)
		if mn != 2 || dn != 2 {
			return 0, 0, 0, false
		}
		year, month, day, b = first, m, d, b[10:]
	case n == 1 || n == 2:
		day, b = first, b[n:]
		if len(b) == 0 || b[0] != '.' {
			return 0, 0, 0, false
		}
		month, n = digits(b[1:], 2)
		b = b[1+n:]
		if n == 0 || len(b) == 0 || b[0] != '.' {
			return 0, 0, 0, false
		}
		if year, n = digits(b[1:], 4); n != 4 {
			return 0, 0, 0, false
		}
		b = b[5:]
	default:
		return 0, 0, 0, false
	}
	if !timeOfDay(b) || year < 1900 || year > 2199 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, 0, 0, false
	}
	return year, month, day, true
}

// digits reads at most limit digits from the start of b and says how many there were.
func digits(b []byte, limit int) (value, n int) {
	for n < len(b) && n < limit && b[n] >= '0' && b[n] <= '9' {
		if n < 9 {
			value = value*10 + int(b[n]-'0')
		}
		n++
	}
	return value, n
}

// timeOfDay accepts nothing, or a space or T with a time such as 0:00:00 or 09:30:00.5+03:00 behind it.
func timeOfDay(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if (b[0] != ' ' && b[0] != 'T') || len(b) < 5 || len(b) > 36 {
		return false
	}
	colons := 0
	for _, c := range b[1:] {
		switch {
		case c == ':':
			colons++
		case (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' && c != 'Z':
			return false
		}
	}
	return colons > 0
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

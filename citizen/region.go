package citizen

import "strings"

// Region is a subject of the Federation by its subject code ("22" is Алтайский край), as the catalogue writes an agency's region.
// It is not an OKTMO prefix: there 22 is Нижегородская область. Empty is no region.
type Region string

// subject is one row of the table of subjects. Codes of OKTMO are prefixes, the longest wins; abc are the geographic phone codes.
type subject struct {
	code  Region
	title string
	zones Zones
	oktmo string
	abc   []uint16
}

// subjects is domain.md 3.4 joined with the codes of ОК 033 and of the numbering plan. Where tzdata knows the land of the table's
// row by a zone of its own that differs only in the past (Kirov, Volgograd, Simferopol), Europe/Moscow stands for it.
var subjects = []subject{
	{"01", "Республика Адыгея", moscow, "79", []uint16{877}},
	{"02", "Республика Башкортостан", yekaterinburg, "80", []uint16{347}},
	{"03", "Республика Бурятия", "Asia/Irkutsk", "81", []uint16{301}},
	{"04", "Республика Алтай", "Asia/Barnaul", "84", []uint16{388}},
	{"05", "Республика Дагестан", moscow, "82", []uint16{872}},
	{"06", "Республика Ингушетия", moscow, "26", []uint16{873}},
	{"07", "Кабардино-Балкарская Республика", moscow, "83", []uint16{866}},
	{"08", "Республика Калмыкия", moscow, "85", []uint16{847}},
	{"09", "Карачаево-Черкесская Республика", moscow, "91", []uint16{878}},
	{"10", "Республика Карелия", moscow, "86", []uint16{814}},
	{"11", "Республика Коми", moscow, "87", []uint16{821}},
	{"12", "Республика Марий Эл", moscow, "88", []uint16{836}},
	{"13", "Республика Мордовия", moscow, "89", []uint16{834}},
	{"14", "Республика Саха (Якутия)", yakutia, "98", []uint16{411}},
	{"15", "Республика Северная Осетия – Алания", moscow, "90", []uint16{867}},
	{"16", "Республика Татарстан", moscow, "92", []uint16{843, 855}},
	{"17", "Республика Тыва", krasnoyarsk, "93", []uint16{394}},
	{"18", "Удмуртская Республика", samara, "94", []uint16{341}},
	{"19", "Республика Хакасия", krasnoyarsk, "95", []uint16{390}},
	{"20", "Чеченская Республика", moscow, "96", []uint16{871}},
	{"21", "Чувашская Республика", moscow, "97", []uint16{835}},
	{"22", "Алтайский край", "Asia/Barnaul", "01", []uint16{385}},
	{"23", "Краснодарский край", moscow, "03", []uint16{861, 862}},
	{"24", "Красноярский край", krasnoyarsk, "04", []uint16{391}},
	{"25", "Приморский край", vladivostok, "05", []uint16{423}},
	{"26", "Ставропольский край", moscow, "07", []uint16{865, 879}},
	{"27", "Хабаровский край", vladivostok, "08", []uint16{421}},
	{"28", "Амурская область", "Asia/Yakutsk", "10", []uint16{416}},
	{"29", "Архангельская область", moscow, "11", []uint16{818}},
	{"30", "Астраханская область", "Europe/Astrakhan", "12", []uint16{851}},
	{"31", "Белгородская область", moscow, "14", []uint16{472}},
	{"32", "Брянская область", moscow, "15", []uint16{483}},
	{"33", "Владимирская область", moscow, "17", []uint16{492}},
	{"34", "Волгоградская область", moscow, "18", []uint16{844}},
	{"35", "Вологодская область", moscow, "19", []uint16{817, 820}},
	{"36", "Воронежская область", moscow, "20", []uint16{473}},
	{"37", "Ивановская область", moscow, "24", []uint16{493}},
	{"38", "Иркутская область", "Asia/Irkutsk", "25", []uint16{395}},
	{"39", "Калининградская область", "Europe/Kaliningrad", "27", []uint16{401}},
	{"40", "Калужская область", moscow, "29", []uint16{484}},
	{"41", "Камчатский край", "Asia/Kamchatka", "30", []uint16{415}},
	{"42", "Кемеровская область", "Asia/Novokuznetsk", "32", []uint16{384}},
	{"43", "Кировская область", moscow, "33", []uint16{833}},
	{"44", "Костромская область", moscow, "34", []uint16{494}},
	{"45", "Курганская область", yekaterinburg, "37", []uint16{352}},
	{"46", "Курская область", moscow, "38", []uint16{471}},
	{"47", "Ленинградская область", moscow, "41", []uint16{813}},
	{"48", "Липецкая область", moscow, "42", []uint16{474}},
	{"49", "Магаданская область", "Asia/Magadan", "44", []uint16{413}},
	{"50", "Московская область", moscow, "46", []uint16{496, 498}},
	{"51", "Мурманская область", moscow, "47", []uint16{815}},
	{"52", "Нижегородская область", moscow, "22", []uint16{831}},
	{"53", "Новгородская область", moscow, "49", []uint16{816}},
	{"54", "Новосибирская область", "Asia/Novosibirsk", "50", []uint16{383}},
	{"55", "Омская область", "Asia/Omsk", "52", []uint16{381}},
	{"56", "Оренбургская область", yekaterinburg, "53", []uint16{353}},
	{"57", "Орловская область", moscow, "54", []uint16{486}},
	{"58", "Пензенская область", moscow, "56", []uint16{841}},
	{"59", "Пермский край", yekaterinburg, "57", []uint16{342}},
	{"60", "Псковская область", moscow, "58", []uint16{811}},
	{"61", "Ростовская область", moscow, "60", []uint16{863}},
	{"62", "Рязанская область", moscow, "61", []uint16{491}},
	{"63", "Самарская область", samara, "36", []uint16{846, 848}},
	{"64", "Саратовская область", "Europe/Saratov", "63", []uint16{845}},
	{"65", "Сахалинская область", "Asia/Sakhalin", "64", []uint16{424}},
	{"66", "Свердловская область", yekaterinburg, "65", []uint16{343}},
	{"67", "Смоленская область", moscow, "66", []uint16{481}},
	{"68", "Тамбовская область", moscow, "68", []uint16{475}},
	{"69", "Тверская область", moscow, "28", []uint16{482}},
	{"70", "Томская область", "Asia/Tomsk", "69", []uint16{382}},
	{"71", "Тульская область", moscow, "70", []uint16{487}},
	{"72", "Тюменская область", yekaterinburg, "71", []uint16{345}},
	{"73", "Ульяновская область", "Europe/Ulyanovsk", "73", []uint16{842}},
	{"74", "Челябинская область", yekaterinburg, "75", []uint16{351}},
	{"75", "Забайкальский край", "Asia/Chita", "76", []uint16{302}},
	{"76", "Ярославская область", moscow, "78", []uint16{485}},
	{"77", "Город Москва", moscow, "45", []uint16{495, 499}},
	{"78", "Город Санкт-Петербург", moscow, "40", []uint16{812}},
	{"79", "Еврейская автономная область", vladivostok, "99", []uint16{426}},
	{"82", "Республика Крым", moscow, "", nil}, // the vehicle code, beside 91
	{"83", "Ненецкий автономный округ", moscow, "118", nil},
	{"86", "Ханты-Мансийский автономный округ – Югра", yekaterinburg, "718", []uint16{346}},
	{"87", "Чукотский автономный округ", "Asia/Anadyr", "77", []uint16{427}},
	{"89", "Ямало-Ненецкий автономный округ", yekaterinburg, "719", []uint16{349}},
	{"91", "Республика Крым", moscow, "35", []uint16{365}},
	{"92", "Город Севастополь", moscow, "67", []uint16{869}},
}

// otherABC are geographic codes in use whose land is no row of subjects.
var otherABC = []uint16{336, 856, 857, 860}

const noSubject = 255

// abcRegion gives for each geographic code its place in subjects plus one, noSubject for a code in use without one, 0 for no code.
var abcRegion = func() (t [1000]uint8) {
	for i, s := range subjects {
		for _, code := range s.abc {
			t[code] = uint8(i + 1)
		}
	}
	for _, code := range otherABC {
		t[code] = noSubject
	}
	return t
}()

// The table by what it is looked up with.
var (
	subjectByCode  = subjectsBy(func(s *subject) string { return string(s.code) })
	subjectByOKTMO = subjectsBy(func(s *subject) string { return s.oktmo })
	subjectByTitle = subjectsBy(func(s *subject) string { return titleWords(s.title) })
)

func subjectsBy(key func(*subject) string) map[string]*subject {
	m := make(map[string]*subject, len(subjects))
	for i := range subjects {
		m[key(&subjects[i])] = &subjects[i] // 91 comes after 82
	}
	delete(m, "")
	return m
}

// Zones is where clocks of the region may stand; empty for an unknown code.
func (r Region) Zones() Zones {
	if s := subjectByCode[string(r)]; s != nil {
		return s.zones
	}
	return ""
}

// Region is where a landline stands, by its geographic code. A mobile code says nothing sure (numbers are carried between regions
// with their operators), so a mobile has none.
func (p Phone) Region() Region {
	code := p.code()
	if code >= uint64(len(abcRegion)) {
		return ""
	}
	i := abcRegion[code]
	if i == 0 || i == noSubject {
		return ""
	}
	return subjects[i-1].code
}

func oktmoSubject(digits string) *subject {
	for n := min(len(digits), 3); n >= 2; n-- {
		if s := subjectByOKTMO[digits[:n]]; s != nil {
			return s
		}
	}
	return nil
}

// oktmoDigits strips blanks and restores the leading zero that codes of 01 to 08 lose; empty for what is no code.
func oktmoDigits(s string) string {
	var b [12]byte
	d := b[:0]
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			if len(d) == 11 {
				return ""
			}
			d = append(d, byte(c))
		case c == ' ' || c == '\t' || isBlank(c):
		default:
			return ""
		}
	}
	switch len(d) {
	case 1, 7, 10: // 2, 8 and 11 digits less the zero
		return "0" + string(d)
	case 2, 3, 4, 5, 6, 8, 11:
		return string(d)
	default:
		return ""
	}
}

// RegionByTitle finds a subject by its name as people write it: «Алтайский край», «алтайский», «респ. Коми», «Якутия», «г. Москва».
func RegionByTitle(title string) Region {
	words := titleWords(title)
	if s := subjectByTitle[words]; s != nil {
		return s.code
	}
	return otherTitles[words]
}

// otherTitles are names in use beside the official ones, in the form of titleWords.
var otherTitles = map[string]Region{
	"якутия": "14", "саха": "14", "северная осетия": "15", "чувашия": "21", "чувашская чувашия": "21", "кемеровская кузбасс": "42",
	"кузбасс": "42", "ханты мансийский": "86", "югра": "86", "хмао": "86", "хмао югра": "86", "янао": "89", "нао": "83", "чао": "87", "еао": "79",
	"удмуртия": "18", "чечня": "20", "башкирия": "02", "татария": "16", "кабардино балкария": "07", "карачаево черкесия": "09",
	"спб": "78", "петербург": "78", "чукотка": "87", "камчатка": "41", "забайкалье": "75", "тува": "17",
}

// titleWords folds a title to its distinguishing words.
func titleWords(title string) string {
	words := strings.FieldsFunc(foldRussian(title), func(c rune) bool { return c < 'а' || c > 'я' })
	kept := words[:0]
	for _, w := range words {
		switch w {
		case "республика", "респ", "область", "обл", "край", "город", "г", "автономный", "автономная", "округ", "ао", "федерального", "значения":
		default:
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

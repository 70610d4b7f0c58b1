package citizen_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/nyaruka/phonenumbers"

	"ekc/citizen"
)

// Subject codes by zone, as domain facts list them.
var zoneRows = map[string]string{
	"Europe/Kaliningrad": "39",
	"Europe/Moscow": "01 05 06 07 08 09 10 11 12 13 15 16 20 21 23 26 29 31 32 33 34 35 36 37 40 43 44 46 47 48 50 51 52 53 57 58 60 61 62 67 68 " +
		"69 71 76 77 78 82 91 83 92",
	"Europe/Samara": "18 63", "Europe/Saratov": "64", "Europe/Astrakhan": "30", "Europe/Ulyanovsk": "73",
	"Asia/Yekaterinburg": "02 45 56 59 66 72 74 86 89",
	"Asia/Omsk":          "55",
	"Asia/Krasnoyarsk":   "17 19 24", "Asia/Novosibirsk": "54", "Asia/Barnaul": "04 22", "Asia/Tomsk": "70", "Asia/Novokuznetsk": "42",
	"Asia/Irkutsk": "03 38",
	"Asia/Chita":   "75", "Asia/Yakutsk": "28",
	"Asia/Vladivostok": "25 27 79",
	"Asia/Magadan":     "49", "Asia/Sakhalin": "65",
	"Asia/Kamchatka": "41", "Asia/Anadyr": "87",
	"Asia/Srednekolymsk+Asia/Vladivostok+Asia/Yakutsk": "14",
}

func TestEverySubjectHasTheZoneOfTheTable(t *testing.T) {
	t.Parallel()
	for zones, codes := range zoneRows {
		for _, code := range strings.Fields(codes) {
			region := citizen.Region(code)
			if string(region.Zones()) != zones || region.Title() == "" {
				t.Errorf("%s %s: %s, want %s", code, region.Title(), region.Zones(), zones)
			}
		}
	}
	if citizen.Region("99").Zones() != "" || citizen.Region("").Zones() != "" {
		t.Error("an unknown region has zones")
	}
}

// The table's prefixes of ОК 033 against the names they have there, found by name, not by place.
func TestOKTMOPrefixBelongsToTheSubjectOfThatName(t *testing.T) {
	t.Parallel()
	const classifier = `01 Алтайский край|03 Краснодарский край|04 Красноярский край|05 Приморский край|07 Ставропольский край|08 Хабаровский край|
10 Амурская область|11 Архангельская область|118 Ненецкий автономный округ|12 Астраханская область|14 Белгородская область|15 Брянская область|
17 Владимирская область|18 Волгоградская область|19 Вологодская область|20 Воронежская область|22 Нижегородская область|24 Ивановская область|
25 Иркутская область|26 Республика Ингушетия|27 Калининградская область|28 Тверская область|29 Калужская область|30 Камчатский край|
32 Кемеровская область - Кузбасс|33 Кировская область|34 Костромская область|35 Республика Крым|36 Самарская область|37 Курганская область|
38 Курская область|40 город Санкт-Петербург|41 Ленинградская область|42 Липецкая область|44 Магаданская область|45 город Москва|
46 Московская область|47 Мурманская область|49 Новгородская область|50 Новосибирская область|52 Омская область|53 Оренбургская область|
54 Орловская область|56 Пензенская область|57 Пермский край|58 Псковская область|60 Ростовская область|61 Рязанская область|
63 Саратовская область|64 Сахалинская область|65 Свердловская область|66 Смоленская область|67 город Севастополь|68 Тамбовская область|
69 Томская область|70 Тульская область|71 Тюменская область|718 Ханты-Мансийский автономный округ - Югра|719 Ямало-Ненецкий автономный округ|
73 Ульяновская область|75 Челябинская область|76 Забайкальский край|77 Чукотский автономный округ|78 Ярославская область|79 Республика Адыгея|
80 Республика Башкортостан|81 Республика Бурятия|82 Республика Дагестан|83 Кабардино-Балкарская Республика|84 Республика Алтай|
85 Республика Калмыкия|86 Республика Карелия|87 Республика Коми|88 Республика Марий Эл|89 Республика Мордовия|
90 Республика Северная Осетия-Алания|91 Карачаево-Черкесская Республика|92 Республика Татарстан|93 Республика Тыва|94 Удмуртская Республика|
95 Республика Хакасия|96 Чеченская Республика|97 Чувашская Республика - Чувашия|98 Республика Саха (Якутия)|99 Еврейская автономная область`
	seen := map[citizen.Region]bool{}
	for row := range strings.SplitSeq(classifier, "|") {
		prefix, name, _ := strings.Cut(strings.TrimSpace(row), " ")
		code := prefix + strings.Repeat("0", 8-len(prefix))
		byCode, byName := citizen.OKTMORegion(code), citizen.RegionByTitle(name)
		if byCode == "" || byCode != byName {
			t.Errorf("%s %s: by code %s (%s), by name %s", code, name, byCode, byCode.Title(), byName)
		}
		if seen[byCode] {
			t.Errorf("%s twice", byCode)
		}
		seen[byCode] = true
	}
	for zones, codes := range zoneRows {
		for _, code := range strings.Fields(codes) {
			if !seen[citizen.Region(code)] && code != "82" { // 82 is 91 by another name
				t.Errorf("%s %s has no prefix", zones, code)
			}
		}
	}
}

func TestOKTMOInTheFormsItComes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]citizen.Region{
		"01701000": "22", "1701000": "22", "01701000001": "22", "1701000001": "22", "71 876 000": "86", "71\u00a0916 000": "89", "71701000": "72",
		"11851000": "83", "11701000": "29", "77": "87", "1": "22", "45000000": "77", "46000000": "50", "92701000001": "16",
		"": "", "0": "", "00000000": "", "123456789": "", "450000000000": "", "45-000": "", "Москва": "", "02000000": "",
	} {
		if got := citizen.OKTMORegion(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestGeographicCodesAgreeWithPhonenumbers(t *testing.T) {
	t.Parallel()
	// What differs: theirs divides the capital's codes otherwise, and knows lands that are no row of our table.
	differ := map[int]string{495: "77", 496: "50", 498: "50", 499: "77", 336: "", 840: "", 856: "", 857: "", 860: ""}
	for code := 300; code < 900; code++ {
		national := fmt.Sprintf("%03d2234567", code)
		n, err := phonenumbers.Parse("+7"+national, "RU")
		if err != nil {
			t.Fatal(err)
		}
		ours, err := citizen.ParsePhone(national)
		if !phonenumbers.IsValidNumber(n) || phonenumbers.GetNumberType(n) != phonenumbers.FIXED_LINE {
			if err == nil && ours.Kind() == citizen.Landline {
				t.Errorf("%d: ours alone", code)
			}
			continue
		}
		if code/100 >= 6 && code/100 <= 7 || code == 840 {
			continue
		}
		title, err2 := phonenumbers.GetGeocodingForNumber(n, "ru")
		if err != nil || err2 != nil {
			t.Errorf("%d %s: %v %v", code, title, err, err2)
			continue
		}
		want, known := differ[code]
		if !known {
			want = string(citizen.RegionByTitle(title))
			if want == "" {
				t.Errorf("%d: nobody knows %s", code, title)
			}
		}
		if string(ours.Region()) != want {
			t.Errorf("%d: %s, theirs %s", code, ours.Region(), title)
		}
	}
}

func TestChooseZonesInOrder(t *testing.T) {
	t.Parallel()
	mobile, barnaul, baikonur := must(citizen.ParsePhone("89036550550")), must(citizen.ParsePhone("83852123456")), must(citizen.ParsePhone("83362212345"))
	yakutsk, neryungri := must(citizen.ParsePhone("84112123456")), must(citizen.ParsePhone("84114712345"))
	const yakutia = "Asia/Srednekolymsk+Asia/Vladivostok+Asia/Yakutsk"
	for _, c := range []struct {
		name, territory string
		phone           citizen.Phone
		sender          citizen.Region
		want            citizen.Zones
		basis           citizen.ZoneBasis
	}{
		{"territory first", "81000000", barnaul, "39", "Asia/Irkutsk", citizen.ByOKTMO},
		{"territory by name", "Респ. Бурятия", barnaul, "39", "Asia/Irkutsk", citizen.ByOKTMO},
		{"territory with its code and name", "22 Алтайский край", mobile, "39", "Asia/Barnaul", citizen.ByOKTMO},
		{"then the landline", "", barnaul, "39", "Asia/Barnaul", citizen.ByPhone},
		{"bad territory is none", "не указано", barnaul, "39", "Asia/Barnaul", citizen.ByPhone},
		{"a mobile says nothing", "", mobile, "39", "Europe/Kaliningrad", citizen.BySender},
		{"a landline of no known region", "", baikonur, "39", "Europe/Kaliningrad", citizen.BySender},
		{"then Moscow", "", mobile, "", "Europe/Moscow", citizen.ByDefault},
		{"unknown sender", "", citizen.Phone{}, "99", "Europe/Moscow", citizen.ByDefault},
		{"Yakutia has three", "98600000", mobile, "", yakutia, citizen.ByOKTMO},
		{"the city of Yakutsk has one", "98701000001", mobile, "", "Asia/Yakutsk", citizen.ByOKTMO},
		{"its phones too", "", yakutsk, "", "Asia/Yakutsk", citizen.ByPhone},
		{"phones of Yakutia elsewhere", "", neryungri, "", yakutia, citizen.ByPhone},
		{"two digits may be OKTMO or subject code", "77", mobile, "", "Asia/Anadyr+Europe/Moscow", citizen.ByOKTMO},
		{"two digits that mean the same zone", "34", mobile, "", "Europe/Moscow", citizen.ByOKTMO},
		{"two digits of one meaning", "02", mobile, "", "Asia/Yekaterinburg", citizen.ByOKTMO},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if zones, basis := citizen.ChooseZones(c.territory, c.phone, c.sender); zones != c.want || basis != c.basis {
				t.Fatalf("got %s by %s, want %s by %s", zones, basis, c.want, c.basis)
			}
		})
	}
}

func TestRegionByTitleAsPeopleWriteIt(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]citizen.Region{
		"Алтайский край": "22", "АЛТАЙСКИЙ": "22", "Республика Алтай": "04", "респ. Алтай": "04", "Якутия": "14", "Саха (Якутия)": "14", "г. Москва": "77",
		"г.Москва": "77", "Московская обл.": "50", "ХМАО-Югра": "86", "ЯНАО": "89", "Ханты–Мансийский АО": "86", "Санкт-Петербург": "78", "СПб": "78",
		"Орёл": "", "Орловская область": "57", "область": "", "": "", "Крым": "91", "Кемеровская область — Кузбасс": "42", "Чyвашия": "21",
	} {
		if got := citizen.RegionByTitle(title); got != want {
			t.Errorf("%s: %q, want %q", title, got, want)
		}
	}
}

func TestZonesAreCanonical(t *testing.T) {
	t.Parallel()
	const z = citizen.Zones("Asia/Chita+Asia/Yakutsk")
	if u := citizen.Zones("Asia/Yakutsk").Union("Asia/Chita").Union(z); u != z {
		t.Fatalf("union is %s", u)
	}
	names := []string{}
	for _, l := range z.Locations() {
		names = append(names, l.String())
	}
	if !slices.Equal(names, []string{"Asia/Chita", "Asia/Yakutsk"}) {
		t.Fatalf("locations %v", names)
	}
	for _, bad := range []string{"", "Local", "Mars/Phobos", "Asia/Chita+", "../etc/passwd"} {
		if citizen.Zones(bad).Locations() != nil {
			t.Errorf("%q taken", bad)
		}
	}
}

func TestDateStartsAndEndsInTheCitizensZone(t *testing.T) {
	t.Parallel()
	day := must(citizen.ParseDate("15.03.2027"))
	const zones = "Asia/Anadyr+Europe/Moscow"
	if got, want := day.Starts(zones), time.Date(2027, 3, 14, 21, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("starts %s, want %s: in Moscow it has not begun before", got, want)
	}
	if got, want := day.Ends(zones), time.Date(2027, 3, 15, 12, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("ends %s, want %s: in Anadyr it is over by then", got, want)
	}
	for _, same := range []string{"2027-03-15", "15.3.2027"} {
		if got, err := citizen.ParseDate(same); err != nil || got != day {
			t.Errorf("%q is %v, %v", same, got, err)
		}
	}
	for _, bad := range []string{"", "1.2.27", "15.3.20270", "15.3", "31.02.2027", "2027-13-01", "15.03.27", "00.00.0000", "0000-01-01"} {
		if _, err := citizen.ParseDate(bad); err == nil {
			t.Errorf("%q taken", bad)
		}
	}
}

package citizen_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"

	"ekc/citizen"
)

func TestParsePhoneReadsWhatAgenciesWrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		kind           citizen.PhoneKind
	}{
		{"eleven digits", "79036550550", "+79036550550", citizen.Mobile},
		{"plus", "+79036550550", "+79036550550", citizen.Mobile},
		{"eight with dashes", "8-903-655-05-50", "+79036550550", citizen.Mobile},
		{"eight", "89036550550", "+79036550550", citizen.Mobile},
		{"ten digits of ЕГИССО", "9036550550", "+79036550550", citizen.Mobile},
		{"brackets", "+7 (903) 655-05-50", "+79036550550", citizen.Mobile},
		{"all in brackets", "(+7 903) 655 05 50", "+79036550550", citizen.Mobile},
		{"dots", "8.903.655.05.50", "+79036550550", citizen.Mobile},
		{"no-break spaces", "8\u00a0903\u202f655\u200905\u00a050", "+79036550550", citizen.Mobile},
		{"unicode dashes", "8–903—655‑05−50", "+79036550550", citizen.Mobile},
		{"soft hyphen", "8903655\u00ad0550", "+79036550550", citizen.Mobile},
		{"marks of direction from a phone book", "\u202a+7 903 655-05-50\u202c", "+79036550550", citizen.Mobile},
		{"byte order mark", "\ufeff89036550550", "+79036550550", citizen.Mobile},
		{"blanks around", " \t89036550550\r\n", "+79036550550", citizen.Mobile},
		{"spreadsheet's text mark", "'89036550550", "+79036550550", citizen.Mobile},
		{"spreadsheet number", "79036550550.0", "+79036550550", citizen.Mobile},
		{"spreadsheet number, comma", "79036550550,00", "+79036550550", citizen.Mobile},
		{"spreadsheet number, ten digits", "9036550550.0", "+79036550550", citizen.Mobile},
		{"spreadsheet exponent", "7.9036550550E+10", "+79036550550", citizen.Mobile},
		{"spreadsheet exponent, comma", "7,9036550550E+10", "+79036550550", citizen.Mobile},
		{"spreadsheet exponent, zero at the end dropped", "7.903655055E+10", "+79036550550", citizen.Mobile},
		{"spreadsheet exponent, small e", "8.9036550550e10", "+79036550550", citizen.Mobile},
		{"spreadsheet exponent, ten digits", "9.036550550E9", "+79036550550", citizen.Mobile},
		{"landline of Moscow", "8 (495) 123-45-67", "+74951234567", citizen.Landline},
		{"landline, ten digits that begin with 8", "8121234567", "+78121234567", citizen.Landline},
		{"landline of Barnaul", "8 3852 12-34-56", "+73852123456", citizen.Landline},
		{"free number", "8-800-100-00-01", "+78001000001", citizen.TollFree},
		{"free number 804", "8 804 333 00 01", "+78043330001", citizen.TollFree},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := citizen.ParsePhone(c.in)
			if err != nil || p.E164() != c.want || p.Kind() != c.kind {
				t.Fatalf("got %s %s, %v; want %s %s", p.E164(), p.Kind(), err, c.want, c.kind)
			}
			if "+"+p.Digits() != c.want {
				t.Fatalf("digits %s", p.Digits())
			}
		})
	}
}

func TestParsePhoneRefusesWithItsOwnError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		want     error
	}{
		{"empty", "", citizen.ErrPhoneEmpty},
		{"dash for none", " — ", citizen.ErrPhoneEmpty},
		{"word for none", "нет", citizen.ErrPhoneEmpty},
		{"nine digits", "903655055", citizen.ErrPhoneLength},
		{"twelve digits", "890365505501", citizen.ErrPhoneLength},
		{"eleven digits that lost one", "7903655055", citizen.ErrPhoneLength},
		{"eight and nine digits", "8903655055", citizen.ErrPhoneLength},
		{"plus and nine digits", "+7 903 655 05 5", citizen.ErrPhoneLength},
		{"both prefixes", "+7 8 903 655 05 50", citizen.ErrPhoneLength},
		{"nine more digits than a number", strings.Repeat("9", 40), citizen.ErrPhoneSeveral},
		{"Kazakhstan 7xx", "+7 701 123 45 67", citizen.ErrForeign},
		{"Kazakhstan 7xx by 8", "8 727 123 45 67", citizen.ErrForeign},
		{"Kazakhstan 6xx", "+76001234567", citizen.ErrForeign},
		{"Abkhazia", "+7 940 712 34 56", citizen.ErrForeign},
		{"Belarus", "+375 29 123-45-67", citizen.ErrForeign},
		{"Belarus without plus", "375291234567", citizen.ErrForeign},
		{"Uzbekistan without plus", "998901234567", citizen.ErrForeign},
		{"Armenia without plus", "37410123456", citizen.ErrForeign},
		{"Germany", "+49 30 1234567", citizen.ErrForeign},
		{"plus and eight", "+8 903 655 05 50", citizen.ErrPhoneFormat},
		{"plus and ten digits", "+9036550550", citizen.ErrPhoneFormat},
		{"two pluses", "++79036550550", citizen.ErrPhoneFormat},
		{"plus inside", "7+9036550550", citizen.ErrPhoneFormat},
		{"code of nobody", "8 200 123 45 67", citizen.ErrPhoneCode},
		{"code of nobody, 5xx", "8 500 123 45 67", citizen.ErrPhoneCode},
		{"geographic code not in use", "8 399 123 45 67", citizen.ErrPhoneCode},
		{"paid number", "8 809 123 45 67", citizen.ErrPhoneCode},
		{"zeros", "00000000000", citizen.ErrPhoneLength},
		{"ten zeros", "0000000000", citizen.ErrPhoneCode},
		{"extension", "8 495 123-45-67 доб. 123", citizen.ErrPhoneExtension},
		{"extension after a comma", "8 495 123-45-67, доб. 123", citizen.ErrPhoneExtension},
		{"extension in brackets", "8 495 123-45-67 (ДОБ.123)", citizen.ErrPhoneExtension},
		{"extension, english", "+7 495 123-45-67 ext 12", citizen.ErrPhoneExtension},
		{"extension, hash", "+7 495 123-45-67#12", citizen.ErrPhoneExtension},
		{"extension, bare comma", "84951234567,123", citizen.ErrPhoneExtension},
		{"two numbers, comma", "89036550550, 89161234567", citizen.ErrPhoneSeveral},
		{"two numbers, semicolon", "89036550550; 89161234567", citizen.ErrPhoneSeveral},
		{"two numbers, slash", "8-903-655-05-50/8-916-123-45-67", citizen.ErrPhoneSeveral},
		{"two numbers, line break", "89036550550\n89161234567", citizen.ErrPhoneSeveral},
		{"word behind", "89036550550 дочь", citizen.ErrPhoneFormat},
		{"word before", "моб. 89036550550", citizen.ErrPhoneFormat},
		{"letters as keys", "8-800-GOSUSLU", citizen.ErrPhoneFormat},
		{"letter O for zero", "89O36550550", citizen.ErrPhoneFormat},
		{"full-width digits", "８９０３６５５０５５０", citizen.ErrPhoneFormat},
		{"minus sign of a number is a dash", "-89036550550", nil},
		{"rounded by a spreadsheet", "7.90366E+10", citizen.ErrPhoneRounded},
		{"rounded by a spreadsheet, comma", "7,9E+10", citizen.ErrPhoneRounded},
		{"broken bytes", "8903\xff6550550", citizen.ErrPhoneFormat},
		{"NUL", "8903\x006550550", citizen.ErrPhoneFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := citizen.ParsePhone(c.in)
			if !errors.Is(err, c.want) || (err == nil) == p.IsZero() {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestPhoneLengthErrorCountsDigits(t *testing.T) {
	t.Parallel()
	_, err := citizen.ParsePhone("8-903-655-05")
	var length citizen.PhoneLengthError
	if !errors.As(err, &length) || length.Digits != 9 {
		t.Fatalf("got %v", err)
	}
}

// Each difference from phonenumbers has its reason here; one without a row fails.
func TestParsePhoneAgreesWithPhonenumbersButForTheTable(t *testing.T) {
	t.Parallel()
	type verdict struct {
		ours   error  // nil: we take it
		theirs bool   // they hold it for a valid number of RU or KZ
		why    string // empty: no difference
	}
	corpus := map[string]verdict{
		"89036550550":                  {nil, true, ""},
		"+7 (903) 655-05-50":           {nil, true, ""},
		"8 495 123-45-67":              {nil, true, ""},
		"8-800-100-00-01":              {nil, true, ""},
		"903655055":                    {citizen.ErrPhoneLength, false, ""},
		"8 500 123 45 67":              {citizen.ErrPhoneCode, false, ""},
		"":                             {citizen.ErrPhoneEmpty, false, ""},
		"+375 29 123-45-67":            {citizen.ErrForeign, true, "a number of Belarus: nothing we may send to"},
		"+7 701 123 45 67":             {citizen.ErrForeign, true, "Kazakhstan shares +7"},
		"8-800-GOSUSLU":                {citizen.ErrPhoneFormat, true, "letters as keypad digits"},
		"８９０３６５５０５５０":                  {citizen.ErrPhoneFormat, true, "full-width digits"},
		"8 495 123-45-67 доб. 123":     {citizen.ErrPhoneExtension, true, "an extension cannot be told by SMS and is lost by a call"},
		"+7 495 123-45-67 ext. 12":     {citizen.ErrPhoneExtension, true, "the same"},
		"89036550550, 89161234567":     {citizen.ErrPhoneSeveral, false, ""},
		"89036550550/89161234567":      {citizen.ErrPhoneSeveral, false, ""},
		"моб. 89036550550":             {citizen.ErrPhoneFormat, true, "leading words are skipped"},
		"89036550550 дочь":             {citizen.ErrPhoneFormat, false, ""},
		"8 809 123 45 67":              {citizen.ErrPhoneCode, true, "paid numbers are nobody's phone"},
		"8 808 123 45 67":              {citizen.ErrPhoneCode, true, "shared numbers are nobody's phone"},
		"8 803 123 45 67":              {citizen.ErrPhoneCode, true, "paid numbers are nobody's phone"},
		"+7 840 123 45 67":             {citizen.ErrForeign, true, "Abkhazia"},
		"+7 940 123 45 67":             {citizen.ErrForeign, true, "Abkhazia"},
		"79036550550.0":                {nil, false, "a number saved by a spreadsheet"},
		"7.9036550550E+10":             {nil, false, "a number saved by a spreadsheet"},
		"7.90366E+10":                  {citizen.ErrPhoneRounded, false, ""},
		"'89036550550":                 {nil, true, ""},
		"+8 903 655 05 50":             {citizen.ErrPhoneFormat, false, ""},
		"\u202a+7 903 655-05-50\u202c": {nil, false, "marks of direction come with a number copied from a phone book"},
	}
	for in, want := range corpus {
		_, err := citizen.ParsePhone(in)
		n, e := phonenumbers.Parse(in, "RU")
		theirs := e == nil && phonenumbers.IsValidNumber(n)
		if !errors.Is(err, want.ours) || (want.ours == nil) != (err == nil) {
			t.Errorf("%q: ours %v, want %v", in, err, want.ours)
		}
		if theirs != want.theirs {
			t.Errorf("%q: theirs %t, want %t", in, theirs, want.theirs)
		}
		if differ := (err == nil) != theirs; differ != (want.why != "") {
			t.Errorf("%q: differs %t, reason %q", in, differ, want.why)
		}
	}

	random := rand.New(rand.NewPCG(1, 2))
	shapes := []string{"+7%s", "8%s", "%s", "7%s", "8 (%[2]s) %[3]s"}
	for i := range 20_000 {
		national := fmt.Sprintf("%03d%07d", random.IntN(1000), random.IntN(1e7))
		in := fmt.Sprintf(strings.ReplaceAll(shapes[i%5], "%s", "%[1]s"), national, national[:3], national[3:])
		ours, err := citizen.ParsePhone(in)
		n, e := phonenumbers.Parse(in, "RU")
		theirs := e == nil && phonenumbers.IsValidNumber(n) && n.GetCountryCode() == 7
		switch code := national[:3]; {
		case i%5 == 2 && strings.HasPrefix(national, "89"): // ten digits from 89: they take the 8 for a prefix and find nine digits
		case errors.Is(err, citizen.ErrForeign):
			if code[0] != '6' && code[0] != '7' && code != "840" && code != "940" {
				t.Errorf("code %s: foreign", code)
			}
		case code == "803" || code == "808" || code == "809":
			if err == nil {
				t.Errorf("code %s taken", code)
			}
		case (err == nil) != theirs:
			t.Errorf("shape %s, code %s: ours %v, theirs %t", shapes[i%5], code, err, theirs)
		case theirs && phonenumbers.Format(n, phonenumbers.E164) != ours.E164():
			t.Errorf("shape %s, code %s: numbers differ", shapes[i%5], code)
		}
	}
}

func TestPhonePrintsMaskedEverywhere(t *testing.T) {
	t.Parallel()
	phone := must(citizen.ParsePhone("89036550550"))
	const want = "+7 903 ***-**-50"
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "phone", phone)
	encoded, err := json.Marshal(phone)
	if err != nil || string(encoded) != `"`+want+`"` || !strings.Contains(log.String(), want) {
		t.Fatalf("%s %s %v", encoded, log.String(), err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%o", "%b", "%t", "%10.3f", "%U"} {
		if got := fmt.Sprintf(verb, phone); got != want {
			t.Errorf("%s gives %s", verb, got)
		}
	}
	type row struct{ phone citizen.Phone } // fmt calls no methods on what an unexported field holds
	type snilsRow struct{ snils citizen.SNILS }
	snils, _, err := citizen.ParseSNILS("112-233-445 95")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%b", "%o"} {
		shown := fmt.Sprintf(verb, row{phone}) + fmt.Sprintf(verb, []any{&row{phone}}) + fmt.Sprintf(verb, snilsRow{snils})
		for _, leak := range []string{"9036550550", "12662017b6", fmt.Sprintf("%x", 79036550550), fmt.Sprintf("%b", 79036550550),
			fmt.Sprintf("%o", 79036550550), "11223344595", fmt.Sprintf("%x", 11223344595)} {
			if strings.Contains(shown, leak) {
				t.Errorf("%s shows the digits", verb)
			}
		}
	}
	if fmt.Sprint(citizen.Phone{}) != "" || (citizen.Phone{}).E164() != "" || (citizen.Phone{}).Kind() != citizen.NoPhone {
		t.Error("the zero value shows a number")
	}
}

func FuzzParsePhone(f *testing.F) {
	for _, s := range []string{"+7 (903) 655-05-50", "7.9036550550E+10", "79036550550.0", "8 495 1234567 доб. 5", "\u202a8–903", "9,0e9", "'8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := citizen.ParsePhone(s)
		if err != nil {
			if !p.IsZero() {
				t.Fatal("an error and a number")
			}
			if len(s) > 5 && strings.Contains(err.Error(), s) && !strings.Contains("phone: number of another country", s) && strings.ContainsAny(s, "0123456789") {
				t.Fatal("the error repeats the value")
			}
			return
		}
		if d := p.Digits(); len(d) != 11 || d[0] != '7' || p.Kind() == citizen.NoPhone {
			t.Fatalf("no number of the plan: %d digits", len(d))
		}
		again, err := citizen.ParsePhone(p.E164())
		if err != nil || again != p {
			t.Fatalf("E.164 does not read back: %v", err)
		}
		if strings.Contains(p.String(), p.Digits()[1:]) {
			t.Fatal("the mask shows the number")
		}
	})
}

func BenchmarkParsePhone(b *testing.B) {
	for _, in := range []string{"79036550550", "+7 (903) 655-05-50", "79036550550.0", "7.9036550550E+10"} {
		b.Run(in, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := citizen.ParsePhone(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

package citizen_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"ekc/citizen"
)

func TestParseSNILS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		padded         bool
		err            error
	}{
		{"official example", "112-233-445 95", "11223344595", false, nil},
		{"digits", "11223344595", "11223344595", false, nil},
		{"sum 101 gives 00", "087-654-303 00", "08765430300", false, nil},
		{"sum 100 gives 00", "002-118-786 00", "00211878600", false, nil},
		{"sum 201 gives 00", "206-786-584 00", "20678658400", false, nil},
		{"sample of ЕГИССО", "13951805880", "13951805880", false, nil},
		{"unicode dashes and blanks", "112–233—445\u00a095", "11223344595", false, nil},
		{"dots", "112.233.445.95", "11223344595", false, nil},
		{"last number without a control number", "001-001-998 77", "00100199877", false, nil},
		{"first with one, wrong", "001-001-999 77", "", false, citizen.ErrSNILSChecksum},
		{"old number, any control", "000-000-001 00", "00000000100", false, nil},
		{"lost one zero", "8765430300", "08765430300", true, nil},
		{"lost one zero, spreadsheet", "8765430300.0", "08765430300", true, nil},
		{"spreadsheet", "11223344595.0", "11223344595", false, nil},
		{"spreadsheet exponent", "1.1223344595E+10", "11223344595", false, nil},
		{"spreadsheet exponent, lost zero", "8.7654303E9", "08765430300", true, nil},
		{"rounded by a spreadsheet", "1.12233E+10", "", false, citizen.ErrSNILSRounded},
		{"lost zeros and wrong", "8765430301", "", false, citizen.ErrSNILSChecksum},
		{"short and unchecked would be anybody's", "10019987", "", false, citizen.ErrSNILSChecksum},
		{"too short to be padded", "12345", "", false, citizen.ErrSNILSLength},
		{"ten digits in groups are not padded", "876-543-03 00", "", false, citizen.ErrSNILSLength},
		{"wrong control number", "112-233-445 96", "", false, citizen.ErrSNILSChecksum},
		{"all zeros, right control number", "000-000-000 00", "", false, citizen.ErrSNILSZero},
		{"number of zeros", "000-000-000 12", "", false, citizen.ErrSNILSZero},
		{"zero", "0", "", false, citizen.ErrSNILSZero},
		{"twelve digits", "112233445950", "", false, citizen.ErrSNILSLength},
		{"many digits", "1122334459511223344595", "", false, citizen.ErrSNILSLength},
		{"empty", "", "", false, citizen.ErrSNILSEmpty},
		{"word for none", "нет", "", false, citizen.ErrSNILSEmpty},
		{"letter", "112-233-44O 95", "", false, citizen.ErrSNILSFormat},
		{"letters before", "СНИЛС 112-233-445 95", "", false, citizen.ErrSNILSFormat},
		{"plus", "+11223344595", "", false, citizen.ErrSNILSFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n, padded, err := citizen.ParseSNILS(c.in)
			if n.Digits() != c.want || padded != c.padded || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("got %q %t %v, want %q %t %v", n.Digits(), padded, err, c.want, c.padded, c.err)
			}
		})
	}
}

// publishedControl is the control number by the words of the published rule: each of the nine digits
// is multiplied by its place, counted from the end, and the products are added. A sum below 100 is the control number; 100 and 101 give 00;
// above that the remainder of the division by 101 is judged in the same way.
func publishedControl(number string) string {
	sum := 0
	for i, c := range number {
		sum += int(c-'0') * (len(number) - i)
	}
	for sum > 101 {
		sum %= 101
	}
	if sum == 100 || sum == 101 {
		return "00"
	}
	return fmt.Sprintf("%02d", sum)
}

// We take what the rule takes. Each difference has its reason here; one without a row fails.
func TestParseSNILSAgreesWithThePublishedRuleButForTheTable(t *testing.T) {
	t.Parallel()
	differences := []struct {
		why string
		of  func(number string) bool
		met int
	}{
		{why: "no number of the rule: all zeros have a right control number and are nobody's", of: func(n string) bool { return n == "000000000" }},
		{why: "the rule is for numbers above 001-001-998; those below have whatever control number they were given", of: func(n string) bool { return n <= "001001998" }},
	}
	check := func(number, control string) {
		_, _, err := citizen.ParseSNILS(number + control)
		if byRule := publishedControl(number) == control; byRule == (err == nil) {
			return
		}
		for i := range differences {
			if differences[i].of(number) {
				differences[i].met++
				return
			}
		}
		t.Errorf("%s: the rule gives %s, ours says %v", number, publishedControl(number), err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		number := fmt.Sprintf("%09d", random.IntN(1e9))
		check(number, publishedControl(number))
		check(number, fmt.Sprintf("%02d", random.IntN(100)))
	}
	for _, number := range []string{"000000000", "000000001", "001001997", "001001998", "001001999", "001002000", "999999999"} {
		for control := range 100 {
			check(number, fmt.Sprintf("%02d", control))
		}
	}
	// One digit wrong, or two neighbours changed: the rule finds all of the first and nearly all of the second; so do we.
	for range 2000 {
		number := []byte(fmt.Sprintf("%09d", 1_002_000+random.IntN(998_000_000)))
		control := publishedControl(string(number))
		number[random.IntN(9)] = byte('0' + random.IntN(10))
		check(string(number), control)
		i := random.IntN(8)
		number[i], number[i+1] = number[i+1], number[i]
		check(string(number), control)
	}
	for _, d := range differences {
		if d.met == 0 {
			t.Errorf("nothing in the corpus needs: %s", d.why)
		}
	}
}

func TestSNILSPrintsMaskedEverywhere(t *testing.T) {
	t.Parallel()
	n, _, err := citizen.ParseSNILS("112-233-445 95")
	if err != nil {
		t.Fatal(err)
	}
	const want = "***-***-445 95"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		if got := fmt.Sprintf(verb, n); got != want {
			t.Errorf("%s gives %s", verb, got)
		}
	}
	encoded, err := json.Marshal(n)
	if err != nil || string(encoded) != `"`+want+`"` || n.LogValue().String() != want || n.Grouped() != "112-233-445 95" {
		t.Fatalf("%s, %s, %v", encoded, n.LogValue(), err)
	}
}

func FuzzParseSNILS(f *testing.F) {
	for _, s := range []string{"112-233-445 95", "8765430300.0", "1.1223344595E+10", "00000000000", "нет"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, _, err := citizen.ParseSNILS(s)
		if (err == nil) == n.IsZero() {
			t.Fatalf("zero %t with %v", n.IsZero(), err)
		}
		if err != nil {
			return
		}
		again, padded, err := citizen.ParseSNILS(n.Grouped())
		if err != nil || padded || again != n || len(n.Digits()) != 11 {
			t.Fatalf("does not read back: %v", err)
		}
	})
}

func BenchmarkParseSNILS(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := citizen.ParseSNILS("112-233-445 95"); err != nil {
			b.Fatal(err)
		}
	}
}

package citizen_test

import (
	"encoding/json"
	"errors"
	"fmt"
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

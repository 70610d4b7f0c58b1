package egisso

import (
	"math"
	"testing"
)

func TestCanonicalIsWhatRFC8785Says(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"3.2.2", `{
			"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			"literals": [null, true, false]
		}`, `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		{"3.2.3", `{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
			"\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
				"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		{"arrays keep their order", `[56,{"d":true,"10":null,"1":[]}]`, `[56,{"1":[],"10":null,"d":true}]`},
		{"controls", `"\u0000\b\t\n\f\r\u001f\u007f"`, `"\u0000\b\t\n\f\r\u001f` + "\u007f\""},
		{"empty", ` {} `, `{}`},
	} {
		got, err := Canonical([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
		if again, err := Canonical(got); err != nil || string(again) != string(got) {
			t.Errorf("%s: once more %s, %v", c.name, again, err)
		}
	}
}

// RFC 8785, appendix B.
func TestNumbersAreWrittenAsECMAScriptDoes(t *testing.T) {
	t.Parallel()
	for bits, want := range map[uint64]string{
		0x0000000000000000: "0", 0x8000000000000000: "0", 0x0000000000000001: "5e-324", 0x8000000000000001: "-5e-324",
		0x7fefffffffffffff: "1.7976931348623157e+308", 0xffefffffffffffff: "-1.7976931348623157e+308",
		0x4340000000000000: "9007199254740992", 0xc340000000000000: "-9007199254740992", 0x4430000000000000: "295147905179352830000",
		0x44b52d02c7e14af5: "9.999999999999997e+22", 0x44b52d02c7e14af6: "1e+23", 0x44b52d02c7e14af7: "1.0000000000000001e+23",
		0x444b1ae4d6e2ef4e: "999999999999999700000", 0x444b1ae4d6e2ef4f: "999999999999999900000", 0x444b1ae4d6e2ef50: "1e+21",
		0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7", 0x3eb0c6f7a0b5ed8d: "0.000001",
		0x41b3de4355555553: "333333333.3333332", 0x41b3de4355555554: "333333333.33333325", 0x41b3de4355555555: "333333333.3333333",
		0x41b3de4355555556: "333333333.3333334", 0x41b3de4355555557: "333333333.33333343",
		0xbecbf647612f3696: "-0.0000033333333333333333", 0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		if got := string(appendNumber(nil, math.Float64frombits(bits))); got != want {
			t.Errorf("%016x: %s, want %s", bits, got, want)
		}
	}
}

func TestWhatIsNoIJSONIsRefused(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		b := make([]byte, 0, 2*n)
		for range n {
			b = append(b, '[')
		}
		for range n {
			b = append(b, ']')
		}
		return string(b)
	}
	for in, code := range map[string]string{
		``: CodeNotJSON, ` `: CodeNotJSON, `{`: CodeNotJSON, `{"a":1}x`: CodeNotJSON, `{"a":1} {}`: CodeNotJSON, `{"a" 1}`: CodeNotJSON, `{"a":1,}`: CodeNotJSON, `[1,]`: CodeNotJSON, `{a:1}`: CodeNotJSON,
		`'a'`: CodeNotJSON, `nul`: CodeNotJSON, `truе`: CodeNotJSON, `"a`: CodeNotJSON, "\"a\nb\"": CodeNotJSON, `"\x"`: CodeNotJSON, `"\u12"`: CodeNotJSON, `"\`: CodeNotJSON,
		`"\ud800"`: CodeNotJSON, `"\ud800\u0041"`: CodeNotJSON, `"\udc00\ud800"`: CodeNotJSON, "\ufeff{}": CodeNotJSON,
		`01`: CodeNotJSON, `-`: CodeNotJSON, `1.`: CodeNotJSON, `.5`: CodeNotJSON, `1e`: CodeNotJSON, `+1`: CodeNotJSON, `NaN`: CodeNotJSON,
		`{"a":1,"a":1}`: CodeDuplicateName, `{"a":1,"\u0061":1}`: CodeDuplicateName, `[{"b":{"a":1,"c":2,"a":3}}]`: CodeDuplicateName,
		`{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"b":0}`: CodeDuplicateName,
		"\"\xff\"": CodeUTF8, "\"\xed\xa0\x80\"": CodeUTF8,
		`1e999`: CodeNumber, `9007199254740992`: CodeNumber, `12345678901234567890`: CodeNumber, `1e-999`: CodeNumber,
		deep(maxDepth + 1): CodeDepth,
	} {
		if _, err := Canonical([]byte(in)); err == nil || err.(*Problem).Code != code {
			t.Errorf("%q: %v, want %s", in, err, code)
		}
	}
	for _, in := range []string{deep(maxDepth), `9007199254740991`, `1e300`, `0e9`, `-0.0`, `"\ud83d\ude00"`} {
		if _, err := Canonical([]byte(in)); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}

package smpp

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// cut writes text as the link does, in segments without headers.
func cut(text string) (Encoding, [][]byte) {
	enc, n := Segments(text)
	data := appendText(nil, enc, text)
	if n == 1 {
		return enc, [][]byte{data}
	}
	var parts [][]byte
	for from := 0; from < len(data); {
		end := nextCut(enc, data, from)
		parts = append(parts, data[from:end])
		from = end
	}
	return enc, parts
}

func TestSegments(t *testing.T) {
	t.Parallel()
	ru := func(n int) string { return strings.Repeat("ы", n) }
	la := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, text string
		enc        Encoding
		n          int
	}{
		{"empty", "", GSM7, 1},
		{"70 units", ru(70), UCS2, 1},
		{"71 units", ru(71), UCS2, 2},
		{"134 units", ru(134), UCS2, 2},
		{"135 units", ru(135), UCS2, 3},
		{"201 units", ru(201), UCS2, 3},
		{"202 units", ru(202), UCS2, 4},
		{"160 Latin", la(160), GSM7, 1},
		{"161 Latin", la(161), GSM7, 2},
		{"306 Latin", la(306), GSM7, 2},
		{"307 Latin", la(307), GSM7, 3},
		{"number sign", "N №", UCS2, 1},
		{"guillemets", "«Работа России»", UCS2, 1},
		{"dash", "a – b", UCS2, 1},
		{"yo", "ё", UCS2, 1},
		{"extension table", "^{}[]~\\|€", GSM7, 1},
		{"extension counts two, 160", strings.Repeat("€", 80), GSM7, 1},
		{"extension counts two, 162", strings.Repeat("€", 81), GSM7, 2},
		{"escape on the cut", la(152) + "€" + la(152), GSM7, 3},
		{"escape before the cut", la(151) + "€" + la(153), GSM7, 2},
		{"emoji on the 67th unit", ru(66) + "😀" + ru(66), UCS2, 3},
		{"emoji ends at the 67th unit", ru(65) + "😀" + ru(67), UCS2, 2},
		{"emoji alone fill 70", strings.Repeat("😀", 35), UCS2, 1},
		{"emoji alone over 70", strings.Repeat("😀", 36), UCS2, 2},
		{"accents of the basic table", "Àé", UCS2, 1},
		{"è é ù ì ò à", "èéùìòàÇØøÅåÆæßÉÄÖÑÜäöñü§¿¡£$¥¤ΔΦΓΛΩΠΨΣΘΞ@", GSM7, 1},
		{"backtick is not in the table", "`", UCS2, 1},
		{"tab is not in the table", "a\tb", UCS2, 1},
		{"line feed is", "a\nb", GSM7, 1},
		{"escape itself is not", "\x1b", UCS2, 1},
		{"not UTF-8", "a\xff", UCS2, 1},
		{"S-01", "СФР: вам может полагаться единое пособие. Вопросы: 8-800-100-00-01", UCS2, 1},
		{"S-02", "СФР: в связи с рождением ребенка оформлен материнский капитал. Заявление подавать не нужно. Вопросы: 8-800-100-00-01", UCS2, 2},
		{"S-12", "Готово: сообщения и звонки ЕКЦ на этот номер отключены. Вернуть: СТАРТ", UCS2, 1},
		{"a parameter that pushes 1 to 2", "СФР: вам может полагаться единое пособие, Анна. Вопросы: 8-800-100-00-01", UCS2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			enc, n := Segments(c.text)
			if enc != c.enc || n != c.n {
				t.Fatalf("%v in %d, not %v in %d", enc, n, c.enc, c.n)
			}
			checkCut(t, c.text)
		})
	}
}

// checkCut fails unless the segments are as many as Segments says, each fits, each can be read alone, and together they are the text.
func checkCut(t *testing.T, text string) {
	t.Helper()
	_, n := Segments(text)
	enc, parts := cut(text)
	if len(parts) != n {
		t.Fatalf("%d segments written, %d estimated", len(parts), n)
	}
	coding, unit := CodingDefault, 1
	if enc == UCS2 {
		coding, unit = CodingUCS2, 2
	}
	single, part := enc.limits()
	if n == 1 {
		part = single
	}
	var all strings.Builder
	for i, p := range parts {
		if len(p) > part*unit || len(p) == 0 && text != "" {
			t.Fatalf("segment %d of %d has %d octets", i, n, len(p))
		}
		s, exact := DecodeText(coding, p)
		if !exact {
			t.Fatalf("segment %d cannot be read alone", i)
		}
		all.WriteString(s)
	}
	if want := strings.ToValidUTF8(text, "\uFFFD"); all.String() != want && utf8.ValidString(text) {
		t.Fatalf("%q came as %q", want, all.String())
	}
}

func FuzzSegments(f *testing.F) {
	f.Add("СФР: вам 😀 положено " + strings.Repeat("€", 100))
	f.Add(strings.Repeat("x", 152) + "€")
	f.Fuzz(func(t *testing.T, text string) { checkCut(t, text) })
}

func TestSegmentsDoesNotAllocate(t *testing.T) {
	text := strings.Repeat("Привет, это проверка. ", 10)
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		enc, _ := Segments(text)
		buf = appendText(buf[:0], enc, text)
	}); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestDecodeText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		coding byte
		octets string
		want   string
		exact  bool
	}{
		{"GSM with euro and underscore", 0, "\x1b\x65 \x11 \x00", "€ _ @", true},
		{"GSM, unknown extension", 0, "\x1b\x41", "A", false},
		{"GSM, octet above the table", 0, "\x80", "\uFFFD", false},
		{"GSM, escape at the end", 0, "a\x1b", "a\uFFFD", false},
		{"ASCII", 1, "STOP", "STOP", true},
		{"Latin-1", 3, "caf\xe9", "café", true},
		{"ISO 8859-5", 6, "\xc1\xc2\xbe\xbf \xa1\xf1\xf0", "СТОП Ёё№", true},
		{"UCS-2", 8, "\x04\x21\x04\x22\x04\x1e\x04\x1f", "СТОП", true},
		{"UCS-2, pair", 8, "\xd8\x3d\xde\x00", "😀", true},
		{"UCS-2, half a pair", 8, "\xd8\x3d\x00a", "\uFFFDa", false},
		{"UCS-2, odd octets", 8, "\x04\x21\x04", "С\uFFFD", false},
		{"flash GSM", 0xF0, "hi", "hi", true},
		{"flash GSM, general group", 0x10, "hi", "hi", true},
		{"flash UCS-2", 0x18, "\x04\x21", "С", true},
		{"binary", 4, "\x01\x02", "", false},
		{"8-bit with a class", 0xF5, "\x01", "", false},
		{"empty", 4, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, exact := DecodeText(c.coding, []byte(c.octets)); got != c.want || exact != c.exact {
				t.Fatalf("%q %t, not %q %t", got, exact, c.want, c.exact)
			}
		})
	}
}

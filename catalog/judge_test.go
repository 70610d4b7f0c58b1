package catalog

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// judged is what the lint's own forms find, tried one after the other.
func judged(text string) (f TextFault) {
	for _, of := range []struct {
		found bool
		fault TextFault
	}{{hasLink(text), TextLink}, {asksForData(text), TextAsks}, {namesIllness(text), TextIllness}, {namesSum(text), TextSum}} {
		if of.found {
			f |= of.fault
		}
	}
	return f
}

func TestATextIsJudgedAsTheLintDoes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]TextFault{
		"СФР: выплата назначена. Вопросы: 8-800-100-00-01 (бесплатно). Отказ: СТОП": 0,
		"КЦСОН: социальный работник придёт 15.03.2027 с 10:00 до 12:00.":            0,
		"СФР: Иван Иванович, ждём вас по адресу: ул. Ленина, д. 5.":                 0,
		"СФР: подробности на gosuslugi.ru":                                          TextLink,
		"СФР: откройте госуслуги.рф":                                                TextLink,
		"СФР: зайдите на госуслуги точка рф":                                        TextLink,
		"СФР: пишите в телеграм":                                                    TextLink,
		"СФР: 10.0.0.15":                                                  TextLink,
		"СФР: назовите код из СМС":                                        TextAsks,
		"СФР: никому не сообщайте код":                                    0,
		"СФР: перезвоните и назовите фамилию":                             TextAsks,
		"МСЭ: срок инвалидности истекает":                                 TextIllness,
		"МСЭ: нарушение слуха подтверждено":                               TextIllness,
		"СФР: вам перечислено 5000 рублей":                                TextSum,
		"СФР: 5 000 ₽ за лечение болезни, сообщите номер карты на sfr.ru": TextSum | TextIllness | TextAsks | TextLink,
	} {
		j := NewTextJudge()
		for range 2 { // the second time from memory
			if got := j.Text(text); got != want {
				t.Errorf("%s: %04b, want %04b", text, got, want)
			}
		}
	}
	for _, item := range seeded(t).Templates(day("2026-12-01")) {
		if got, want := NewTextJudge().Text(item.Body), judged(item.Body); got != want {
			t.Errorf("%s: %04b, want %04b", item.Code, got, want)
		}
	}
}

// What the words leave out must never be found by the forms.
func TestWordsHideNoFault(t *testing.T) {
	t.Parallel()
	pieces := strings.Split(" |.|. |точка|тчк|рф|ру|ru|http://|госуслуги|сфр|www|@|sfr|(|)|( . )|[.]|/|1|10.|192.168.0.1|код|кода|назовите|сообщите|не |никому |"+
		"перезвоните|карты|счёт|Счетчик|вич|Иванович|ВИЧ|ёвич|инвалид|диабет|нарушения|слуха|нарушении |руб|р.|5|₽|тыс|коп.|рубля|ссылка|QR-код|куар-код|№|№.|"+
		"\u00a0|\u200b|-|й|о\u0301|。|ком|дети|Telegram|whats app|a|о|ё|\n|:|«|»|,", "|")
	r := rand.New(rand.NewPCG(1, 4))
	j := NewTextJudge()
	for range 60_000 {
		var b strings.Builder
		for range 1 + r.IntN(7) {
			b.WriteString(pieces[r.IntN(len(pieces))])
			if r.IntN(2) == 0 {
				b.WriteByte(' ')
			}
		}
		if got, want := j.Text(b.String()), judged(b.String()); got != want {
			t.Fatalf("%q: %04b, want %04b", b.String(), got, want)
		}
	}
}

func BenchmarkTextJudge(b *testing.B) {
	const text = "СФР: Мария Петровна, вам назначено единое пособие с 01.12.2026. Ждём вас в отделении до 15.12.2026. Вопросы: 8-800-100-00-01 (бесплатно)"
	for name, judge := range map[string]func(string) TextFault{"words": NewTextJudge().Text, "forms": judged} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				judge(text)
			}
		})
	}
}

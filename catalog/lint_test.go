package catalog

import (
	"slices"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	t.Parallel()
	now := day("2026-12-01")
	c := New([]Item{
		&Agency{Head: Head{Code: "0001.000001", Version: 1}, Title: "Фонд", Short: "СФР"},
		&Agency{Head: Head{Code: "0003.000003", Version: 1}, Title: "Бюро", Short: "МСЭ"},
		valid(t, &Template{Head: Head{Code: "S-00"}, Body: "СФР: есть важная информация. 8-800-100-00-01"}),
	})
	const number = " 8-800-100-00-01"
	one := []Param{{Name: "a", Example: "Анна"}}
	tests := []struct {
		name     string
		template Template
		segments int
		want     string // rules found, in order
	}{
		{"good", Template{Body: "СФР: добрый день." + number}, 1, ""},
		{"good of one agency", Template{Head: Head{Agency: "0003.000003"}, Body: "МСЭ: добрый день." + number}, 1, ""},
		{"free of charge", Template{Body: "СФР: да." + number + " (бесплатно)"}, 1, ""},
		{"how to refuse", Template{TwoWay: true, Body: "СФР: да." + number + ". Отказ: СТОП"}, 1, ""},
		{"two segments", Template{Body: "СФР: да." + number}, 2, ""},
		{"three segments", Template{Body: "СФР: да." + number}, 3, "segments "},
		{"agency later", Template{Body: "Добрый день, это СФР: да." + number}, 1, "agency_first "},
		{"no agency", Template{Body: "Вам назначена выплата." + number}, 1, "agency_first "},
		{"agency's name begins another word", Template{Body: "СФРадость: да." + number}, 1, "agency_first "},
		{"another agency", Template{Head: Head{Agency: "0003.000003"}, Body: "СФР: да." + number}, 1, "agency_first "},
		{"no number", Template{Body: "СФР: да."}, 1, "centre_number "},
		{"number in the middle", Template{Body: "СФР: звоните" + number + " или приходите."}, 1, "centre_number "},
		{"another free number", Template{Body: "СФР: да. 8-800-555-35-35"}, 1, "centre_number "},
		{"parameter after the number", Template{Body: "СФР: да." + number + " {{ a }}", Params: one}, 1, "centre_number "},
		{"paid number", Template{Body: "СФР: звоните 8 (495) 123-45-67." + number}, 1, "paid_number "},
		{"paid mobile number", Template{Body: "СФР: звоните +79031234567." + number}, 1, "paid_number "},
		{"link", Template{Body: "СФР: подайте на госуслуги.рф" + number}, 1, "link "},
		{"link in a default", Template{Body: `СФР: {{ a | default "sfr.gov.ru" }}.` + number, Params: one}, 1, "link "},
		{"link made of a parameter", Template{Body: "СФР: sfr.{{ a }}." + number, Params: []Param{{Name: "a", Example: "ru"}}}, 1, "link "},
		{"asks for a code", Template{Body: "СФР: сообщите код из СМС." + number}, 1, "data_request "},
		{"no example of a date", Template{Body: "СФР: до {{ a | date }}." + number, Params: one}, 1, "example "},
		{"diagnosis", Template{Body: "СФР: срок инвалидности истекает." + number}, 1, "disclosure "},
		{"diagnosis, marked", Template{Sensitive: true, Neutral: "S-00", Body: "СФР: срок инвалидности истекает." + number}, 1, ""},
		{"sum", Template{Body: "СФР: выплата 14 506 руб." + number}, 1, "disclosure "},
		{"sum by a filter", Template{Body: "СФР: выплата {{ a | money }}" + number, Params: []Param{{Name: "a", Example: "5"}}}, 1, "disclosure "},
		{"sum by an example", Template{Body: "СФР: выплата {{ a }}." + number, Params: []Param{{Name: "a", Example: "500 рублей"}}}, 1, "disclosure "},
		{"asks for an answer", Template{Body: "СФР: приём завтра. Перенос: ответьте 2." + number}, 1, "two_way "},
		{"may be stopped by an answer", Template{Body: "СФР: да." + number + ". Отказ: СТОП"}, 1, "two_way "},
		{"marked and asks nothing", Template{TwoWay: true, Body: "СФР: да." + number}, 1, "two_way? "},
		{"form of one gender", Template{Body: "СФР: уважаемый гражданин." + number}, 1, "wording? "},
		{"form of both genders", Template{Body: "СФР: вы получил(а) выплату." + number}, 1, "wording? "},
		{"picture", Template{Body: "СФР: поздравляем \U0001F389." + number}, 1, "wording? "},
		{"answer needs neither agency nor number", Template{Answer: true, Body: "Готово."}, 1, ""},
		{"answer may have no link either", Template{Answer: true, Body: "Готово: sfr.ru"}, 1, "link "},
		{"everything at once", Template{Body: "sfr.ru: сообщите пароль, 8 903 123 45 67"}, 5, "link data_request paid_number agency_first centre_number segments "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.template.Code = "T"
			got := ""
			for _, f := range c.Lint(valid(t, &tt.template), now, func(string) int { return tt.segments }) {
				got += f.Rule
				if f.Severity == SeverityWarning {
					got += "?"
				}
				got += " "
				if !strings.HasSuffix(f.Sentence, ".") || f.Rule == LintDisclosure && !strings.Contains(f.Sentence, "например S-00") {
					t.Errorf("finding %+v", f)
				}
			}
			if got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
	if got := c.Lint(&Template{Body: "СФР: {{"}, now, nil); len(got) != 1 || got[0].Rule != LintBody {
		t.Errorf("a body that does not parse: %+v", got)
	}
}

// valid fills in what every template has.
func valid(t *testing.T, tmpl *Template) *Template {
	t.Helper()
	if tmpl.Channel == "" {
		tmpl.Channel = "sms"
	}
	tmpl.Title, tmpl.Language, tmpl.Version = tmpl.Code, "ru", 1
	if err := Validate(tmpl); err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func TestLinksAreFoundInAnyDisguise(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://sfr.gov.ru", "hxxps://sfr", "www.sfr", "www sfr gov", "подайте на Gosuslugi.ru.", "на госуслуги.рф", "vk.cc/abc", "clck.ru/3ab", "bit.ly/x",
		"госуслуги точка рф", "госуслуги ТОЧКА РФ.", "gosuslugi dot ru", "гос-услуги-точка-ру", "сфр(точка)рф", "sfr [.] gov", "sfr{dot}ru", "госуслуги точка эр эф",
		"sfr\u2024gov\u2024ru", "sfr。ru", "sfr．gov．ru", "госуслуги·рф", "go\u200bsuslugi.\u200bru", "gosu\u00adslugi.ru", "ｇｏｓ．ｒｕ", "sfr .ru", "sfr. ru",
		"gosuslugi.rо" /* Cyrillic о */, "xn--c1aq.xn--p1ai", "sfr.example", "ekc.gosuslugi", "192.168.0.1", "пишите info@sfr.gov.ru", "канал @sfr_news",
		"перейдите по ссылке", "наведите на QR-код", "в Телеграм-канале", "напишите в WhatsApp",
	} {
		if !hasLink("СФР: " + text + " Тел. 8-800-100-00-01") {
			t.Errorf("no link found in %q", text)
		}
	}
	for _, text := range []string{
		"до 15.03.2027 г. и т.д.Приходите.", "подайте согласие на Госуслугах.", "на портале «Работа России».", "точка приёма: ул. Ленина, 1", "в 10.30. Документы: паспорт.",
		"выплата 14.506,50 руб.", "льготы.Нет очереди", "пункт 1.2.3 правил", "Your payment is assigned. Tel. 8-800-100-00-01", "№ 5 в окно", "по телефону: 8-800-100-00-01 (бесплатно)",
		"СМС и МСЭ. Справки", "дом 5. РФ",
	} {
		if hasLink("СФР: " + text + " Тел. 8-800-100-00-01") {
			t.Errorf("a link was found in %q", text)
		}
	}
}

func TestRequestsForDataAreFound(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"Сообщите код из СМС.", "Код из СМС сообщите оператору.", "Пришлите СНИЛС и дату рождения.", "Назовите номер карты.", "Для выплаты укажите реквизиты.",
		"Введите пароль.", "Перезвоните и назовите себя.", "Позвоните по номеру и сообщите, кто вы.", "Просим предоставить паспортные данные.", "Продиктуйте CVV.",
		"Подтвердите данные.", "СООБЩИТЕ ПИН-КОД", "Сооб\u200bщите код.", "Не волнуйтесь, сообщите код.",
	} {
		if !asksForData("СФР: " + text) {
			t.Errorf("no request found in %q", text)
		}
	}
	for _, text := range []string{
		"СФР никогда не просит коды из SMS и данные карты. Проверить сообщение: 8-800-100-00-01", "Никому не называйте код и пароль.", "Не сообщайте данные карты.",
		"Возьмите паспорт.", "Приходите в окно № 5 с паспортом.", "Подайте заявление.", "Подтвердите согласие на Госуслугах.", "Отправьте: 1 - перезвонить, 2 - статус.",
		"Узнать больше: 8-800-100-00-01.", "Назовите номер обращения.", "Мы не спрашиваем пароли, коды и данные карты.", "Напишите заявление по статье кодекса.",
	} {
		if asksForData("СФР: " + text) {
			t.Errorf("a request was found in %q", text)
		}
	}
}

// An SMS and the call that stands in for it say one thing, or the pair is refused.
func TestVariantSaysWhatItsTemplateSays(t *testing.T) {
	t.Parallel()
	now := day("2026-12-01")
	base := &Template{Head: Head{Code: "S"}, LifeEvent: "LE-11", Facts: []string{"burial"},
		Body:   "СФР: в течение 6 месяцев подайте заявление на портале «Работа России» до {{ Дата | date }}. Отказ: ответьте 2. Тел. 8-800-100-00-01",
		TwoWay: true, Params: []Param{{Name: "Дата", Example: "15.03.2027"}}}
	const body = "До {{ Дата | date-words }} подайте заявление. Портал «Работа России». Срок – в течение шести месяцев. Чтобы отказаться, нажмите девять. Номер: " + centreNumberSpoken + "."
	voice := func(change func(*Template)) *Template {
		v := &Template{Head: Head{Code: "S-V"}, Channel: "voice", VariantOf: "S", LifeEvent: "LE-11", Facts: []string{"burial"}, Body: body,
			Params: []Param{{Name: "дата", Example: "15.03.2027"}}}
		change(v)
		return valid(t, v)
	}
	for name, tt := range map[string]struct {
		change func(*Template)
		says   string // only one of the two; "" = they agree
	}{
		"the same":            {func(*Template) {}, ""},
		"figures in figures":  {func(v *Template) { v.Body = strings.Replace(body, "шести", "6", 1) }, ""},
		"another term":        {func(v *Template) { v.Body = strings.Replace(body, "шести", "двенадцати", 1) }, "число 12"},
		"a term of two words": {func(v *Template) { v.Body = strings.Replace(body, "шести", "двадцати шести", 1) }, "число 26"},
		"no term":             {func(v *Template) { v.Body = strings.Replace(body, "шести", "нескольких", 1) }, "число 6"},
		"no portal": {func(v *Template) {
			v.Body = strings.Replace(body, "«Работа России»", "госуслуг", 1)
		}, "имя РАБОТАРОССИИ"},
		"no number":             {func(v *Template) { v.Body = strings.Replace(body, centreNumberSpoken, "на сайте", 1) }, "номер " + CentreNumber},
		"another event":         {func(v *Template) { v.LifeEvent = "LE-01" }, "событие LE-01"},
		"another declared fact": {func(v *Template) { v.Facts = []string{"no_application"} }, "сведение no_application"},
		"no parameter": {func(v *Template) {
			v.Body, v.Params = strings.Replace(body, "{{ Дата | date-words }}", "завтра", 1), nil
		}, "параметр ДАТА"},
		"it discloses":           {func(v *Template) { v.Sensitive, v.Neutral = true, "S-00-V" }, "чувствительность true"},
		"digits of the menu":     {func(v *Template) { v.Body = strings.Replace(body, "девять", "восемь", 1) }, ""},
		"its template not there": {func(v *Template) { v.VariantOf = "S-77" }, "S-77"},
	} {
		v := voice(tt.change)
		c := New([]Item{valid(t, base), v})
		findings := c.Lint(v, now, nil)
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Rule == LintVariant })
		switch {
		case (tt.says == "") != (i < 0), i >= 0 && !strings.Contains(findings[i].Sentence, tt.says):
			t.Errorf("%s: %+v", name, findings)
		case (v.Digest() == base.Digest()) != (tt.says == "" || tt.says == "S-77"):
			t.Errorf("%s: digests %s %s", name, v.Digest(), base.Digest())
		}
		if _, ok := c.Variant(base, "voice", now); ok != (tt.says == "") {
			t.Errorf("%s: the variant is found: %v", name, ok)
		}
		if got, ok := c.FindTemplate("S-V", now); ok {
			t.Errorf("%s: a list may name the variant %+v", name, got)
		}
	}
}

func TestSpokenTextIsShortAndEndsWithTheNumber(t *testing.T) {
	t.Parallel()
	c, now := New(nil), day("2026-12-01")
	long := valid(t, &Template{Head: Head{Code: "V"}, Channel: "voice", VariantOf: "S", Body: strings.Repeat("слово ", 13) + ". Номер: 8-800-100-00-01"})
	var rules []string
	for _, f := range c.Lint(long, now, nil) {
		rules = append(rules, f.Rule)
	}
	if got := strings.Join(rules, " "); got != "centre_number variant_of wording" {
		t.Errorf("found %s", got)
	}
}

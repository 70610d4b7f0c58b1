package catalog

import "testing"

func TestLint(t *testing.T) {
	t.Parallel()
	agencies := []*Agency{
		{Head: Head{Code: "0001.000001"}, Short: "СФР"},
		{Head: Head{Code: "0003.000003"}, Short: "МСЭ"},
	}
	const number = " 8-800-100-00-01"
	tests := []struct {
		name     string
		template Template
		segments int
		want     string // rules found, in order
	}{
		{"good", Template{Body: "СФР: добрый день." + number}, 1, ""},
		{"good of one agency", Template{Head: Head{Agency: "0003.000003"}, Body: "МСЭ: добрый день." + number}, 1, ""},
		{"free of charge", Template{Body: "СФР: да." + number + " (бесплатно)"}, 1, ""},
		{"how to refuse", Template{Body: "СФР: да." + number + ". Отказ: СТОП"}, 1, ""},
		{"two segments", Template{Body: "СФР: да." + number}, 2, ""},
		{"three segments", Template{Body: "СФР: да." + number}, 3, "segments "},
		{"not counted", Template{Body: "СФР: да." + number}, 0, ""},
		{"agency later", Template{Body: "Добрый день, это СФР: да." + number}, 1, "agency_first "},
		{"no agency", Template{Body: "Вам назначена выплата." + number}, 1, "agency_first "},
		{"agency's name begins another word", Template{Body: "СФРадость: да." + number}, 1, "agency_first "},
		{"another agency", Template{Head: Head{Agency: "0003.000003"}, Body: "СФР: да." + number}, 1, "agency_first "},
		{"no number", Template{Body: "СФР: да."}, 1, "centre_number "},
		{"number in the middle", Template{Body: "СФР: звоните" + number + " или приходите."}, 1, "centre_number "},
		{"another number", Template{Body: "СФР: да. 8-800-555-35-35"}, 1, "centre_number "},
		{"parameter after the number", Template{Body: "СФР: да." + number + " {{ a }}"}, 1, "centre_number "},
		{"https", Template{Body: "СФР: https://{{ a }}" + number}, 1, "link "},
		{"www", Template{Body: "СФР: www.sfr" + number}, 1, "link "},
		{"bare host", Template{Body: "СФР: подайте на Gosuslugi.ru." + number}, 1, "link "},
		{"cyrillic host", Template{Body: "СФР: подайте на госуслуги.рф" + number}, 1, "link "},
		{"short link", Template{Body: "СФР: vk.cc/abc" + number}, 1, "link "},
		{"link in a default", Template{Body: `СФР: {{ a | default "sfr.gov.ru" }}.` + number}, 1, "link "},
		{"date, abbreviation and missing space are no links", Template{Body: "СФР: до 15.03.2027 г. и т.д.Приходите." + number}, 1, ""},
		{"answer needs neither agency nor number", Template{Answer: true, Body: "Готово."}, 1, ""},
		{"answer may have no link either", Template{Answer: true, Body: "Готово: sfr.ru"}, 1, "link "},
		{"does not parse", Template{Body: "СФР: {{"}, 1, "body "},
		{"everything at once", Template{Body: "sfr.ru"}, 5, "link agency_first centre_number segments "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			for _, f := range Lint(&tt.template, agencies, tt.segments) {
				got += f.Rule + " "
				if f.Sentence == "" || (f.Severity == SeverityWarning) != (f.Rule == "segments") {
					t.Errorf("finding %+v", f)
				}
			}
			if got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}
